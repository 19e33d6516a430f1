"""Animated pictures through `fast-style stylize`: every frame, its time, the loop, transparency."""

import numpy as np
import pytest
from PIL import Image

from fast_style.cli import animations
from fast_style.images.animation import is_animated
from tests.commands import failure, invoke
from tests.conftest import STYLE
from tests.video_clips import HEIGHT, WIDTH, moving_frames

LENGTHS = [40, 120, 80, 200]


@pytest.fixture
def animation(workplace):
    """Write an animation; the left half of its pictures is transparent."""

    def write(name, loop, *, transparent=True):
        alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
        alpha[:, : WIDTH // 2] = 0 if transparent else 255
        pictures = [Image.fromarray(np.dstack([frame, alpha])) for frame in moving_frames(4)]
        more = {"lossless": True} if name.endswith(".webp") else {"disposal": 2}
        more |= {} if loop is None else {"loop": loop}
        pictures[0].save(name, save_all=True, append_images=pictures[1:], duration=LENGTHS, **more)
        return workplace / name

    return write


def read_animation(path):
    """Return the frames as RGBA, their milliseconds, and the loop as Pillow tells it."""
    frames, lengths = [], []
    with Image.open(path) as image:
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            lengths.append(image.info["duration"])
            frames.append(np.asarray(image.convert("RGBA")))
        return frames, lengths, image.info.get("loop"), image.format


@pytest.mark.parametrize(
    ("name", "loop"),
    [("in.gif", 0), ("in.gif", 3), ("in.gif", None), ("in.webp", 0), ("in.webp", 2), ("in.png", 5)],
)
def test_every_frame_its_time_the_loop_and_transparency_are_kept(workplace, animation, name, loop):
    source = animation(name, loop)
    result = invoke("stylize", source.name, "--style", STYLE, "-o", f"out{source.suffix}")
    assert result.code == 0, result.err
    before, after = read_animation(source), read_animation(workplace / f"out{source.suffix}")
    assert after[1:] == before[1:]
    assert after[1] == LENGTHS
    for old, new in zip(before[0], after[0], strict=True):
        assert np.array_equal(new[..., 3] > 127, old[..., 3] > 127)
        assert np.abs(new[..., :3].astype(int) - old[..., :3])[:, WIDTH // 2 :].mean() > 4


def test_a_gif_becomes_a_gif_and_another_format_is_an_option(workplace, animation):
    animation("in.gif", 0)
    assert invoke("stylize", "in.gif", "--style", STYLE).code == 0
    assert read_animation(workplace / "in-wheat-field.gif")[1] == LENGTHS
    assert invoke("stylize", "in.gif", "--style", STYLE, "--format", "webp").code == 0
    assert read_animation(workplace / "in-wheat-field.webp")[1] == LENGTHS


def test_first_frame_and_formats_without_frames_give_a_still_picture(workplace, animation):
    animation("in.gif", 0, transparent=False)
    assert invoke("stylize", "in.gif", "--style", STYLE, "--first-frame").code == 0
    assert not is_animated(workplace / "in-wheat-field.png")
    result = invoke("stylize", "in.gif", "--style", STYLE, "-o", "out.jpg")
    assert "only the first is used" in result.err
    with Image.open("out.jpg") as image:
        assert image.size == (WIDTH, HEIGHT)


def test_a_folder_of_photos_and_animations(workplace, animation):
    (workplace / "in").mkdir()
    animation("in/moving.gif", 0)
    small = moving_frames(1, 24, 32)[0]
    Image.fromarray(small).save("in/still.gif")
    Image.fromarray(small).save("in/photo.png")
    result = invoke("stylize", "in", "--style", STYLE, "-o", "out")
    assert result.code == 0, result.err
    names = sorted(path.name for path in (workplace / "out").iterdir())
    assert names == ["moving.gif", "photo.png", "still.png"]
    assert is_animated(workplace / "out" / "moving.gif")


def test_without_the_extra_the_first_frame_is_stylized_and_the_extra_named(
    workplace, animation, monkeypatch
):
    monkeypatch.setattr(animations, "installed", lambda name: name != "av")
    animation("in.gif", 0)
    result = invoke("stylize", "in.gif", "--style", STYLE)
    assert result.code == 0
    assert 'pip install "fast-style[video]"' in result.err
    assert not is_animated(workplace / "in-wheat-field.png")


def test_a_damaged_animation_is_written_as_far_as_it_goes_and_named(workplace, animation):
    source = animation("in.gif", 0)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 2 // 3])
    result = invoke("stylize", "in.gif", "--style", STYLE, "-o", "out.gif")
    assert result.code == 1
    assert "in.gif" in result.err
    assert 2 <= len(read_animation(workplace / "out.gif")[0]) < 4


def test_a_still_gif_cannot_be_written_as_gif(workplace):
    Image.new("RGB", (32, 24), "red").save("in.gif")
    assert "GIF" in failure("stylize", "in.gif", "--style", STYLE, "-o", "out.gif", code=2).upper()


def test_what_is_no_animation(workplace, animation, astronaut):
    assert is_animated(animation("in.png", 0))
    assert not is_animated(astronaut)
    assert not is_animated(workplace / "gone.gif")
    (workplace / "text.gif").write_text("no picture")
    assert not is_animated(workplace / "text.gif")


def test_a_still_picture_before_the_animation_is_left_out(workplace):
    pictures = [Image.fromarray(frame) for frame in moving_frames(3)]
    pictures[0].save(
        "in.png", save_all=True, append_images=pictures[1:], default_image=True, duration=[50, 70]
    )
    assert invoke("stylize", "in.png", "--style", STYLE, "-o", "out.png").code == 0
    assert read_animation(workplace / "out.png")[1] == [50, 70]
