"""`fast-style stylize` on many pictures, ended by a signal or a closed pipe: no partial file."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.commands import environment
from tests.conftest import STYLE
from tests.test_cli_pipeline import cwd, photos, posix

__all__ = ["cwd", "photos"]


def started(*args: str, **options) -> "subprocess.Popen[str]":
    """Start a command with the real engine."""
    return subprocess.Popen(
        [sys.executable, "-m", "fast_style", "stylize", *args, "-s", STYLE],
        env=environment(),
        text=True,
        **options,
    )


@pytest.fixture
def many(cwd, astronaut) -> list[str]:
    folder = cwd / "many"
    folder.mkdir()
    with Image.open(astronaut) as image:
        image.resize((700, 700)).save(folder / "000.jpg", quality=80)
    for i in range(1, 80):
        shutil.copy(folder / "000.jpg", folder / f"{i:03}.jpg")
    return ["many", "-o", "out", "--format", "png"]


def check_whole_pictures(most: int) -> None:
    written = [path for path in Path("out").rglob("*") if path.is_file()]
    assert 1 <= len(written) < most
    for path in written:
        assert re.fullmatch(r"\d+\.png", path.name), path
        with Image.open(path) as image:
            image.load()


@posix
def test_sigterm_leaves_only_complete_pictures(many):
    with started(*many, "--workers", "3", stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first.startswith("many/000.jpg -> "), first
        process.terminate()
        rest = process.stderr.read()
        assert process.wait(60) == 143
    assert "Traceback" not in rest
    assert rest.splitlines()[-1] == "fast-style: terminated"
    check_whole_pictures(80)


@posix
def test_closed_stderr_ends_the_run(many):
    with started(*many, "--workers", "2", stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline()
        process.stderr.close()
        assert process.wait(60) == 1
    check_whole_pictures(80)


@posix
def test_sigterm_while_waiting_for_a_pipe(photos):
    os.mkfifo("pipe.jpg")
    args = ("in/00.jpg", "pipe.jpg", "in/03.jpg", "-o", "out", "--workers", "3")
    with started(*args, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("in/00.jpg -> ")
        time.sleep(0.2)
        process.terminate()
        assert process.stderr.read() == "fast-style: terminated\n"
        assert process.wait(60) == 143
    assert [path.name for path in Path("out").iterdir()] == ["00.jpg"]
