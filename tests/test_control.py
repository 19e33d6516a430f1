"""Colours, strengths and variants of a stylized picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fast_style.errors import OptionError, UsageError
from fast_style.images import Photo, read_image, to_pil
from fast_style.images.color import blend, preserve_color
from fast_style.images.color_transfer import keep_chroma, match_colors, measure_colors
from fast_style.images.stroke_layer import blend_layers
from fast_style.inference.painted import Painted
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions
from tests.commands import failure, invoke
from tests.conftest import STYLE


@pytest.fixture(scope="module")
def photo(astronaut: Path) -> np.ndarray:
    return np.asarray(to_pil(read_image(astronaut)).resize((120, 90)))


@pytest.fixture(scope="module")
def stylizer(model) -> Stylizer:
    return Stylizer(model, precision="fp32")


@pytest.fixture(scope="module")
def painted(stylizer, photo) -> Painted:
    return stylizer.paint(Photo(photo))


class TestMatching:
    def test_mean_and_covariance_become_those_of_the_other(self):
        random = np.random.default_rng(1)
        mixing = random.normal(0, 20, (3, 3))
        source, target = (
            (random.normal(0, 1, (60, 80, 3)) @ (mixing * scale) + mean)
            .clip(0, 255)
            .round()
            .astype(np.uint8)
            for scale, mean in ((0.3, (90, 120, 150)), (0.6, (130, 120, 110)))
        )
        wanted = measure_colors(target)
        found = measure_colors(match_colors(source, measure_colors(source), wanted))
        np.testing.assert_allclose(found.mean, wanted.mean, atol=1.5)
        np.testing.assert_allclose(found.covariance, wanted.covariance, rtol=0.1, atol=12)

    def test_statistics_are_those_of_numpy(self, photo):
        found = measure_colors(photo)
        flat = photo.reshape(-1, 3).astype(float)
        np.testing.assert_allclose(found.mean, flat.mean(axis=0))
        np.testing.assert_allclose(found.covariance, np.cov(flat.T, bias=True))

    def test_transparent_colours_do_not_count(self, photo):
        alpha = np.zeros(photo.shape[:2], np.uint8)
        alpha[:45] = 255
        found, wanted = measure_colors(photo, alpha), measure_colors(photo[:45])
        np.testing.assert_allclose(found.mean, wanted.mean)
        np.testing.assert_allclose(found.covariance, wanted.covariance)

    def test_a_share_of_zero_changes_nothing(self, photo, painted):
        target = measure_colors(photo)
        own = measure_colors(painted.pixels)
        np.testing.assert_array_equal(match_colors(painted.pixels, own, target, 0), painted.pixels)

    def test_a_picture_of_one_colour(self):
        grey, red = (np.full((8, 8, 3), color, np.uint8) for color in ((9, 9, 9), (200, 30, 40)))
        mapped = match_colors(grey, measure_colors(grey), measure_colors(red))
        np.testing.assert_array_equal(mapped, red)


class TestChroma:
    def test_the_photo_with_itself_is_the_photo(self, photo):
        assert np.abs(keep_chroma(photo, photo).astype(int) - photo).max() <= 1

    def test_a_grey_photo_gives_grey(self, photo, painted):
        grey = np.repeat(photo[..., :1], 3, axis=2)
        kept = keep_chroma(painted.pixels, grey).astype(int)
        assert (kept.max(axis=2) - kept.min(axis=2)).max() <= 2

    def test_known_colours(self):
        """White to Oklab and back; sRGB red is (0.628, 0.225, 0.126) in Ottosson's table."""
        from fast_style.images.color_transfer import _from_oklab, _to_oklab

        known = np.array([[[255, 255, 255], [255, 0, 0]]], np.uint8)
        lab = _to_oklab(known)
        np.testing.assert_allclose(lab[0], [(1, 0, 0), (0.628, 0.225, 0.126)], atol=1e-3)
        np.testing.assert_array_equal(_from_oklab(lab), known)


class TestModes:
    def test_bare_and_true_are_luminance(self, painted, photo):
        wanted = preserve_color(painted.pixels, photo)
        for value in (True, "luminance"):
            finished = painted.finish(StyleOptions(preserve_color=value))
            np.testing.assert_array_equal(finished.pixels, wanted)

    def test_share(self, painted, photo):
        for mode in ("luminance", "histogram", "chroma"):
            none, half, full = (
                painted.finish(StyleOptions(preserve_color=mode, color_share=share)).pixels
                for share in (0, 0.5, 1)
            )
            assert np.abs(none.astype(int) - painted.pixels).max() <= 1
            near, far = (np.abs(half.astype(int) - one).mean() for one in (none, full))
            whole = np.abs(full.astype(int) - none).mean()
            assert whole > 2
            assert max(near, far) < 0.8 * whole

    def test_colors_of_a_picture(self, stylizer, photo):
        wanted = np.zeros((8, 8, 3), np.uint8)
        wanted[:4] = (60, 20, 140)
        wanted[4:] = (100, 50, 180)
        found = measure_colors(np.asarray(stylizer.stylize(photo, colors_of=wanted)))
        np.testing.assert_allclose(found.mean, measure_colors(wanted).mean, atol=2)

    def test_refused(self, stylizer, photo):
        with pytest.raises(OptionError, match="luminance, histogram, chroma, True or False"):
            StyleOptions(preserve_color="hue")
        with pytest.raises(UsageError, match="choose one"):
            stylizer.stylize(photo, colors_of=photo, preserve_color=True)


