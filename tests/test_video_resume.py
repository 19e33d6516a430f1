"""A run that is cut short and resumed, and what is in memory meanwhile."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fast_style.errors import UsageError
from fast_style.inference.stylizer import Stylizer
from fast_style.options import VideoOptions
from fast_style.video import api, outputs, pipeline
from fast_style.video.api import stylize_video
from fast_style.video.source import SourceFrame
from fast_style.video.video_stylizer import VideoStylizer
from tests.commands import CHECKOUT
from tests.video_clips import moving_frames, read_clip, read_packets, write_clip

PART = 5


@pytest.fixture(scope="module")
def stylizer(model_file):
    return Stylizer(model_file)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    for module in (api, outputs):
        monkeypatch.setattr(module, "PART_FRAMES", PART)


@pytest.fixture
def clip(tmp_path):
    frames = moving_frames(9) + [moving_frames(9)[8]] * 3 + moving_frames(11)[::-1]
    return write_clip(
        tmp_path / "in.mp4", frames, sound=("aac", "mono"), options={"g": "7", "bf": "2"}
    )


class KilledError(Exception):
    pass


def kill_at(frame: int):
    def progress(done: int, total: int | None) -> None:
        if done == frame:
            raise KilledError

    return progress


def folder_of(target: Path) -> Path:
    return target.parent / f".{target.name}.parts"


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webp", "frames/%03d.png"])
@pytest.mark.parametrize("at", [1, 13])
def test_resume_gives_the_pictures_of_an_unbroken_run(tmp_path, clip, stylizer, name, at):
    unbroken, broken = tmp_path / "whole" / name, tmp_path / "broken" / name
    for path in (unbroken, broken):
        path.parent.mkdir(parents=True)
    expected = stylize_video(clip, unbroken, stylizer)
    with pytest.raises(KilledError):
        stylize_video(clip, broken, stylizer, progress=kill_at(at))
    assert not broken.exists()
    started = []
    result = stylize_video(
        clip, broken, stylizer, resume=True, progress=lambda done, _: started.append(done)
    )
    assert started[0] == at // PART * PART + 1
    assert result.frames == expected.frames == 23
    if "%" in name:
        for made in sorted(broken.parent.glob("*.png")):
            assert made.read_bytes() == (unbroken.parent / made.name).read_bytes()
    elif name.endswith("mkv"):  # it has a number of its own
        for made, wanted in zip(read_clip(broken)[0], read_clip(unbroken)[0], strict=True):
            assert np.array_equal(made, wanted)
    else:
        assert broken.read_bytes() == unbroken.read_bytes()
    assert not folder_of(broken).exists()


def test_a_process_that_is_killed_can_be_resumed(tmp_path, clip, model_file, stylizer):
    target = tmp_path / "out.mp4"
    script = (
        "import os, signal, sys\n"
        "from fast_style.video import api, outputs\n"
        f"api.PART_FRAMES = outputs.PART_FRAMES = {PART}\n"
        "def progress(done, total):\n"
        "    if done == 12: os.kill(os.getpid(), signal.SIGKILL)\n"
        "api.stylize_video(*sys.argv[1:4], progress=progress)\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    arguments = [sys.executable, "-c", script, clip, target, model_file]
    killed = subprocess.run(arguments, cwd=CHECKOUT, env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    stylizer = Stylizer(model_file)  # as the killed run was given the file
    result = stylize_video(clip, target, model_file, resume=True)
    assert result.frames == 23
    whole = tmp_path / "whole.mp4"
    stylize_video(clip, whole, stylizer)
    for made, expected in zip(read_clip(target)[0], read_clip(whole)[0], strict=True):
        assert np.array_equal(made, expected)
    assert read_packets(target, "audio") == read_packets(clip, "audio")


def test_resume_with_other_options_is_refused(tmp_path, clip, stylizer):
    target = tmp_path / "out.mp4"
    with pytest.raises(KilledError):
        stylize_video(clip, target, stylizer, progress=kill_at(7))
    with pytest.raises(UsageError, match="these differ: steady"):
        stylize_video(clip, target, stylizer, video_options=VideoOptions(steady=0.5), resume=True)


def test_without_resume_a_run_begins_anew(tmp_path, clip, stylizer):
    target = tmp_path / "out.mp4"
    with pytest.raises(KilledError):
        stylize_video(clip, target, stylizer, progress=kill_at(12))
    seen = []
    stylize_video(clip, target, stylizer, progress=lambda done, _: seen.append(done))
    assert seen == list(range(1, 24))


def test_resume_with_nothing_to_resume_begins(tmp_path, clip, stylizer):
    assert stylize_video(clip, tmp_path / "out.mp4", stylizer, resume=True).frames == 23


def test_a_part_that_is_not_complete_does_not_count(tmp_path, clip, stylizer):
    target = tmp_path / "out.mp4"
    with pytest.raises(KilledError):
        stylize_video(clip, target, stylizer, progress=kill_at(13))
    parts = sorted(folder_of(target).glob("*.json"))
    assert [path.name for path in parts] == ["00000.json", "00001.json", "job.json"]
    assert json.loads(parts[0].read_text())["frames"] == PART


def test_a_failure_while_reading_ends_the_run_with_its_own_error(stylizer):
    def frames():
        yield SourceFrame(moving_frames(1)[0], 0)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        pipeline.run_pipeline(frames(), VideoStylizer(stylizer), lambda *_: None)


def test_what_is_in_memory_does_not_depend_on_the_length(stylizer):
    alive, most = 0, 0

    def frames():
        nonlocal alive, most
        for index in range(60):
            alive += 1
            most = max(most, alive)
            yield SourceFrame(moving_frames(1)[0] + np.uint8(index), index)

    def finished(*_):
        nonlocal alive
        alive -= 1

    pipeline.run_pipeline(frames(), VideoStylizer(stylizer), finished)
    assert alive == 0
    assert most <= 2 * 4 + 4  # two queues, and one in each of the hands
