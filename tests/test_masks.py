"""Masks of fast networks: read from any picture, scaled, feathered, and applied."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fast_style.errors import UsageError
from fast_style.images import Photo, read_image, to_pil
from fast_style.images.masks import divide_areas, fit_mask, read_mask
from fast_style.inference.guides import Guides
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions
from tests.commands import failure, invoke
from tests.conftest import SMALLEST, STYLE, make_card, make_weights

LEFT = np.zeros((90, 120), np.uint8)
LEFT[:, :60] = 255


@pytest.fixture(scope="module")
def photo(astronaut: Path) -> Photo:
    return read_image(np.asarray(to_pil(read_image(astronaut)).resize((120, 90))))


@pytest.fixture(scope="module")
def plain(model) -> Stylizer:
    return Stylizer(model, precision="fp32")


@pytest.fixture(scope="module")
def other() -> Stylizer:
    from fast_style.models.model_file import StyleModel

    return Stylizer(StyleModel(make_card("other"), make_weights(SMALLEST, 5)), precision="fp32")


def level(source) -> int:
    """Return the only level of a mask."""
    found = np.unique(read_mask(source))
    assert len(found) == 1
    return int(found[0])


class TestReading:
    def test_depths_and_modes(self, tmp_path):
        deep = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
        deep.save(tmp_path / "deep.png")
        assert level(tmp_path / "deep.png") == 128
        Image.new("1", (4, 4), 1).save(tmp_path / "bilevel.png")
        assert level(tmp_path / "bilevel.png") == 255
        Image.new("P", (4, 4), 0).save(tmp_path / "palette.png")
        assert level(tmp_path / "palette.png") == 0
        assert level(np.full((4, 4), 0.5)) == 128
        assert level(np.ones((4, 4), bool)) == 255

    @pytest.mark.parametrize("grey", range(0, 256, 15))
    def test_grey_levels_are_kept(self, grey):
        assert level(np.full((4, 4, 3), grey, np.uint8)) == grey

    def test_colours_count_by_their_luma(self):
        color = np.full((2, 2, 3), (200, 30, 90), np.uint8)
        assert level(color) == round(0.299 * 200 + 0.587 * 30 + 0.114 * 90)

    def test_transparent_counts_as_black(self):
        pixels = np.full((4, 4, 4), 255, np.uint8)
        pixels[..., 3] = 128
        assert level(pixels) == 128
        pixels[..., :3] = 128
        assert level(pixels) == round(128 * 128 / 255)

    def test_a_cut_out_in_colours_counts_by_its_opacity(self, photo):
        alpha = np.linspace(0, 255, 120, dtype=np.uint8)[None].repeat(90, axis=0)
        cut_out = np.dstack([photo.pixels, alpha])
        np.testing.assert_array_equal(read_mask(cut_out), alpha)


class TestFitting:
    @pytest.mark.parametrize("size", [(1, 1), (45, 60), (900, 30), (7, 2000)])
    def test_any_size_is_scaled(self, size):
        small = np.asarray(Image.fromarray(LEFT).resize(size[::-1], Image.Resampling.BOX))
        fitted = fit_mask(small, 90, 120)
        assert fitted.shape == LEFT.shape
        if size != (1, 1):
            edge = 120 // min(size[1], 60)  # as far as interpolation reaches
            assert (fitted[:, : 60 - edge] == 255).all()
            assert (fitted[:, 60 + edge :] == 0).all()

    @pytest.mark.parametrize("feather", [2, 9, 40])
    def test_feather_is_a_ramp_of_that_width_with_its_middle_at_the_edge(self, feather):
        row = fit_mask(LEFT, 90, 120, feather=feather)[45].astype(int)
        ramp = np.flatnonzero((row > 0) & (row < 255))
        assert len(ramp) == pytest.approx(feather, abs=2.5)
        assert (np.diff(row) <= 0).all()
        assert row[59] + row[60] == pytest.approx(255, abs=3)

    def test_invert(self):
        np.testing.assert_array_equal(fit_mask(LEFT, 90, 120, invert=True), 255 - LEFT)


class TestAreas:
    def test_shares_are_normalised(self):
        random = np.random.default_rng(3)
        masks = [random.integers(0, 256, (20, 30)).astype(np.uint8) for _ in range(3)]
        coverage, shares = divide_areas(masks, 3)
        total = np.sum(masks, axis=0, dtype=float)
        np.testing.assert_array_equal(coverage, np.minimum(total, 255))
        assert (shares.sum(axis=0) == 255).all()
        exact = 255.0 * np.stack(masks) / np.maximum(total, 1)
        assert np.abs(shares - exact).max() <= 1.001

    def test_the_last_style_has_the_rest(self):
        coverage, shares = divide_areas([LEFT, LEFT // 2], 3)
        assert (coverage == 255).all()
        assert (shares[2][:, 60:] == 255).all()
        assert (shares[2][:, :60] == 0).all()
        assert (shares.sum(axis=0) == 255).all()


class TestStylizing:
    def test_grey_is_a_strength(self, plain, photo):
        grey = np.full((90, 120), 51, np.uint8)
        masked = plain.stylize_photo(photo, guides=Guides([grey]))
        wanted = plain.stylize_photo(photo, StyleOptions(strength=0.2))
        assert np.abs(masked.pixels.astype(int) - wanted.pixels).max() <= 1

    def test_white_is_painted_and_black_is_the_photo(self, plain, photo):
        whole = plain.stylize_photo(photo).pixels
        masked = plain.stylize_photo(photo, guides=Guides([LEFT])).pixels
        np.testing.assert_array_equal(masked[:, :60], whole[:, :60])
        np.testing.assert_array_equal(masked[:, 60:], photo.pixels[:, 60:])
        swapped = plain.stylize_photo(photo, StyleOptions(invert_mask=True), Guides([LEFT])).pixels
        np.testing.assert_array_equal(swapped[:, 60:], whole[:, 60:])
        np.testing.assert_array_equal(swapped[:, :60], photo.pixels[:, :60])

    def test_an_empty_mask_leaves_the_photo_and_says_so(self, plain, photo):
        masked = plain.stylize_photo(photo, guides=Guides([np.zeros((3, 4), np.uint8)]))
        np.testing.assert_array_equal(masked.pixels, photo.pixels)
        assert masked.notes == ("the mask is black everywhere, so the photo stays as it is",)

    def test_a_mask_of_other_proportions_is_noted(self, plain, photo):
        masked = plain.stylize_photo(photo, guides=Guides([np.full((90, 90), 255, np.uint8)]))
        assert "the mask of 90x90 pixels is stretched" in masked.notes[0]

    def test_the_photos_alpha(self, plain, photo):
        cut_out = Photo(photo.pixels, LEFT)
        masked = plain.stylize_photo(cut_out, guides=Guides(["alpha"]))
        wanted = plain.stylize_photo(photo, guides=Guides([LEFT]))
        assert masked.alpha is None
        np.testing.assert_array_equal(masked.pixels, wanted.pixels)
        with pytest.raises(UsageError, match="the photo has no transparency"):
            plain.stylize_photo(photo, guides=Guides(["alpha"]))

    def test_two_styles_mix_their_pictures_by_their_shares(self, plain, other, model, photo):
        from fast_style.models.model_file import StyleModel

        second = StyleModel(make_card("other"), make_weights(SMALLEST, 5))
        both = Stylizer([model, second], precision="fp32")
        ramp = np.linspace(0, 255, 120, dtype=np.uint8)[None].repeat(90, axis=0)
        mixed = both.stylize(photo.pixels, mask=[ramp])
        weight = ramp[..., None] / 255
        pictures = [np.asarray(one.stylize(photo.pixels), float) for one in (plain, other)]
        exact = weight * pictures[0] + (1 - weight) * pictures[1]
        assert np.abs(np.asarray(mixed) - exact).max() <= 1

    def test_wrong_number_of_masks(self, plain, model, photo):
        with pytest.raises(UsageError, match="2 masks for one style"):
            plain.stylize(photo.pixels, mask=[LEFT, LEFT])
        with pytest.raises(UsageError, match="0 masks for 2 styles"):
            Stylizer([model, model], precision="fp32").stylize(photo.pixels)


class TestCommand:
    @pytest.fixture(autouse=True)
    def place(self, workplace, photo) -> Path:
        to_pil(photo).save("photo.png")
        Image.fromarray(LEFT).save("left.png")
        return workplace

    def test_mask_feather_and_invert(self, photo):
        options = ("--mask", "left.png", "--feather", 10, "--invert-mask", "-o", "out.png")
        result = invoke("stylize", "photo.png", "--style", STYLE, *options)
        assert result.code == 0, result.err
        written = read_image("out.png").pixels
        np.testing.assert_array_equal(written[:, :50], photo.pixels[:, :50])
        assert (written[:, 70:] != photo.pixels[:, 70:]).mean() > 0.5

    def test_two_styles_with_a_mask_each(self, model_file):
        shutil.copy(model_file, "second.safetensors")
        Image.fromarray(255 - LEFT).save("right.png")
        masks = ("--mask", "left.png", "--mask", "right.png")
        result = invoke(
            "stylize", "photo.png", "-s", STYLE, "-s", "second.safetensors", *masks, "--json"
        )
        assert result.code == 0, result.err
        assert Path(f"photo-{STYLE}+second.png").is_file()
        alone = invoke("stylize", "photo.png", "-s", STYLE, "-o", "alone.png")
        assert alone.code == 0
        both, one = read_image(f"photo-{STYLE}+second.png"), read_image("alone.png")
        np.testing.assert_array_equal(both.pixels, one.pixels)

    def test_a_folder_of_masks(self, photo):
        for name in ("in/a/one.png", "in/b/one.png", "in/two.png"):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            to_pil(photo).save(name)
        for name, mask in (("a/one", LEFT), ("b/ONE", 255 - LEFT), ("deep/two", LEFT)):
            Path("masks", name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(f"masks/{name}.bmp")
        options = ("--recursive", "--mask", "masks", "-o", "out/")
        assert invoke("stylize", "in", "--style", STYLE, *options).code == 0
        right, left = np.s_[:, 60:], np.s_[:, :60]
        for name, kept in (("a/one", right), ("b/one", left), ("two", right)):
            written = read_image(f"out/{name}.png").pixels
            np.testing.assert_array_equal(written[kept], photo.pixels[kept])
            assert (written != photo.pixels).any()

    def test_a_photo_without_a_mask_is_named(self):
        Path("masks").mkdir()
        message = failure("stylize", "photo.png", "--style", STYLE, "--mask", "masks")
        assert message == (
            "photo.png: there is no mask for it in masks; expected photo.png, or another picture "
            "of that name"
        )

    @pytest.mark.parametrize(
        ("options", "code", "sentence"),
        [
            (("--mask", "none.png"), 1, "none.png does not exist: check the path"),
            (("--mask", "left.png", "--mask", "left.png"), 2, "2 masks for one style"),
            (("--style", STYLE), 2, "0 masks for 2 styles"),
            (("--mask", "left.png", "--feather", -1), 2, "--feather is -1.0; expected 0 or more"),
            (("--mask", "alpha"), 1, "the photo has no transparency"),
        ],
    )
    def test_wrong_masks(self, options, code, sentence):
        assert sentence in failure("stylize", "photo.png", "--style", STYLE, *options, code=code)
