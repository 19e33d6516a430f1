"""The command `fast-style demo`."""

import importlib.util
import os
import sys
from pathlib import Path

import click

from fast_style.cli.exit_codes import debug_option

_PACKAGE = Path(__file__).parents[1]


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=8501,
    show_default=True,
    help="Where the page is served; 0 takes one that is free.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="localhost",
    show_default=True,
    help="From where it can be reached; 0.0.0.0 is from everywhere.",
)
@click.option("--browser/--no-browser", default=True, help="Open the page in the browser, or not.")
@debug_option
def demo(port: int, host: str, browser: bool) -> None:
    """Open the demo in the browser: pick a style, see your photo.

    Everything is computed on this machine. Ctrl-C ends it.
    """
    if importlib.util.find_spec("streamlit") is None:
        from fast_style.errors import MissingExtraError

        raise MissingExtraError("fast-style demo", "streamlit", "demo")
    arguments = [
        f"--server.port={port or _free_port(host)}",
        f"--server.address={host}",
        # Streamlit asks for an e-mail address on its first start, and waits for the answer.
        "--server.showEmailPrompt=false",
    ]
    if not browser:  # else Streamlit opens one wherever there is a display
        arguments.append("--server.headless=true")
    command = [sys.executable, "-m", "streamlit", "run", str(script()), *arguments]
    if os.name == "posix":  # it is this process then that Ctrl-C and signals reach
        os.execv(sys.executable, command)
    else:
        import subprocess

        sys.exit(subprocess.run(command, check=False).returncode)


def script() -> Path:
    """Find the page's script, beside which are its settings: in a checkout, or in the wheel."""
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / "streamlit_main.py"
    return _PACKAGE / "demo" / "streamlit_main.py"


def _free_port(host: str) -> int:
    import socket

    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])
