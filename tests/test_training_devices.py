"""Training on two CPU processes: `--devices 2 --accelerator cpu --strategy ddp`."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.test_train_command import command, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are read from /proc"),
]

SECONDS = 240


@contextmanager
def running(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Start a training on two processes; they are killed at the end, if they still run."""
    both = ("--devices", "2", "--strategy", "ddp", "--workers", "0")
    with subprocess.Popen(
        command(folder, "both", *both, *more),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str], after: float = 0) -> int:
    """Wait for a checkpoint; returns the id of the second process."""
    checkpoint = folder / "runs" / "both" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + SECONDS
    while not checkpoint.exists() or checkpoint.stat().st_mtime <= after:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return int(children.split()[0])


def wait_for_end(process: int) -> None:
    """Wait until a process has ended; nobody may be there to ask for its exit code."""
    stat, deadline = Path(f"/proc/{process}/stat"), time.monotonic() + 30
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_processes_are_interrupted_and_resumed_as_one(tmp_path: Path) -> None:
    # 1) A signal to the second process alone ends both, with a checkpoint.
    with running(tmp_path, "--steps", "5000") as process:
        second = wait_for_checkpoint(tmp_path, process)
        os.kill(second, signal.SIGTERM)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 143, errors
    wait_for_end(second)
    assert errors.count("the same command with --resume continues") == 1
    assert "Traceback" not in errors
    assert not (tmp_path / "saved_models" / "both.safetensors").exists()

    # 2) Ctrl-C goes to both.
    with running(tmp_path, "--steps", "5000", "--resume") as process:
        wait_for_checkpoint(tmp_path, process, after=time.time())
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, errors
    steps = int(errors.rpartition("stopped at step ")[2].partition(";")[0])

    # 3) The run is finished by both, and reported by one.
    with running(tmp_path, "--steps", str(steps + 2), "--resume", "--json") as process:
        out, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    document = json.loads(out)
    assert document["steps"] == steps + 2
    assert errors.count("is ready after") == 1
    assert (tmp_path / document["model_path"]).exists()
