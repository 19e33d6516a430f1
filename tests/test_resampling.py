"""Resizing: compared with Pillow on the whole picture, and the same however it is cut."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fast_style.images import read_image, resampling
from fast_style.images.resampling import BICUBIC, BILINEAR, HAMMING, resize_in_strips

FILTERS = {"bilinear": BILINEAR, "bicubic": BICUBIC, "hamming": HAMMING}
SIDES = st.integers(1, 90)


@pytest.fixture(scope="module")
def photo(astronaut):
    return read_image(astronaut).pixels


@pytest.mark.parametrize("size", [(128, 128), (171, 200), (40, 33), (1, 1), (600, 530)])
def test_result_is_that_of_pillow_up_to_rounding(photo, size):
    smaller = size[0] < len(photo)
    kernel = HAMMING if smaller else BICUBIC
    expected = np.asarray(Image.fromarray(photo).resize(size[::-1], kernel.pillow)).astype(int)
    difference = np.abs(resize_in_strips(photo, *size, kernel) - expected)
    assert np.quantile(difference, 0.99) <= 1
    assert difference.max() <= (1 if smaller else 10)  # bytes between the passes clip
    assert difference.mean() < 0.25


@pytest.mark.parametrize("kernel", [BILINEAR])
@pytest.mark.parametrize("size", [(171, 200), (20, 33), (1, 1), (300, 530)])
def test_other_filters_are_those_of_pillow_up_to_rounding(photo, size, kernel):
    soft = photo // 2 + 64  # nothing in it overshoots black or white, and is clipped between passes
    for picture, usual, most in ((photo, 3, 20), (photo[..., 1], 3, 20), (soft, 1, 2)):
        expected = Image.fromarray(picture).resize(size[::-1], kernel.pillow)
        difference = np.abs(
            resize_in_strips(picture, *size, kernel) - np.asarray(expected).astype(int)
        )
        assert np.quantile(difference, 0.99) <= usual
        assert difference.max() <= most
        assert difference.mean() < 0.25


@pytest.mark.parametrize("kernel", FILTERS.values(), ids=FILTERS)
def test_strips_give_the_same_picture_as_the_whole(photo, monkeypatch, kernel):
    for size in ((200, 171), (700, 520), (256, 90)):
        strips = resize_in_strips(photo, *size, kernel)
        with monkeypatch.context() as patch:
            patch.setattr(resampling, "_STRIP_ROWS", 10**6)
            np.testing.assert_array_equal(resize_in_strips(photo, *size, kernel), strips)
        with monkeypatch.context() as patch:
            patch.setattr(resampling, "_STRIP_VALUES", 1)
            np.testing.assert_array_equal(resize_in_strips(photo, *size, kernel), strips)


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, level=st.integers(0, 255))
def test_a_flat_picture_stays_flat_at_any_size(height, width, new_height, new_width, level):
    flat = np.full((height, width, 3), level, np.uint8)
    for kernel in FILTERS.values():
        resized = resize_in_strips(flat, new_height, new_width, kernel)
        assert resized.shape == (new_height, new_width, 3)
        assert (resized == level).all()


@pytest.mark.parametrize(("side", "new_side"), [(2400, 1200), (2400, 60), (300, 2400)])
def test_memory_beside_the_pictures_is_that_of_a_strip(side, new_side):
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    resize_in_strips(picture[:64], 32, 32, HAMMING)  # what is loaded once
    tracemalloc.start()
    try:
        result = resize_in_strips(picture, new_side, new_side, HAMMING)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - result.nbytes < 32e6
