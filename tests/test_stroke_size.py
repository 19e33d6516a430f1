"""Stroke size, compared to the same formulas on the whole picture in float64."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fast_style.cli.stylize import stylize as stylize_command
from fast_style.errors import ImageTooLargeError, UsageError
from fast_style.images import Photo, read_image
from fast_style.images.grain import add_grain
from fast_style.images.resampling import HAMMING, resize_in_strips
from fast_style.inference import renderer as renderer_module
from fast_style.inference import stroke_size as stroke_size_module
from fast_style.inference.stroke_size import fit_stroke_size, upsample_guided, working_size
from fast_style.inference.stylizer import Stylizer
from fast_style.models.model_file import StyleModel
from fast_style.options import MAX_STROKE_SIZE, MIN_STROKE_SIZE, StyleOptions
from fast_style.video.video_stylizer import VideoStylizer
from tests.commands import failure, invoke
from tests.conftest import STYLE

LUMA = np.array([77, 150, 29]) / 256
BINOMIAL = np.outer([1, 2, 1], [1, 2, 1]) / 16
SHAPES = st.tuples(st.integers(1, 90), st.integers(1, 90))


@pytest.fixture(scope="module")
def photo(astronaut):
    return read_image(astronaut).pixels


def painted(pixels):
    """Imitate a stylized picture: another palette, an inverted channel, new strokes."""
    down, across = np.indices(pixels.shape[:2])
    waves = 40 * np.sin(down / 2 + across / 3)[..., None] * np.array([1, 0.5, -1])
    tinted = pixels * np.array([1.2, 0.6, -0.8]) + np.array([0, 30, 230])
    return np.rint(np.clip(tinted + waves, 0, 255)).astype(np.uint8)


def windows(plane, radius):
    """All windows of a plane, its border repeated: shape (h, w, side, side)."""
    side = 2 * radius + 1
    return np.lib.stride_tricks.sliding_window_view(np.pad(plane, radius, "edge"), (side, side))


def enlarged(plane, height, width, kernel):
    """Enlarge with Pillow, in 32-bit floats and in both directions at once."""
    image = Image.fromarray(np.asarray(plane, np.float32))
    return np.asarray(image.resize((width, height), kernel), np.float64)


def combed(y):
    """Average along eight lines, weighted by the inverse square of the variance along each."""
    near = np.stack([windows(y[..., c], 2) for c in range(3)])
    bright = np.tensordot(LUMA, near, 1)
    slopes = [(0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1)]
    total = weights = 0
    for down, across in slopes:
        steps = (-2, -1, 0, 1, 2) if max(down, abs(across)) == 1 else (-1, 0, 1)
        line = np.s_[..., [2 + i * down for i in steps], [2 + i * across for i in steps]]
        weight = (bright[line].var(axis=-1) + stroke_size_module._EVEN) ** -2.0
        weights = weights + weight
        total = total + weight * near[line].mean(axis=-1)
    return np.moveaxis(np.rint(total / weights), 0, -1)


def reference(stylized, working, content):
    """Upsample channel by channel in float64, without rounding."""
    shape = content.shape[:2]
    # A border as wide as all that is done to the pictures needs, which is cut off in the end.
    stylized, working = (np.pad(a, ((9, 9), (9, 9), (0, 0)), "edge") for a in (stylized, working))
    y, luma = combed(stylized.astype(np.float64)), np.rint(working @ LUMA)

    def blur(plane):
        return (windows(plane, 1) * BINOMIAL).sum(axis=(2, 3))

    inner = np.s_[9:-9, 9:-9]
    detail = content @ LUMA - enlarged(luma[inner], *shape, Image.Resampling.BICUBIC)
    result = np.empty(content.shape)
    for c in range(3):
        plane = y[..., c]
        sharp = plane + stroke_size_module._SHARPENING * (plane - blur(blur(plane)))
        near = windows(plane, 1)
        low, high = near.min(axis=(2, 3)), near.max(axis=(2, 3))

        pairs = windows(luma, 2).reshape(-1, 25), windows(plane, 2).reshape(-1, 25)
        centred = [each - each.mean(axis=1, keepdims=True) for each in pairs]
        cov, var, var_y = (
            (centred[a] * centred[b]).mean(axis=1).reshape(plane.shape)
            for a, b in ((0, 1), (0, 0), (1, 1))
        )
        share = np.minimum(1, cov**2 / (var * var_y + 1))
        gain = (share * cov + (1 - share) * stroke_size_module._OWN_GAIN * var) / (
            var + stroke_size_module._NOISE
        )
        gain = windows(gain.clip(stroke_size_module._LOWEST, stroke_size_module._HIGHEST), 2).mean(
            axis=(2, 3)
        )

        up = enlarged(sharp.clip(0, 255)[inner], *shape, Image.Resampling.BICUBIC)
        low, high, gain = (
            enlarged(a[inner], *shape, Image.Resampling.BILINEAR) for a in (low, high, gain)
        )
        result[..., c] = up.clip(low, high) + gain * detail
    return result.clip(0, 255)


class TestUpsampleGuided:
    @pytest.mark.parametrize("stroke_size", [1.3, 2, 4, 7.7])
    def test_matches_the_formulas_in_float64(self, photo, stroke_size):
        harsh = photo[:201, 20:253]
        for content, style in ((harsh // 2 + 64, lambda a: painted(a) // 2 + 60), (harsh, painted)):
            working = resize_in_strips(content, *working_size(201, 233, stroke_size), HAMMING)
            stylized = style(working)
            result = stroke_size_module._upsample(stylized, working, content)
            assert result.shape == content.shape
            assert result.dtype == np.uint8
            difference = np.abs(result - reference(stylized, working, content))
            # Bytes on the way: the picture, the luma, the limits and the gain.
            assert np.quantile(difference, 0.99) < 1.5
            # They also clip what overshoots black or white, where there is any.
            assert difference.max() < (20 if content is harsh else 2.5)

    @settings(max_examples=60, deadline=None)
    @given(shape=SHAPES, scale=st.floats(1, 16), rows=st.integers(1, 30), seed=st.integers(0))
    def test_strips_equal_the_whole(self, shape, scale, rows, seed):
        random = np.random.default_rng(seed)
        content = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        small = working_size(*shape, scale)
        working, stylized = random.integers(0, 256, (2, *small, 3), dtype=np.uint8)
        whole = stroke_size_module._upsample_in_strips(stylized, working, content, 10**6)
        strips = stroke_size_module._upsample_in_strips(stylized, working, content, rows)
        np.testing.assert_array_equal(strips, whole)

    @pytest.mark.parametrize(("scale", "between"), [(1, []), (2.4, []), (4, [2]), (8, [4, 2])])
    def test_a_large_enlargement_is_made_in_equal_steps(self, photo, scale, between):
        content = photo[:192, :240]
        working = resize_in_strips(content, round(192 / scale), round(240 / scale), HAMMING)
        result = upsample_guided(painted(working), working, content)
        stylized = painted(working)
        for factor in between:
            finer = resize_in_strips(content, 192 // factor, 240 // factor, HAMMING)
            stylized, working = stroke_size_module._upsample(stylized, working, finer), finer
        expected = stroke_size_module._upsample(stylized, working, content)
        np.testing.assert_array_equal(result, expected)

    def test_specks_of_the_working_scale_do_not_become_visible(self):
        """Single pixels of noise in the stylized picture, enlarged six times, stay small."""
        random = np.random.default_rng(0)
        content = np.full((600, 600, 3), 90, np.uint8)
        noisy = np.clip(random.normal(128, 12, (100, 100, 3)), 0, 255).astype(np.uint8)
        result = upsample_guided(noisy, np.full_like(noisy, 90), content)
        plain = np.asarray(Image.fromarray(noisy).resize((600, 600), Image.Resampling.BICUBIC))
        assert result[..., 1].std() < 0.45 * plain[..., 1].std()

    def test_flat_pictures_are_unchanged(self):
        flat = np.full((9, 11, 3), (200, 3, 90), np.uint8)
        content = np.full((40, 44, 3), 77, np.uint8)
        result = upsample_guided(flat, np.full_like(flat, 77), content)
        assert (result == (200, 3, 90)).all()

    def test_edges_of_the_photo_are_restored(self):
        """A hard edge between two pixels of the working scale stays hard and gets no halo."""
        content = np.full((64, 64, 3), 40, np.uint8)
        content[:, 34:] = 210
        working = resize_in_strips(content, 16, 16, HAMMING)
        for stylized, levels in ((working, (40, 210)), (255 - working, (215, 45))):
            line = upsample_guided(stylized, working, content)[32, :, 1].astype(int)
            assert np.abs(line[:32] - levels[0]).max() < 25
            assert np.abs(line[36:] - levels[1]).max() < 25
            step = abs(line[34] - line[33])
            blurred = np.asarray(Image.fromarray(stylized).resize((64, 64)))[32, :, 1].astype(int)
            assert step > 2 * np.abs(np.diff(blurred)).max()

    def test_detail_is_restored_and_noise_is_not(self, photo):
        random = np.random.default_rng(0)
        stripes = np.full((120, 120, 3), 128, np.uint8)
        stripes[:, 5::12] = 10  # a wire now and then, thinner than a pixel of the working scale
        noise = random.integers(126, 131, stripes.shape, dtype=np.uint8)
        flat = np.full((30, 30, 3), 100, np.uint8)
        wires = upsample_guided(flat, resize_in_strips(stripes, 30, 30, HAMMING), stripes)[
            60, :, 0
        ].astype(int)
        assert wires[5::12].max() < 75
        assert np.delete(wires, np.s_[5::12]).min() > 85
        quiet = upsample_guided(flat, resize_in_strips(noise, 30, 30, HAMMING), noise).astype(int)
        assert np.abs(quiet - 100).max() <= 1

    def test_memory_does_not_grow_with_the_height(self):
        peaks = []
        for strips_high in (1, 6):
            working = np.zeros((strips_high * 1311, 200, 3), np.uint8)
            content = np.zeros((2 * len(working), 400, 3), np.uint8)
            tracemalloc.start()
            result = upsample_guided(working, working, content)
            peaks.append(tracemalloc.get_traced_memory()[1] - result.nbytes)
            tracemalloc.stop()
        assert peaks[1] < 2.1 * peaks[0]  # two strips at a time

    def test_shapes_that_differ_are_refused(self):
        small, large = np.zeros((4, 6, 3), np.uint8), np.zeros((8, 12, 3), np.uint8)
        for shapes in ((small, small[:, 1:], large), (large, large, small)):
            with pytest.raises(UsageError, match="shapes"):
                upsample_guided(*shapes)


@given(shape=SHAPES, stroke_size=st.floats(MIN_STROKE_SIZE, MAX_STROKE_SIZE))
def test_working_size_is_at_least_one_pixel(shape, stroke_size):
    for side, small in zip(shape, working_size(*shape, stroke_size), strict=True):
        assert small >= 1
        assert small == 1 or abs(small - side / stroke_size) <= 0.5


@pytest.mark.parametrize(
    ("size", "best", "working"),
    [
        ((3024, 4032), None, (576, 768)),
        ((4000, 3000), 500, (500, 375)),
        ((900, 1200), 1000, (750, 1000)),
        ((700, 500), None, (700, 500)),  # small ones are not enlarged
        ((1000, 12000), 400, (200, 2400)),  # a panorama keeps half the best size in height
        ((300, 12000), None, (300, 12000)),
        ((16384, 16384), None, (1024, 1024)),  # the largest stroke size
    ],
)
def test_automatic_strokes_take_the_same_share(size, best, working):
    assert working_size(*size, fit_stroke_size(*size, best)) == working


class Inverting:
    name, device, precision = "inverting", "cpu", "fp32"

    def __init__(self):
        self.seen = []

    def predict(self, images):
        self.seen.append(images[0].copy())
        return 255 - images


def with_best_size(model, best_size):
    return StyleModel(replace(model.card, best_size=best_size), model.weights)


@pytest.fixture
def engine(monkeypatch) -> Inverting:
    engine = Inverting()
    monkeypatch.setattr(renderer_module, "create_engine", lambda model, options: engine)
    monkeypatch.setattr("fast_style.engines.unused_gpu", lambda: None)
    return engine


class TestStylizer:
    def test_network_gets_the_working_size_with_grain(self, engine, model, photo):
        stylizer = Stylizer(model)
        picture = photo[:200, :241]
        result = np.asarray(stylizer.stylize(picture, stroke_size=4))
        working = resize_in_strips(picture, 50, 60, HAMMING)
        grainy = add_grain(working, stylizer.card.grain)
        np.testing.assert_array_equal(engine.seen[0], grainy)
        np.testing.assert_array_equal(result, upsample_guided(255 - grainy, working, picture))

    def test_default_fits_the_strokes_to_the_picture(self, engine, model, photo):
        large = np.tile(photo, (4, 6, 1))[:1000, :1500]
        for best, scale in ((None, 1500 / 768), (300, 5)):
            stylizer = Stylizer(with_best_size(model, best))
            default = np.asarray(stylizer.stylize(large))
            assert engine.seen[-1].shape[:2] == working_size(*large.shape[:2], scale)
            same = stylizer.stylize(large, stroke_size=scale)
            np.testing.assert_array_equal(np.asarray(same), default)
            stylizer.stylize(large, size=400)
            assert max(engine.seen[-1].shape) == (best or 400)
        stylizer.stylize(large, stroke_size=1)
        assert engine.seen[-1].shape == large.shape

    def test_a_mixture_aims_at_the_mean_of_the_best_sizes(self, engine, model):
        parts = [(with_best_size(model, best), 0.5) for best in (400, 600)]
        stylizer = Stylizer(parts)
        assert stylizer.card.best_size == 500
        stylizer.stylize(np.zeros((600, 1000, 3), np.uint8))
        assert {seen.shape for seen in engine.seen} == {(300, 500, 3)}

    def test_a_video_keeps_one_stroke_size(self, engine, model):
        video = VideoStylizer(Stylizer(with_best_size(model, 200)), steady=0)
        for width, working in ((400, 200), (300, 150)):
            video.push(np.full((200, width, 3), width % 256, np.uint8))
            assert engine.seen[-1].shape == (100, working, 3)
        video.reset()
        video.push(np.zeros((150, 300, 3), np.uint8))
        assert engine.seen[-1].shape == (100, 200, 3)

    def test_finer_strokes_enlarge_the_picture_for_the_network(self, engine, model, photo):
        result = Stylizer(model).stylize(photo[:100, :80], stroke_size=0.5)
        assert engine.seen[0].shape == (200, 160, 3)
        assert result.size == (80, 100)
        inverted = 255 - photo[:100, :80].astype(int)
        assert np.abs(np.asarray(result) - inverted).mean() < 4

    def test_finer_strokes_respect_max_megapixels(self, engine, model):
        stylizer = Stylizer(model, max_megapixels=0.1)
        picture = np.zeros((200, 200, 3), np.uint8)
        with pytest.raises(ImageTooLargeError, match=r"800x800, over the limit of 0\.1 mega"):
            stylizer.stylize(picture, stroke_size=0.25)
        assert stylizer.stylize(picture, size=60, stroke_size=0.25).size == (60, 60)

    def test_size_is_applied_first_and_strength_last(self, engine, model, photo):
        stylizer = Stylizer(model)
        half = np.asarray(stylizer.stylize(photo, size=200, stroke_size=2, strength=0.5))
        assert engine.seen[0].shape == (100, 100, 3)
        small = np.asarray(stylizer.stylize(photo, size=200, strength=0))
        full = np.asarray(stylizer.stylize(photo, size=200, stroke_size=2))
        assert np.abs(half - (small.astype(float) + full) / 2).max() <= 0.5

    def test_preserve_color_and_alpha(self, engine, model):
        content = np.full((40, 50, 3), (140, 100, 120), np.uint8)
        alpha = np.arange(2000).reshape(40, 50).astype(np.uint8)
        result = Stylizer(model).stylize_photo(
            Photo(content, alpha=alpha), StyleOptions(stroke_size=3, preserve_color=True)
        )
        np.testing.assert_array_equal(result.alpha, alpha)
        chroma = result.pixels[..., :2].astype(int) - result.pixels[..., 2:]
        assert (chroma == (20, -20)).all()

    @pytest.mark.parametrize("size", [(1, 1), (2, 300), (5, 3)])
    @pytest.mark.parametrize("stroke_size", [0.25, 16])
    def test_tiny_pictures_keep_their_size(self, engine, model, size, stroke_size):
        result = Stylizer(model).stylize(Image.new("RGB", size), stroke_size=stroke_size)
        assert result.size == size

    def test_real_network_at_a_coarser_scale(self, model, photo):
        stylizer = Stylizer(model, device="cpu", precision="fp32")
        coarse = np.asarray(stylizer.stylize(photo, stroke_size=4)).astype(float)
        assert coarse.shape == photo.shape
        small = np.asarray(stylizer.stylize(resize_in_strips(photo, 64, 64, HAMMING)))
        reduced = resize_in_strips(coarse.astype(np.uint8), 64, 64, HAMMING)
        assert np.abs(reduced - small.astype(float)).mean() < 12

    @pytest.mark.parametrize("stroke_size", [0, 0.2, 16.1, -2, float("nan"), float("inf")])
    def test_invalid_stroke_sizes_are_refused(self, engine, model, stroke_size):
        with pytest.raises(
            UsageError, match=r"stroke_size is .*; expected auto or a number of 0\.25 to 16"
        ):
            Stylizer(model).stylize(np.zeros((4, 4, 3), np.uint8), stroke_size=stroke_size)
        assert not engine.seen


class TestCommand:
    def test_option_applies_to_each_picture(self, engine, model, workplace, photo):
        for name in ("a.png", "b.png"):
            Image.fromarray(photo).save(name)
        args = ("a.png", "b.png", "-s", STYLE, "-o", "out", "--stroke-size", "2.5")
        assert invoke("stylize", *args).code == 0
        expected = np.asarray(Stylizer(model).stylize(photo, stroke_size=2.5))
        for name in ("a.png", "b.png"):
            with Image.open(workplace / "out" / name) as out:
                np.testing.assert_array_equal(np.asarray(out), expected)

    @pytest.mark.parametrize("value", ["0.2", "17", "nan", "x"])
    def test_invalid_values_are_refused(self, engine, workplace, value):
        args = ("stylize", "a.png", "-s", STYLE, "--stroke-size", value)
        assert "--stroke-size" in failure(*args, code=2)

    def test_the_help_shows_the_range(self):
        (option,) = (each for each in stylize_command.params if each.name == "stroke_size")
        assert option.metavar == f"auto|{MIN_STROKE_SIZE}..{MAX_STROKE_SIZE}"
