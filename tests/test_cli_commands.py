"""`fast-style` in processes of its own, with the real engine and real signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from fast_style.models.model_file import save_model
from tests.commands import CHECKOUT, command, environment
from tests.conftest import SMALLEST, STYLE, make_card, make_weights

posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")


@pytest.fixture
def photos(workplace, astronaut) -> Path:
    """A folder of photos that takes some seconds to stylize."""
    folder = workplace / "in"
    folder.mkdir()
    with Image.open(astronaut) as image:
        for i in range(60):
            image.resize((1200, 1200)).save(folder / f"{i:03}.jpg", quality=80)
    return folder


def test_stylize_writes_a_picture(workplace, astronaut):
    done = command("stylize", astronaut, "-s", STYLE, "-o", "out.jpg", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["images"]
    with Image.open("out.jpg") as out:
        assert out.size == (row["width"], row["height"]) == (256, 256)
    assert [path.name for path in workplace.iterdir()] == ["out.jpg"]


def test_scripts_of_the_checkout_run(workplace, astronaut):
    script = [sys.executable, str(CHECKOUT / "stylize.py")]
    usage = subprocess.run([*script, "--help"], capture_output=True, text=True)
    assert usage.stdout.startswith("Usage: stylize.py [OPTIONS] INPUT...")
    with astronaut.open("rb") as stdin:
        done = subprocess.run(
            [*script, "-", "--style", STYLE], stdin=stdin, capture_output=True, timeout=120
        )
    assert (done.returncode, done.stderr) == (0, b"")
    Path("out").write_bytes(done.stdout)
    with Image.open("out") as out:
        assert (out.format, out.size) == ("JPEG", (256, 256))
    wrong = subprocess.run([*script, "x.jpg"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert wrong.stderr == "fast-style: Missing option '--style' / '-s' (stylize.py --help)\n"


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_only_complete_pictures(photos, number, code):
    process = subprocess.Popen(
        [sys.executable, "-m", "fast_style", "stylize", "in", "-s", STYLE, "-o", "out"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        first = process.stderr.readline()
        assert "->" in first, first
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(60) == code
    assert "Traceback" not in rest
    assert rest.splitlines()[-1] in ("fast-style: interrupted", "fast-style: terminated")
    written = list(Path("out").iterdir())
    assert 1 <= len(written) < 60
    for path in written:
        assert path.suffix == ".jpg"
        with Image.open(path) as image:
            image.load()


@posix
def test_closed_pipe_on_stdout_ends_quietly(workplace):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "fast_style", "styles"],
        env=environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk_on_stdout(workplace):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fast_style", "styles"],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert (done.returncode, done.stderr) == (1, b"fast-style: No space left on device\n")


@posix
def test_terminal_shows_bar_and_errors_above_it(workplace, astronaut):
    import pty

    Path("in").mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(astronaut, Path("in", name))
    Path("in/bad.jpg").touch()
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fast_style", "stylize", "in", "-s", STYLE, "-o", "out"],
        env={**environment(), "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "100"},
        stderr=end,
    )
    os.close(end)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            shown += (read := os.read(terminal, 4096))
        except OSError:  # the other end is closed: Linux says EIO
            break
        if not read:
            break
    os.close(terminal)
    assert process.wait(60) == 3
    text = shown.decode()
    assert "3/3" in text
    assert "photos/s" in text
    assert "fast-style: in/bad.jpg is empty" in text
    assert "a.jpg ->" not in text
    assert "\x1b[3" not in text  # no colours


def test_ascii_terminal_shows_escapes(workplace, monkeypatch):
    folder = workplace / "own"
    save_model(folder / "wave.safetensors", make_card(title="神奈川沖浪裏"), make_weights(SMALLEST))
    monkeypatch.setenv("FAST_STYLE_MODELS", str(folder))
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    done = command("styles", encoding="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u795e" in done.stdout
