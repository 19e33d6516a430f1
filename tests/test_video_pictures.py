"""Videos with transparency, animated pictures, and numbered pictures, both ways."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from fast_style.inference.stylizer import Stylizer
from tests.video_clips import HEIGHT, WIDTH, convert_clip, moving_frames, read_clip, write_clip


@pytest.fixture(scope="module")
def stylizer(model_file):
    return Stylizer(model_file)


@pytest.fixture
def convert(stylizer, tmp_path):
    return lambda source, name, **more: convert_clip(source, tmp_path / name, stylizer, **more)


def far_apart(one, other) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


# Frames and their times


def transparent_frames(count: int = 3) -> list[np.ndarray]:
    ramp = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    return [np.dstack([frame, ramp]) for frame in moving_frames(count)]


@pytest.fixture
def transparent(tmp_path):
    return write_clip(
        tmp_path / "alpha.webm",
        transparent_frames(),
        codec="libvpx-vp9",
        pixel_format="yuva420p",
        time_base=Fraction(1, 1000),
        options={"crf": "4", "b": "0", "auto-alt-ref": "0"},
    )


def test_alpha_of_webm_is_kept(tmp_path, convert, transparent):
    target, result = convert(transparent, "out.webm", quality=100)
    decoder = av.CodecContext.create("libvpx-vp9", "r")
    with av.open(str(target)) as made:
        frames = [
            frame.to_ndarray(format="rgba")
            for packet in made.demux(video=0)
            for frame in decoder.decode(packet if packet.size else None)
        ]
    assert result.notes == ()
    assert len(frames) == 3
    assert far_apart(frames[0][..., 3], transparent_frames()[0][..., 3]) < 3


@pytest.mark.parametrize("name", ["out.webp", "out.apng", "out.png"])
def test_alpha_is_kept_in_animated_pictures(convert, transparent, name):
    target, _ = convert(transparent, name, quality=100)
    with Image.open(target) as image:
        assert image.n_frames == 3
        image.seek(1)
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    assert far_apart(alpha, transparent_frames()[0][..., 3]) < 3


def test_alpha_that_a_codec_does_not_hold_is_named(convert, transparent):
    _, result = convert(transparent, "out.mp4")
    assert any("transparency" in note for note in result.notes)


# Animated and numbered pictures


@pytest.mark.parametrize("name", ["out.gif", "out.webp", "out.apng"])
def test_animated_pictures_both_ways(tmp_path, convert, name):
    times = [0, 40, 120, 200, 400, 440]
    source = write_clip(
        tmp_path / "in.mkv", moving_frames(6), times=times, time_base=Fraction(1, 1000)
    )
    target, result = convert(source, name, quality=100)
    assert result.frames == 6
    with Image.open(target) as image:
        lengths = []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            lengths.append(image.info["duration"])
        shown = np.asarray(image.convert("RGB"))
    assert lengths[:5] == [40, 80, 80, 200, 40]
    assert far_apart(shown, moving_frames(6)[5]) < 12
    back, result = convert(target, "back.mkv", quality=100)
    assert result.frames == 6
    assert read_clip(back)[1] == [Fraction(time, 1000) for time in times]


def test_numbered_pictures_both_ways(tmp_path, convert):
    source = write_clip(tmp_path / "in.mp4", moving_frames(4))
    pattern, result = convert(source, "frames/%04d.png")
    assert result.frames == 4
    assert sorted(path.name for path in pattern.parent.iterdir()) == [
        f"{number:04d}.png" for number in (1, 2, 3, 4)
    ]
    target, _ = convert(pattern, "out.mp4", rate=Fraction(30000, 1001))
    frames, times, _ = read_clip(target)
    assert times == [Fraction(1001 * index, 30000) for index in range(4)]
    assert far_apart(frames[3], moving_frames(4)[3]) < 6


# What cannot be read or written
