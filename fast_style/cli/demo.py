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
    help="Port of the page; 0 chooses a free one.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="localhost",
    show_default=True,
    help="Address to listen on; 0.0.0.0 makes the page reachable from other machines.",
)
@click.option(
    "--browser/--no-browser", default=True, help="Whether to open the page in the browser."
)
@debug_option
def demo(port: int, host: str, browser: bool) -> None:
    """Open the demo in the browser: choose a style and see your photo in it.

    Everything is computed on this machine. Ctrl-C ends the demo.
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
    if not browser:  # otherwise Streamlit opens one if there is a display
        arguments.append("--server.headless=true")
    command = [sys.executable, "-m", "streamlit", "run", str(script()), *arguments]
    if os.name == "posix":  # replace this process, so that Streamlit gets its signals
        os.execv(sys.executable, command)
    else:
        import subprocess

        sys.exit(subprocess.run(command, check=False).returncode)


def script() -> Path:
    """Return the path of the page's script, in a checkout or in the wheel."""
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / "streamlit_main.py"
    return _PACKAGE / "demo" / "streamlit_main.py"


def _free_port(host: str) -> int:
    import socket

    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])