class TestStrengths:
    @pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
    def test_equal_strengths_are_todays_blend(self, painted, photo, strength):
        wanted = blend(painted.pixels, photo, strength)
        for options in (
            StyleOptions(strength=strength),
            StyleOptions(color_strength=strength, stroke_strength=strength),
        ):
            np.testing.assert_array_equal(painted.finish(options).pixels, wanted)

    def test_beyond_one_exaggerates(self, painted, photo):
        bold = painted.finish(StyleOptions(strength=1.5)).pixels
        exact = photo + 1.5 * (painted.pixels.astype(float) - photo)
        assert np.abs(bold - exact.clip(0, 255)).max() <= 0.51

    def test_layers_add_up(self, painted, photo):
        """Colours and strokes at equal strengths are the plain blend, for any size of bands."""
        for strength in (0.0, 0.4, 1.0, 1.5):
            mixed = blend_layers(painted.pixels, photo, strength, strength)
            plain = blend(painted.pixels, photo, strength)
            assert np.abs(mixed.astype(int) - plain).max() <= 1

    def test_colours_alone_have_no_strokes(self):
        """Stripes are strokes, and a tint of the whole picture is colour."""
        content = np.full((96, 128, 3), 120, np.uint8)
        content[:, 64:] = 60  # an edge, which the colours keep
        stylized = content + np.array([40, 0, -40])
        stylized[::2] += 20
        stylized[1::2] -= 20
        stylized = stylized.astype(np.uint8)
        colors = blend_layers(stylized, content, 1, 0).astype(int)
        inside = np.s_[12:-12]
        assert np.abs(colors - content - (40, 0, -40))[inside].max() <= 6
        strokes = blend_layers(stylized, content, 0, 1).astype(int)
        stripes = np.where(np.arange(96) % 2, -20, 20)[:, None, None]
        assert np.abs(strokes - content - stripes)[inside].max() <= 6

    def test_bands_give_the_same_as_the_whole(self, painted, photo, monkeypatch):
        whole = blend_layers(painted.pixels, photo, 0.2, 1)
        monkeypatch.setattr("fast_style.images.stroke_layer._BAND_PIXELS", 7 * photo.shape[1])
        banded = blend_layers(painted.pixels, photo, 0.2, 1)
        assert np.abs(banded.astype(int) - whole).max() <= 1


class TestVariants:
    def test_each_is_another_picture_and_repeats(self, stylizer, photo):
        pictures = [np.asarray(stylizer.stylize(photo, variant=n)).astype(int) for n in range(6)]
        for i, one in enumerate(pictures):
            for other in pictures[:i]:
                assert np.abs(one - other).mean() > 0.2
        again = np.asarray(stylizer.stylize(photo, variant=5))
        np.testing.assert_array_equal(again, pictures[5])
        np.testing.assert_array_equal(pictures[0], np.asarray(stylizer.stylize(photo)))

    def test_a_mirrored_variant_is_upright(self, stylizer, photo):
        plain = np.asarray(stylizer.stylize(photo)).astype(int)
        for n in (1, 2, 3):
            other = np.asarray(stylizer.stylize(photo, variant=n)).astype(int)
            same = np.abs(plain - other).mean()
            for axes in ((0,), (1,), (0, 1)):
                assert same < np.abs(np.flip(plain, axes) - other).mean()


class TestCommand:
    @pytest.fixture(autouse=True)
    def place(self, workplace, photo) -> Path:
        Image.fromarray(photo).save("photo.png")
        return workplace

    def stylized(self, *args) -> np.ndarray:
        result = invoke("stylize", *args, "--style", STYLE, "-o", "out.png")
        assert result.code == 0, result.err
        return read_image("out.png").pixels

    def test_flag_with_and_without_a_mode(self):
        bare = self.stylized("--preserve-color", "photo.png")
        for args in (
            ("photo.png", "--preserve-color"),
            ("--preserve-color=luminance", "photo.png"),
        ):
            np.testing.assert_array_equal(self.stylized(*args), bare)
        for args in (("--preserve-color", "chroma"), ("--preserve-color=HISTOGRAM",)):
            assert (self.stylized("photo.png", *args) != bare).any()

    def test_other_controls(self):
        plain = self.stylized("photo.png")
        for args in (
            ("--strength", 1.5),
            ("--color-strength", 0),
            ("--stroke-strength", 0.2),
            ("--variant", 3),
            ("--colors-of", "photo.png", "--color-share", 0.5),
        ):
            assert (self.stylized("photo.png", *args) != plain).any()

    def test_a_sheet_of_variants(self):
        sheet = self.stylized("photo.png", "--variants", 4, "--variant", 1)
        assert sheet.shape[0] > 2 * 90
        assert sheet.shape[1] > 2 * 120
        for number, (top, left) in enumerate(((16, 16), (16, 152), (158, 16), (158, 152)), 1):
            one = self.stylized("photo.png", "--variant", number)
            np.testing.assert_array_equal(sheet[top : top + 90, left : left + 120], one)

    @pytest.mark.parametrize(
        ("args", "code", "sentence"),
        [
            (("--strength", 1.6), 2, "--strength is 1.6; expected 1.5 or less"),
            (("--color-strength", "nan"), 2, "--color-strength is nan; expected 0 or more"),
            (
                ("--preserve-color=hue",),
                2,
                "'hue' is not one of 'luminance', 'histogram', 'chroma'",
            ),
            (("--preserve-color", "chrma"), 2, "'chrma' is not one of"),
            (("--preserve-color", "--colors-of", "photo.png"), 2, "give one"),
            (("--colors-of", "none.png"), 1, "none.png does not exist"),
            (("--variant", -1), 2, "--variant is -1; expected 0 or more"),
        ],
    )
    def test_wrong_values(self, args, code, sentence):
        assert sentence in failure("stylize", "photo.png", "--style", STYLE, *args, code=code)
