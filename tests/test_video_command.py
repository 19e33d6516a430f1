"""The command `fast-style video`."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fast_style.images import read_image
from tests.commands import CHECKOUT, command, failure, invoke
from tests.conftest import STYLE
from tests.video_clips import moving_frames, read_clip, write_clip


@pytest.fixture
def clip(workplace):
    return write_clip(workplace / "in.mp4", moving_frames(12), sound=("aac", "mono"))


def test_a_video_from_file_to_file(workplace, clip):
    result = invoke("video", "in.mp4", "--style", STYLE, "-o", "out.mp4")
    assert result.code == 0, result.err
    assert result.out == ""
    assert result.lines[-1].startswith("in.mp4 -> out.mp4 (64x48, 12 frames, ")
    assert len(read_clip(workplace / "out.mp4")[0]) == 12


def test_json_describes_the_output(workplace, clip):
    result = invoke(
        "video", "in.mp4", "-s", STYLE, "-o", "out.webm", "--from", "0:00.2", "--to", "0.4",
        "--size", 32, "--steady", 0.5, "--json", "-q",
    )  # fmt: skip
    assert result.code == 0, result.err
    row = result.json["video"]
    assert result.json["engine"] == "openvino"
    assert (row["width"], row["height"], row["frames"], row["damage"]) == (32, 24, 5, None)
    assert any("opus" in note for note in row["notes"])
    assert result.err == ""


def test_a_damaged_video_is_written_and_ends_with_code_3(workplace):
    source = write_clip(workplace / "in.mkv", moving_frames(100), options={"g": "10"})
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    result = invoke("video", "in.mkv", "-s", STYLE, "-o", "out.mkv", "-q")
    assert result.code == 3
    assert "it ends after" in result.err
    assert 20 < len(read_clip(workplace / "out.mkv")[0]) < 80


def test_a_mask_holds_for_all_frames(workplace, clip):
    mask = np.zeros((24, 32), np.uint8)
    mask[:, 16:] = 255
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save("white.png")
    for name, arguments in {
        "masked": ("--mask", "mask.png"),
        "two": ("--style", STYLE, "--mask", "mask.png", "--mask", "white.png"),
        "plain": (),
        "photo": ("--strength", 0),
    }.items():
        result = invoke("video", "in.mp4", "-s", STYLE, "-o", f"{name}/%02d.png", *arguments)
        assert result.code == 0, result.err
        assert ("is stretched to" in result.err) == (name == "two")
    masked, two, plain, photo = (
        np.asarray(read_image(f"{name}/01.png").pixels).astype(int)
        for name in ("masked", "two", "plain", "photo")
    )
    assert np.abs(masked - photo)[:, :28].max() == 0
    assert np.abs(masked - plain)[:, 36:].max() == 0
    assert np.abs(two - plain).mean() < 8
    sentence = failure("video", "in.mp4", "-s", STYLE, "-o", "x.mp4", "--mask", "alpha", code=2)
    assert "expected a picture" in sentence


def test_yuv4mpeg_through_pipes(workplace, clip):
    fast_style = [sys.executable, "-m", "fast_style", "video"]
    first = subprocess.run(
        [*fast_style, "in.mp4", "-s", STYLE, "--strength", "0", "-o", "-"],
        capture_output=True,
        check=True,
        env=_environment(),
    )
    assert first.stdout.startswith(b"YUV4MPEG2 W64 H48 F25:1")
    second = subprocess.run(
        [*fast_style, "-", "-s", STYLE, "--strength", "0", "-o", "out.mp4"],
        input=first.stdout,
        capture_output=True,
        check=True,
        env=_environment(),
    )
    assert b"12 frames" in second.stderr
    frames, times, _ = read_clip(workplace / "out.mp4")
    assert [float(time) for time in times] == [pytest.approx(i / 25) for i in range(12)]
    assert np.abs(frames[7].astype(int) - moving_frames(12)[7]).mean() < 8


def _environment():
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("gone.mp4", "-o", "out.mp4"), 1, "gone.mp4: there is no such file"),
        (("in.mp4", "-o", "out.xyz"), 2, "expected an output that ends in"),
        (("in.mp4", "-o", "in.mp4"), 2, "never overwritten"),
        (("in.mp4", "-o", "out.mp4", "--from", "1:x"), 2, "is not a time such as"),
        (("in.mp4", "-o", "out.mp4", "--from", "3", "--to", "2"), 2, "a time after the start"),
        (("in.mp4", "-o", "out.mp4", "--codec", "prores"), 2, "expected a codec that mp4 holds"),
        (("in.mp4", "-o", "out.mp4", "--fps", "0"), 2, "not a number of frames per second"),
        (("in.mp4", "-o", "out.mp4", "--fps", "25"), 2, "a rate is for numbered pictures"),
        (("in.mp4", "-o", "-", "--json"), 2, "cannot both go to stdout"),
        (("f/%06d.png", "-o", "out.mp4"), 1, "expected numbered pictures"),
    ],
)
def test_mistakes_are_told_in_a_sentence(workplace, clip, arguments, code, words):
    assert words in failure("video", *arguments, "--style", STYLE, code=code)
    assert not (workplace / "out.mp4").exists()


def test_the_command_does_not_import_torch(workplace, clip):
    script = (
        "import sys\n"
        "from fast_style.cli.main import group\n"
        f"group(['video', 'in.mp4', '-s', '{STYLE}', '-o', 'out.mp4'], standalone_mode=False)\n"
        "print(json.dumps(sorted(m for m in ('torch', 'rich', 'matplotlib') if m in sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import json\n{script}"],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    )
    assert json.loads(done.stdout) == []


def test_without_pyav_the_extra_is_named(workplace, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    sentence = failure("video", "in.mp4", "--style", STYLE, "-o", "out.mp4")
    assert 'pip install "fast-style[video]"' in sentence


def test_help_comes_without_the_extra():
    done = command("video", "--help")
    assert done.returncode == 0
    assert "held still" in done.stdout
