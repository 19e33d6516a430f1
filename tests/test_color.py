"""Colour preservation and blending, compared with float64 arithmetic in YIQ."""

import numpy as np
import pytest

from fast_style.errors import UsageError
from fast_style.images.color import blend, preserve_color

TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def pictures(height=97, width=61, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
    )


def reference(stylized, content):
    """Convert to YIQ, replace Y and convert back, in float64 and unrounded."""
    yiq = content.astype(np.float64) @ TO_YIQ.T
    yiq[..., 0] = stylized.astype(np.float64) @ TO_YIQ[0]
    return np.clip(yiq @ np.linalg.inv(TO_YIQ).T, 0, 255)


def test_preserve_color_is_a_rounded_luma_exchange():
    for seed in range(5):
        stylized, content = pictures(seed=seed)
        result = preserve_color(stylized, content)
        assert result.dtype == np.uint8
        assert result.shape == content.shape
        # 0.5 for the rounding, a little for weights in units of 1/65536 and the 4-digit matrix
        assert np.abs(result - reference(stylized, content)).max() < 0.51


def test_preserve_color_keeps_chroma_and_takes_luma_where_nothing_clips():
    rng = np.random.default_rng(3)
    content = rng.integers(100, 150, (40, 50, 3), dtype=np.uint8)
    stylized = rng.integers(100, 150, (40, 50, 3), dtype=np.uint8)
    result = preserve_color(stylized, content).astype(np.float64)
    assert np.abs(result @ TO_YIQ[0] - stylized @ TO_YIQ[0]).max() <= 0.51
    for axis in TO_YIQ[1:]:
        assert np.abs(result @ axis - content @ axis).max() < 0.03


def test_preserve_color_of_the_photo_with_itself_is_the_photo():
    content, _ = pictures()
    assert np.array_equal(preserve_color(content, content), content)


def test_preserve_color_of_a_gray_photo_is_gray():
    stylized, _ = pictures()
    gray = np.full_like(stylized, 128)
    result = preserve_color(stylized, gray)
    assert np.array_equal(result[..., 0], result[..., 2])
    assert np.abs(result[..., 1] - stylized @ TO_YIQ[0]).max() < 0.51


@pytest.mark.parametrize("size", [(1, 1), (3, 300_001), (700, 800)])
def test_bands_give_the_same_picture_as_the_whole(size):
    stylized, content = pictures(*size)
    result = preserve_color(stylized, content)
    assert np.abs(result - reference(stylized, content)).max() < 0.51
    exact = content + 0.3 * (stylized.astype(np.float64) - content)
    assert np.abs(blend(stylized, content, 0.3) - exact).max() < 0.505


@pytest.mark.parametrize("strength", [1e-9, 0.001, 0.25, 0.5, 1 / 3, 0.999, 1 - 1e-9])
def test_blend_is_linear_and_rounded(strength):
    stylized, content = pictures()
    stylized[0, :2] = [[0, 255, 0], [255, 0, 255]]
    content[0, :2] = [[255, 0, 0], [0, 255, 255]]
    exact = content + strength * (stylized.astype(np.float64) - content)
    assert np.abs(blend(stylized, content, strength) - exact).max() < 0.505


def test_blend_at_the_ends_returns_the_arrays_themselves():
    stylized, content = pictures()
    assert blend(stylized, content, 0) is content
    assert blend(stylized, content, 1.0) is stylized


def test_inputs_are_not_changed_and_need_not_be_contiguous():
    stylized, content = pictures()
    before = stylized.copy(), content.copy()
    flipped = preserve_color(stylized[::-1, ::-1], content[::-1, ::-1])
    assert np.array_equal(flipped[::-1, ::-1], preserve_color(stylized, content))
    mixed = blend(stylized.swapaxes(0, 1), content.swapaxes(0, 1), 0.7)
    assert np.array_equal(mixed.swapaxes(0, 1), blend(stylized, content, 0.7))
    assert np.array_equal(stylized, before[0])
    assert np.array_equal(content, before[1])


@pytest.mark.parametrize("strength", [-0.01, 1.51, float("nan"), float("inf")])
def test_strength_out_of_range_is_refused(strength):
    stylized, content = pictures()
    with pytest.raises(UsageError, match="from 0 to 1"):
        blend(stylized, content, strength)


@pytest.mark.parametrize("function", [preserve_color, lambda a, b: blend(a, b, 0.5)])
def test_arrays_of_other_types_or_sizes_are_refused(function):
    stylized, content = pictures()
    with pytest.raises(UsageError, match="61x97 and 60x97"):
        function(stylized, content[:, 1:])
    with pytest.raises(UsageError, match=r"stylized picture must be .*float64"):
        function(stylized / 255, content)
    with pytest.raises(UsageError, match=r"content image must be .*\(97, 61\)"):
        function(stylized, content[..., 0])
