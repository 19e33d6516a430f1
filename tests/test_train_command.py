"""`train.py` as a command: killed, interrupted, resumed; error messages and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from fast_style.models.model_file import load_model
from tests.commands import invoke
from tests.training_photos import make_painting, make_photos

ROOT = Path(__file__).parent.parent
STEPS = 40


def options(folder: Path, name: str, *more: str) -> list[str]:
    """Return the options of a run of a few seconds, with a checkpoint every other step."""
    if not (folder / "photos").exists():
        make_photos(folder / "photos")
        make_painting(folder / "painting.png")
    fixed = (
        f"--size tiny --steps {STEPS} --batch-size 2 --crop-size 48 --style-size 64 "
        "--style-layers relu1_2,relu2_2 --checkpoint-every 2 --preview-every 0 --precision fp32 "
        f"--accelerator cpu --name {name}"
    ).split()
    paths = ["--style-image", "painting.png", "--photos", "photos"]
    return [*paths, *fixed, *more]


def command(folder: Path, name: str, *more: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *options(folder, name, *more)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


def run(folder: Path, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, name, *more),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def stop_midway(folder: Path, name: str, number: signal.Signals) -> subprocess.Popen[str]:
    """Start a run and send it a signal once it has written a checkpoint."""
    process = subprocess.Popen(
        command(folder, name),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    checkpoint = folder / "runs" / name / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    # The whole process group, as Ctrl-C on a terminal, `timeout` and service managers do.
    os.killpg(process.pid, number)
    return process


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, as the commands do, so that weights are the same bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run in it."""
    folder = tmp_path_factory.mktemp("train")
    result = run(folder, "whole", "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["steps"] == STEPS
    assert document["losses"]["style"] > 0
    assert document["model_path"] == "saved_models/whole.safetensors"
    assert "fast-style stylize PHOTO --style whole -o OUTPUT" in result.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_stopped_run_resumes_to_the_same_weights(
    uninterrupted: Path, number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = number.name.lower()
    process = stop_midway(uninterrupted, name, number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    model = uninterrupted / "saved_models" / f"{name}.safetensors"
    assert not model.exists(), "the run was over before the signal came"
    if number != signal.SIGKILL:
        assert "Traceback" not in errors
        assert "the same command with --resume continues" in errors

    if number == signal.SIGTERM:
        resumed = run(uninterrupted, name, "--resume")
        assert resumed.returncode == 0, resumed.stderr
    else:
        # In this process, which has imported torch and Lightning already.
        monkeypatch.chdir(uninterrupted)
        with one_thread():
            result = invoke("train", *options(uninterrupted, name, "--resume", "--workers", "0"))
        assert result.code == 0, result.err
    checkpoints = uninterrupted / "runs" / name / "checkpoints"
    assert [p.name for p in checkpoints.iterdir() if p.suffix == ".ckpt"] == ["last.ckpt"]
    expected = load_model(uninterrupted / "saved_models" / "whole.safetensors")
    found = load_model(model)
    assert found.card.training["steps_taken"] == STEPS
    for parameter, weight in expected.weights.items():
        np.testing.assert_array_equal(found.weights[parameter], weight)


@pytest.mark.parametrize(
    ("more", "code", "sentence"),
    [
        (["--photos", "nowhere"], 1, "--photos nowhere is not a folder"),
        (["--style-image", "nowhere.jpg"], 1, "the painting cannot be used"),
        (["--steps", "0"], 2, "--steps is 0; expected 1 or more"),
        (["--size", "huge"], 2, "'huge' is not one of"),
    ],
)
def test_wrong_input_gives_one_sentence(
    tmp_path: Path, more: list[str], code: int, sentence: str
) -> None:
    result = run(tmp_path, "bad", *more)
    assert result.returncode == code
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
