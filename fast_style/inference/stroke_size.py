"""The size of the strokes: the style laid down at a working scale and brought back to full size.

A network paints the strokes it has learnt, so many pixels wide, whatever the size of the picture:
on 12 megapixels they are a fine texture. Here the photo is made smaller for the network, and the
stylized picture is brought back to full size with the photo as its guide, after the fast guided
filter (He, Sun, Tang 2010; He, Sun 2015, arXiv 1505.00996).

Their filter gives the local linear model of the stylized picture itself, `up(a) * photo + up(b)`,
in which all strokes that are not in the photo are smoothed away. Here the strokes are kept and the
model's gain `a` carries over only what the working scale has lost of the photo::

    up(stylized) + up(a) * (photo - up(working))

Pure arrays, in strips of rows: the memory beside the pictures is that of a strip. Strips give the
same picture to the last bit as the whole would: all sums are in a fixed order, or exact.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fast_style.errors import UsageError
from fast_style.images.color import scale_luma_weights
from fast_style.images.resampling import (
    BICUBIC,
    BILINEAR,
    VerticalWeights,
    resize_rows,
    round_to_bytes,
    split_rows,
)

__all__ = ["COARSEST", "FINEST", "bring_back", "check_stroke_size", "working_size"]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

FINEST, COARSEST = 0.25, 16.0
"""The range of stroke sizes; finer ones cost the square of their inverse, coarser ones leave
nothing to paint."""

_RADIUS = 2
"""Of the window of the local linear model, in pixels of the working scale: as small as an edge and
its two sides, so that the model of an edge is not that of what is beside it."""

_NOISE = 40.0
"""Variance of the photo, in squared levels, below which its detail is taken for noise: the gain
falls to zero there, and the strokes in a sky stay free of it."""

_LOWEST, _HIGHEST = -1.0, 2.0  # of the gain: the style may turn an edge over, not blow it up
_GAIN_STEPS = 255 / (_HIGHEST - _LOWEST)

_OWN_GAIN = 0.7
"""Gain of detail where the painting has strokes of its own: branches and rocks are there, and grass
does not yet look like noise."""

# Enlarged as they are, strokes are blurred and show the pixels of the working scale as beads and
# steps. So they are combed first, smoothed along the direction in which they vary least, and then
# sharpened, but kept between the lowest and the highest of their neighbours: their edges become
# steep and get no halos. Found by eye, as the other figures here, at sizes 2 and 4.
_LINES = tuple(
    tuple((step * down, step * across) for step in range(-reach, reach + 1))
    for reach, directions in (
        (2, ((0, 1), (1, 0), (1, 1), (1, -1))),
        (1, ((1, 2), (2, 1), (1, -2), (2, -1))),
    )
    for down, across in directions
)
_LINE_REACH = 2
_EVEN = 20.0  # variance, in squared levels, of lines between which there is little to choose
_SHARPENING = 0.9

_LUMA = scale_luma_weights(256)
_REACH = _LINE_REACH + 2 * _RADIUS  # rows around a pixel that its layers depend on

_STRIP_PIXELS = 1 << 18  # of the working scale: enough rows for the halo to cost little
_BAND_PIXELS = 1 << 16  # of a strip that are put together at a time, to stay in the cache


def check_stroke_size(stroke_size: float) -> None:
    """Make sure that a stroke size is one.

    Args:
        stroke_size: how many times as large as the network's own the strokes shall be.

    Raises:
        UsageError: it is not a number from `FINEST` to `COARSEST`.
    """
    if not FINEST <= stroke_size <= COARSEST:  # written so that NaN fails too
        raise UsageError(
            f"stroke_size must be a number from {FINEST:g} to {COARSEST:g}, and {stroke_size} was "
            "given"
        )


def working_size(height: int, width: int, stroke_size: float) -> tuple[int, int]:
    """Tell at what size a picture is stylized.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        stroke_size: from `FINEST` to `COARSEST`; the picture becomes smaller by it.

    Returns:
        Height and width in pixels, 1 or more each.

    Raises:
        UsageError: the stroke size is out of its range.
    """
    check_stroke_size(stroke_size)
    return max(1, round(height / stroke_size)), max(1, round(width / stroke_size))


def bring_back(stylized: Pixels, working: Pixels, photo: Pixels) -> Pixels:
    """Enlarge a stylized picture to the size of its photo, with the photo's edges and detail.

    Args:
        stylized: the stylized picture at the working size, shape (h, w, 3), RGB, uint8, values in
            [0, 255].
        working: what it was made from, the photo at the working size: same shape, type and range.
        photo: the photo, shape (H, W, 3) with H >= h and W >= w, same type and range.

    Returns:
        The stylized picture, shape (H, W, 3), RGB, uint8.

    Raises:
        UsageError: the two small pictures differ in shape, or the photo is smaller than they.
    """
    if stylized.shape != working.shape or any(
        small > large for small, large in zip(working.shape, photo.shape, strict=True)
    ):
        raise UsageError(
            "a stylized picture and its photo must have one size, and the full photo no smaller a "
            f"one, and the shapes {stylized.shape}, {working.shape} and {photo.shape} were given"
        )
    rows = max(_REACH, _STRIP_PIXELS // working.shape[1])
    return _brought_back(stylized, working, photo, rows)


def _brought_back(stylized: Pixels, working: Pixels, photo: Pixels, working_rows: int) -> Pixels:
    small, (height, width) = len(working), photo.shape[:2]
    smooth = VerticalWeights.compute(small, height, BICUBIC)
    straight = VerticalWeights.compute(small, height, BILINEAR)
    result = np.empty_like(photo, order="C")
    for top, bottom in split_rows(height, max(1, round(working_rows * height / small))):
        start, stop = smooth.source_rows(top, bottom)
        smooth_layers, straight_layers = (
            np.stack([resize_rows(layer, width, kernel) for layer in layers])
            for kernel, layers in zip(
                (BICUBIC, BILINEAR), _layers(stylized, working, start, stop), strict=True
            )
        )
        for first, last in split_rows(bottom - top, max(1, _BAND_PIXELS // width)):
            first, last = top + first, top + last
            strokes = smooth.apply(smooth_layers, start, first, last)
            limits = straight.apply(straight_layers, start, first, last)
            _put_together(strokes, limits, photo[first:last], result[first:last])
    return result


def _put_together(strokes: Floats, limits: Floats, photo: Pixels, result: Pixels) -> None:
    """Fill a band of the result: sharpened strokes, and the photo's detail by its gain.

    Args:
        strokes: stylized picture and luma of the working photo, shape (4, R, W).
        limits: lowest, highest and gain of each channel, shape (9, R, W); changed.
        photo: shape (R, W, 3).
        result: shape (R, W, 3); filled.
    """
    detail = photo[..., 0] * np.float32(_LUMA[0] / 256)
    detail += photo[..., 1] * np.float32(_LUMA[1] / 256)
    detail += photo[..., 2] * np.float32(_LUMA[2] / 256)
    detail -= strokes[3]
    detail *= np.float32(1 / _GAIN_STEPS)
    for channel in range(3):
        lowest, highest, gain = limits[channel::3]
        gain += np.float32(_LOWEST * _GAIN_STEPS)
        gain *= detail
        painted = strokes[channel]
        np.maximum(painted, lowest, out=painted)
        np.minimum(painted, highest, out=painted)
        painted += gain
        result[..., channel] = round_to_bytes(painted)


def _layers(stylized: Pixels, working: Pixels, start: int, stop: int) -> tuple[Pixels, Pixels]:
    """Make what is enlarged, rows [start, stop) of the working scale.

    Returns:
        The sharpened stylized picture and the luma of the photo, shape (4, rows, w), and the lowest
        and highest of the stylized picture around each pixel and the gain, shape (9, rows, w).
    """
    above, below = max(0, start - _REACH), min(len(working), stop + _REACH)
    missing = (_REACH - (start - above), _REACH - (below - stop))
    around = (missing, (_REACH, _REACH), (0, 0))
    painted, content = (
        np.pad(picture[above:below], around, mode="edge").transpose(2, 0, 1).astype(np.float32)
        for picture in (stylized, working)
    )
    luma = content[:1] * _LUMA[0] + content[1:2] * _LUMA[1] + content[2:] * _LUMA[2]
    luma = np.rint(luma / 256)  # whole numbers, so that sums over windows are exact
    inner = slice(_REACH, -_REACH)
    photo = luma[:, inner, inner].astype(np.uint8)

    painted = _combed(painted)
    luma = luma[:, _LINE_REACH:-_LINE_REACH, _LINE_REACH:-_LINE_REACH]
    near = painted[:, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    clean = near[:, 2:-2, 2:-2]
    sharp = round_to_bytes(clean + np.float32(_SHARPENING) * (clean - _blurred(_blurred(near))))

    near = near[:, 1:-1, 1:-1]
    lowest, highest = (
        across(across(near, 3, axis=1), 3, axis=2).astype(np.uint8) for across in (_least, _most)
    )
    return np.concatenate([sharp, photo]), np.concatenate([lowest, highest, _gain(painted, luma)])


def _combed(painted: Floats) -> Floats:
    """Smooth strokes along themselves: a mean of the means along lines, the more even the more.

    Args:
        painted: stylized picture, shape (3, h, w).

    Returns:
        Whole numbers, `_LINE_REACH` pixels less on each side.
    """
    luma = painted[:1] * _LUMA[0] + painted[1:2] * _LUMA[1] + painted[2:] * _LUMA[2]
    luma *= np.float32(1 / 256)
    planes = np.concatenate([painted, luma, luma * luma])
    height, width = planes.shape[1] - 2 * _LINE_REACH, planes.shape[2] - 2 * _LINE_REACH
    total = np.zeros((3, height, width), np.float32)
    weights = np.zeros((height, width), np.float32)
    for line in _LINES:
        means = np.zeros((len(planes), height, width), np.float32)
        for down, across in line:
            top, left = _LINE_REACH + down, _LINE_REACH + across
            means += planes[:, top : top + height, left : left + width]
        means *= np.float32(1 / len(line))
        weight = np.maximum(means[4] - means[3] * means[3], 0) + np.float32(_EVEN)
        weight = 1 / (weight * weight)
        weights += weight
        total += weight * means[:3]
    return np.rint(total / weights)


def _gain(painted: Floats, luma: Floats) -> Pixels:
    """How strongly the photo's detail shows in the painting, for each channel.

    In each window the stylized picture is modelled as `a * luma + b`. Where this explains it, as at
    an edge that both have, `a` is the gain; where it does not, as among strokes of the painting's
    own, it is `_OWN_GAIN`. The share of variance that is explained mixes the two; noise comes in
    nowhere.

    Args:
        painted: stylized picture, shape (3, rows + 4 * _RADIUS, w + 4 * _RADIUS).
        luma: of the photo, shape (1, the same).

    Returns:
        The gain from `_LOWEST` to `_HIGHEST`, in bytes, shape (3, rows, w).
    """
    moments = np.concatenate([luma, luma * luma, painted, painted * painted, painted * luma])
    moments = _window_sum(moments)
    count = np.float32((2 * _RADIUS + 1) ** 2)
    moments /= count
    mean, means = moments[:1], moments[2:5]
    variance = np.maximum(moments[1:2] - mean * mean, 0)
    variances = np.maximum(moments[5:8] - means * means, 0)
    covariance = moments[8:] - means * mean
    explained = covariance * covariance / (variance * variances + 1)
    np.minimum(explained, 1, out=explained)
    own = np.float32(_OWN_GAIN) * variance
    gain = (own + explained * (covariance - own)) / (variance + np.float32(_NOISE))
    gain = _window_sum(np.clip(gain, _LOWEST, _HIGHEST)) / count
    return round_to_bytes((gain - np.float32(_LOWEST)) * np.float32(_GAIN_STEPS))


def _window_sum(planes: Floats) -> Floats:
    """Sum over windows of 5x5, `_RADIUS` pixels less on each side, in a fixed order."""
    for axis in (1, 2):
        pairs = _shifted(planes, 0, 1, axis) + _shifted(planes, 1, 0, axis)
        planes = (
            _shifted(pairs, 0, 3, axis) + _shifted(pairs, 2, 1, axis) + _shifted(planes, 4, 0, axis)
        )
    return planes


def _blurred(planes: Floats) -> Floats:
    """Blur with the 3x3 binomial filter, one pixel less on each side."""
    for axis in (1, 2):
        middle = _shifted(planes, 1, 1, axis)
        sides = _shifted(planes, 0, 2, axis) + _shifted(planes, 2, 0, axis)
        planes = np.float32(0.5) * middle + np.float32(0.25) * sides
    return planes


def _shifted(planes: Floats, before: int, after: int, axis: int) -> Floats:
    """Leave out planes' first and last rows (axis 1) or columns (axis 2)."""
    part = slice(before, planes.shape[axis] - after)
    return planes[:, part] if axis == 1 else planes[:, :, part]


def _least(planes: Floats, size: int, axis: int) -> Floats:
    least: Floats = np.minimum.reduce(
        [_shifted(planes, i, size - 1 - i, axis) for i in range(size)]
    )
    return least


def _most(planes: Floats, size: int, axis: int) -> Floats:
    most: Floats = np.maximum.reduce([_shifted(planes, i, size - 1 - i, axis) for i in range(size)])
    return most
