"""Grain: a fixed, uniform noise of the given amplitude."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_style.errors import UsageError
from fast_style.images.grain import add_grain
from fast_style.inference.stylizer import Stylizer
from fast_style.models.model_file import StyleModel
from fast_style.options import GRAIN_LIMIT
from tests.conftest import SMALLEST, make_card, make_weights


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 600), st.integers(1, 300), st.integers(1, GRAIN_LIMIT))
def test_no_pixel_changes_by_more_than_the_amplitude(
    height: int, width: int, amplitude: int
) -> None:
    picture = np.full((height, width, 3), 128, np.uint8)
    noise = add_grain(picture, amplitude).astype(int) - 128
    assert noise.shape == picture.shape
    assert np.abs(noise).max() <= amplitude
    assert (picture == 128).all()


def test_noise_is_uniform_and_unbiased() -> None:
    noise = add_grain(np.full((256, 256, 3), 128, np.uint8), 3).astype(int) - 128
    values, counts = np.unique(noise, return_counts=True)
    assert values.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    np.testing.assert_allclose(counts / noise.size, 1 / 7, rtol=0.03)
    # Channels and neighbouring pixels are independent.
    flat = noise.reshape(-1, 3).astype(float)
    assert np.abs(np.corrcoef(flat.T) - np.eye(3)).max() < 0.02
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.02


def test_offset_is_a_position_in_the_repeated_pattern() -> None:
    large = add_grain(np.full((520, 300, 3), 100, np.uint8), 8)
    np.testing.assert_array_equal(large[:256], large[256:512])
    np.testing.assert_array_equal(large[:, :44], large[:, 256:300])
    moved = add_grain(np.full((64, 32, 3), 100, np.uint8), 8, (7, 300))
    np.testing.assert_array_equal(moved, large[7 : 7 + 64, 44 : 44 + 32])


def test_values_saturate_at_black_and_white() -> None:
    for value in (0, 255):
        grainy = add_grain(np.full((64, 64, 3), value, np.uint8), 20).astype(int)
        assert np.abs(grainy - value).max() == 20


def test_zero_amplitude_returns_the_array_itself() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    assert add_grain(picture, 0) is picture


@pytest.mark.parametrize("amplitude", [-1, GRAIN_LIMIT + 1, 1.5, True, "8"])
def test_invalid_amplitudes_are_refused(amplitude: object) -> None:
    with pytest.raises(UsageError, match="expected a whole number of levels from 0 to 64"):
        add_grain(np.zeros((4, 4, 3), np.uint8), amplitude)  # type: ignore[arg-type]


def test_stylizer_adds_the_grain_of_the_card() -> None:
    white = np.full((80, 80, 3), 255, np.uint8)
    weights = make_weights(SMALLEST)
    plain = Stylizer(StyleModel(make_card(), weights), precision="fp32")
    grainy = Stylizer(StyleModel(make_card(grain=8), weights), precision="fp32")
    inside = np.asarray(plain.stylize(white))[30:50, 30:50]
    assert np.ptp(inside, axis=(0, 1)).max() <= 1
    expected = plain.stylize(add_grain(white, 8))
    np.testing.assert_array_equal(grainy.stylize(white), expected)
    assert np.ptp(np.asarray(expected)[30:50, 30:50], axis=(0, 1)).min() > 10
    # The result is blended with the photo without grain.
    np.testing.assert_array_equal(grainy.stylize(white, strength=0), white)
