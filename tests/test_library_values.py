"""What the library takes: numpy's numbers, torch tensors, pickled stylizers."""

import copy
import json
import multiprocessing
import pickle
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from fast_style import Stylizer, encode_image, read_image
from fast_style.errors import ImageTooLargeError, OptionError, UnreadableImageError, UsageError
from fast_style.models.model_file import StyleModel
from fast_style.options import EngineOptions, StyleOptions
from tests.commands import environment
from tests.conftest import SMALLEST, make_card, make_weights

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def pixels(astronaut):
    return np.asarray(Image.open(astronaut).convert("RGB").resize((40, 30)))


@pytest.fixture(scope="module")
def stylizer(model_file):
    return Stylizer(model_file, cache=False)


def stylized(stylizer, pixels):
    return np.asarray(stylizer.stylize(pixels, strength=0.5))


class TestPickling:
    def test_pickled_stylizer_gives_the_same_picture(self, stylizer, pixels):
        again = pickle.loads(pickle.dumps(stylizer))
        np.testing.assert_array_equal(stylized(again, pixels), stylized(stylizer, pixels))
        assert again.card == stylizer.card
        assert again.max_megapixels == stylizer.max_megapixels

    def test_options_survive(self, model, pixels):
        first = Stylizer(model, precision="fp32", tile=64, max_megapixels=3, cache=False)
        again = copy.deepcopy(first)
        assert again.engine.precision == "fp32"
        assert again.max_megapixels == 3
        with pytest.raises(ImageTooLargeError):
            again.stylize(np.zeros((2000, 2000, 3), np.uint8))
        np.testing.assert_array_equal(stylized(again, pixels), stylized(first, pixels))

    def test_mixtures_and_lists_of_styles(self, model, pixels):
        other = StyleModel(make_card("other"), make_weights(SMALLEST, seed=1))
        left = np.zeros((30, 40), np.uint8)
        left[:, :20] = 255
        for style, mask in (([(model, 0.25), (other, 0.75)], None), ([model, other], left)):
            first = Stylizer(style, cache=False)
            again = pickle.loads(pickle.dumps(first))
            assert (again.styles, again.mixed_by) == (first.styles, first.mixed_by)
            pictures = [np.asarray(one.stylize(pixels, mask=mask)) for one in (first, again)]
            np.testing.assert_array_equal(*pictures)

    @pytest.mark.slow
    def test_in_a_spawned_process(self, stylizer, pixels):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            there = pool.apply(stylized, (stylizer, pixels))
        np.testing.assert_array_equal(there, stylized(stylizer, pixels))


class TestNumbers:
    @pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint16, np.intp])
    def test_integers_of_numpy_are_whole_numbers(self, kind, stylizer, pixels):
        assert stylizer.stylize(pixels, size=kind(20)).size == (20, 15)
        assert EngineOptions(tile=kind(100), concurrency=kind(2)).tile == 100

    def test_numbers_become_pythons_own(self):
        options = StyleOptions(
            size=np.int64(7),
            strength=np.float32(0.5),
            preserve_color=np.True_,
            stroke_size=np.float64(2),
        )
        assert options == StyleOptions(size=7, strength=0.5, preserve_color=True, stroke_size=2)
        assert json.loads(json.dumps(asdict(options)))["size"] == 7

    def test_quality(self, pixels):
        photo = read_image(pixels)
        assert encode_image(photo, format="jpeg", quality=np.int64(60)) == encode_image(
            photo, format="jpeg", quality=60
        )

    @pytest.mark.parametrize(
        ("option", "value", "expected"),
        [
            ("strength", "1", "strength is '1'; expected a number"),
            ("size", "512", "size is '512'; expected a whole number"),
            ("size", np.float64(512), "expected a whole number"),
            ("size", np.True_, "expected a whole number"),
            ("strength", np.array([1.0, 2.0]), "expected a number"),
            ("strength", np.nan, "expected 0 or more"),
            ("preserve_color", 1, "True or False"),
            ("invert_mask", 1, "expected True or False"),
            ("invert_mask", np.array([True]), "expected True or False"),
            ("stroke_size", "2", "stroke_size is '2'; expected"),
        ],
    )
    def test_other_types_are_refused_in_a_sentence(self, option, value, expected, stylizer, pixels):
        with pytest.raises(OptionError, match=expected):
            stylizer.stylize(pixels, **{option: value})

    def test_arguments_of_functions_are_checked(self, pixels):
        with pytest.raises(UsageError, match="max_megapixels must be more than 0, and '5'"):
            read_image(pixels, max_megapixels="5")
        with pytest.raises(UsageError, match="quality must be an integer from 1 to 100, and '80'"):
            encode_image(read_image(pixels), format="jpeg", quality="80")
        with pytest.raises(UsageError, match=r"a style must be a name, .* and int was given"):
            Stylizer(5)


class TestTensors:
    def test_channels_first(self, pixels):
        tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
        for given in (tensor, tensor.float() / 255, (tensor.double() / 255).requires_grad_()):
            np.testing.assert_array_equal(read_image(given).pixels, pixels)

    def test_half_precision_is_near(self, pixels):
        tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255
        found = read_image(tensor.bfloat16()).pixels.astype(int)
        assert np.abs(found - pixels).max() <= 1

    def test_alpha_and_grey(self, pixels):
        grey = torch.from_numpy(pixels[..., 0].copy())
        for given in (grey, grey[None]):
            np.testing.assert_array_equal(read_image(given).pixels[..., 1], pixels[..., 0])
        alpha = torch.full((1, 30, 40), 7, dtype=torch.uint8)
        photo = read_image(torch.cat([torch.from_numpy(pixels.copy()).permute(2, 0, 1), alpha]))
        assert (photo.alpha == 7).all()

    def test_stylizer_and_parameters(self, stylizer, pixels):
        tensor = torch.nn.Parameter(torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255)
        np.testing.assert_array_equal(stylized(stylizer, tensor), stylized(stylizer, pixels))

    @pytest.mark.parametrize(
        ("shape", "advice"),
        [
            ((30, 40, 3), r"tensor\.permute\(2, 0, 1\) or tensor\.numpy\(\)"),
            ((1, 3, 30, 40), r"batch\[0\]"),
            ((2, 30, 40), "1, 3 or 4 channels"),
            ((30,), "1, 3 or 4 channels"),
        ],
    )
    def test_other_shapes_are_refused_with_the_way_out(self, shape, advice):
        with pytest.raises(UsageError, match=advice):
            read_image(torch.zeros(shape))

    def test_values_outside_the_range_are_refused(self):
        with pytest.raises(UnreadableImageError, match="the tensor"):
            read_image(torch.full((3, 4, 4), 200.0))

    def test_torch_is_not_imported_for_other_pictures(self, model_file):
        code = (
            "import sys, numpy, fast_style\n"
            f"stylizer = fast_style.Stylizer({str(model_file)!r}, cache=False)\n"
            "stylizer.stylize(numpy.zeros((16, 16, 3), numpy.uint8))\n"
            "assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], env=environment(), check=True)
