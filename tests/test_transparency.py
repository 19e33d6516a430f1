"""Colours hidden below transparent pixels do not matter; paintings without a style are named."""

import numpy as np
import pytest
from PIL import Image

from fast_style import Photo, StyleOptions, Stylizer, predict_style, read_image
from fast_style.images.photo import visible_pixels
from fast_style.images.transparency import fill_hidden, find_visible_box
from tests.commands import failure, invoke

HIDDEN = (0, 255)


@pytest.fixture(scope="module")
def cut_out(astronaut):
    """A photo and the opacity of a disc of it with a soft rim, 96x80."""
    pixels = np.asarray(Image.open(astronaut).resize((96, 80)).convert("RGB"))
    rows, columns = np.mgrid[:80, :96]
    distance = np.hypot(rows - 40, columns - 45)
    return pixels, (np.clip(34 - distance, 0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def stylizer(model):
    return Stylizer(model)


def with_hidden(pixels, alpha, color):
    """The same picture to see, with a colour below what is transparent."""
    pixels = pixels.copy()
    pixels[alpha == 0] = color
    return Photo(pixels, alpha)


@pytest.mark.parametrize(
    "options",
    [{}, {"size": 50}, {"stroke_size": 2.0}, {"size": 50, "strength": 0}, {"preserve_color": True}],
    ids=str,
)
def test_hidden_colour_does_not_change_what_is_seen(cut_out, stylizer, options):
    black, white = (
        stylizer.stylize_photo(with_hidden(*cut_out, color), StyleOptions(**options))
        for color in HIDDEN
    )
    seen = black.alpha > 0
    assert np.array_equal(black.alpha, white.alpha)
    assert np.array_equal(black.pixels[seen], white.pixels[seen])
    assert seen.sum() > 500


def test_a_larger_sheet_does_not_change_what_is_seen(cut_out, stylizer):
    pixels, alpha = cut_out
    seen = []
    for around in (((30, 40), (35, 40)), ((300, 200), (100, 400))):
        sheet = Photo(np.pad(pixels, (*around, (0, 0))), np.pad(alpha, around))
        stylized = stylizer.stylize_photo(sheet, StyleOptions(stroke_size=1))
        assert stylized.pixels.shape == sheet.pixels.shape
        seen.append(stylized.pixels[stylized.alpha > 0])
    assert np.array_equal(*seen)


def test_an_opaque_picture_with_alpha_is_that_without(cut_out, stylizer):
    pixels, _ = cut_out
    opaque = Photo(pixels, np.full(pixels.shape[:2], 255, np.uint8))
    assert np.array_equal(
        stylizer.stylize_photo(opaque).pixels, stylizer.stylize_photo(Photo(pixels)).pixels
    )


def test_a_wholly_transparent_picture_is_returned_with_a_note(stylizer):
    photo = Photo(np.full((20, 30, 3), 7, np.uint8), np.zeros((20, 30), np.uint8))
    stylized = stylizer.stylize_photo(photo)
    assert not stylized.alpha.any()
    assert "nothing to stylize" in stylized.notes[-1]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_hidden_colour_does_not_bleed_into_a_resized_edge(hidden):
    pixels = np.full((200, 300, 3), hidden, np.uint8)
    alpha = np.zeros((200, 300), np.uint8)
    pixels[31:171, 41:261], alpha[31:171, 41:261] = (230, 140, 40), 255
    small = Photo(pixels, alpha).resize_long_side(77)
    assert small.pixels.shape == (51, 77, 3)
    seen = small.alpha > 0
    assert seen.sum() > 1800
    assert np.abs(small.pixels[seen].astype(int) - (230, 140, 40)).max() <= 1


def test_the_fill_continues_what_is_seen():
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (37, 53, 3), np.uint8)
    alpha = random.choice(np.array([0, 5, 31, 32, 255], np.uint8), (37, 53))
    filled = fill_hidden(pixels, alpha)
    assert np.array_equal(filled[alpha >= 32], pixels[alpha >= 32])
    other = pixels.copy()
    other[alpha == 0] = 255 - other[alpha == 0]
    assert np.array_equal(fill_hidden(other, alpha), filled)
    # One colour is continued exactly, and a left and a right one each to its side.
    pixels[:], alpha[:] = (200, 30, 60), 0
    alpha[20, 50] = 9
    assert (fill_hidden(pixels, alpha)[:, :, 0] >= 195).all()
    pixels[:, :20], pixels[:, 20:] = 10, 240
    alpha[:] = 0
    alpha[:, 8], alpha[:, 45] = 255, 255
    filled = fill_hidden(pixels, alpha)
    assert (filled[:, :12] < 60).all()
    assert (filled[:, 42:] > 190).all()
    # A mean of what is seen, far from it: between the two colours, and near their middle.
    pixels, alpha = np.zeros((256, 256, 3), np.uint8), np.zeros((256, 256), np.uint8)
    pixels[:, 1], alpha[:, :2] = 200, 255
    assert 80 <= fill_hidden(pixels, alpha)[100, 255, 0] <= 120


def test_the_visible_box():
    alpha = np.zeros((20, 30), np.uint8)
    assert find_visible_box(alpha, 3) is None
    alpha[4, 10] = alpha[9, 28] = 1
    assert find_visible_box(alpha, 0) == (slice(4, 10), slice(10, 29))
    assert find_visible_box(alpha, 3) == (slice(1, 13), slice(7, 30))


def test_a_painting_is_its_visible_part(cut_out):
    pixels, alpha = cut_out
    around = ((30, 20), (50, 60))
    seen = []
    for hidden in HIDDEN:
        sheet = np.pad(with_hidden(pixels, alpha, hidden).pixels, (*around, (0, 0)))
        seen.append(visible_pixels(Photo(sheet, np.pad(alpha, around)), "it"))
    box = find_visible_box(alpha, 0)
    assert np.array_equal(*seen)
    assert seen[0].shape == (*alpha[box].shape, 3)
    weights = [
        predict_style(np.dstack([with_hidden(pixels, alpha, hidden).pixels, alpha]), cache=False)
        for hidden in HIDDEN
    ]
    for name, values in weights[0].weights.items():
        assert np.array_equal(values, weights[1].weights[name])


def test_optimising_does_not_see_hidden_colour(cut_out):
    pytest.importorskip("torch")
    from fast_style import optimize_image

    pixels, alpha = cut_out
    pictures = []
    for hidden in HIDDEN:
        rgba = np.dstack([with_hidden(pixels, alpha, hidden).pixels, alpha])
        picture = optimize_image(rgba, rgba, size=40, iterations=1, scales=1, device="cpu")
        pictures.append(np.asarray(picture))
    black, white = pictures
    assert np.array_equal(black, white)


def test_a_mask_is_black_where_it_is_transparent():
    pytest.importorskip("torch")
    from fast_style.optimization.masks import read_mask

    rgba = np.full((6, 8, 4), 255, np.uint8)
    rgba[:, 4:, 3] = 0
    assert np.array_equal(read_mask(rgba, 6, 8), np.repeat([[1.0] * 4 + [0.0] * 4], 6, axis=0))


PAINTINGS = {
    "dot.png": (Image.new("RGB", (1, 1), "red"), "dot.png is 1x1 pixels, too small"),
    "line.png": (Image.new("RGB", (900, 4), "red"), "line.png is 900x4 pixels, too small"),
    "strip.png": (Image.new("RGB", (900, 20), "red"), "strip.png is 900x20 pixels, too narrow"),
    "ghost.png": (Image.new("RGBA", (64, 64)), "ghost.png is wholly transparent"),
}


@pytest.mark.parametrize("name", PAINTINGS)
def test_paintings_without_a_style_are_refused_by_name(name, workplace, astronaut):
    image, sentence = PAINTINGS[name]
    image.save(workplace / name)
    assert sentence in failure("stylize", astronaut, "--style", name, "-o", "out.png", code=2)
    pytest.importorskip("torch")
    assert sentence in failure(
        "optimize", astronaut, "--style-image", name, "-o", "out.png", code=2
    )
    pytest.importorskip("pytorch_lightning")
    training = ("--photos", astronaut.parent, "--name", "new", "--steps", 1)
    assert sentence in failure("train", "--style-image", name, *training, code=2)
    assert not (workplace / "out.png").exists()


def test_the_command_gives_the_same_file_for_any_hidden_colour(workplace, cut_out):
    pixels, alpha = cut_out
    for name, hidden in (("black.png", 0), ("white.png", 255)):
        rgba = np.dstack([with_hidden(pixels, alpha, hidden).pixels, alpha])
        Image.fromarray(rgba).save(workplace / name)
        command = ("stylize", name, "--style", "wheat-field", "--size", 60, "-o", f"out-{name}")
        assert invoke(*command).code == 0
    black, white = (read_image(workplace / f"out-{name}.png") for name in ("black", "white"))
    assert np.array_equal(black.pixels[black.alpha > 0], white.pixels[white.alpha > 0])
