"""The first start of the demo, on a machine where Streamlit never ran, must ask nothing."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.commands import CHECKOUT, environment

pytest.importorskip("streamlit", reason="the demo needs the extra demo")
pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")

STARTS = {
    "demo": ["-m", "fast_style", "demo", "--port", "{port}"],
    "demo --no-browser": ["-m", "fast_style", "demo", "--port", "{port}", "--no-browser"],
    "streamlit run": ["-m", "streamlit", "run", "{script}", "--server.port={port}"],
}


def fake_browser(folder: Path) -> Path:
    """Put an `xdg-open` into a folder that writes the addresses it gets into a file."""
    opened = folder / "opened.txt"
    program = folder / "xdg-open"
    program.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    program.chmod(0o755)
    return opened


def wait_until(condition, what: str, read) -> None:
    """Wait until a condition holds; `read` returns what the terminal shows."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        read()
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what}; the terminal shows {read()!r}")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for xdg-open")
@pytest.mark.parametrize("start", STARTS)
def test_first_start_asks_nothing(start, tmp_path):
    home, programs = tmp_path / "home", tmp_path / "programs"
    home.mkdir()
    programs.mkdir()
    opened = fake_browser(programs)
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    script = CHECKOUT / "streamlit_main.py"
    arguments = [part.format(port=port, script=script) for part in STARTS[start]]
    variables = {k: v for k, v in environment().items() if not k.startswith("STREAMLIT_")}
    variables |= {
        "HOME": str(home),
        "DISPLAY": ":0",  # else Streamlit opens no browser, and asks nothing either
        "PATH": os.pathsep.join((str(programs), os.environ["PATH"])),
    }
    terminal, other_end = pty.openpty()
    os.set_blocking(terminal, False)
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=other_end,
        stdout=other_end,
        stderr=other_end,
        env=variables,
        cwd=tmp_path,
        start_new_session=True,
    )
    os.close(other_end)
    output = bytearray()

    def read() -> str:
        with contextlib.suppress(OSError):  # nothing new
            output.extend(os.read(terminal, 65536))
        return output.decode(errors="replace")

    def is_served() -> bool:
        assert process.poll() is None, read()
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5):
                return True
        except OSError:
            return False

    try:
        wait_until(is_served, "nothing is served", read)
        if start == "demo --no-browser":
            assert not opened.exists()
        else:
            wait_until(opened.exists, "no browser was opened", read)
            assert opened.read_text().split() == [f"http://localhost:{port}"]
        assert "mail" not in read()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        os.close(terminal)
