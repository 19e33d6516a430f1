"""Stroke size: stylize at a smaller working scale, then enlarge the result with the photo's detail.

A network paints strokes of the width in pixels that it has learnt, whatever the size of the
picture: on 12 megapixels they are a fine texture. For larger strokes the photo is made smaller for
the network, and the stylized picture is enlarged to full size with the photo as the guide, after
the fast guided filter (He, Sun, Tang 2010; He, Sun 2015, arXiv 1505.00996).

The guided filter outputs the local linear model of the stylized picture, `up(a) * photo + up(b)`,
which smooths away all strokes that are not in the photo. Here the strokes are kept, and the model's
gain `a` only adds the detail of the photo that the working scale has lost::

    up(stylized) + up(a) * (photo - up(working))

A large enlargement is made in steps, each with the photo of its size.

Everything works on arrays, in strips of rows, so that the memory beside the pictures is that of a
strip. The strips give the same picture as the whole, bit for bit: all sums are exact or in a fixed
order.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from fast_style.errors import UsageError
from fast_style.images.color import scale_luma_weights
from fast_style.images.resampling import (
    BICUBIC,
    BILINEAR,
    HAMMING,
    VerticalWeights,
    resize_in_strips,
    resize_rows,
    round_to_bytes,
    split_rows,
)
from fast_style.models.card import DEFAULT_BEST_SIZE
from fast_style.options import MAX_STROKE_SIZE

__all__ = ["fit_stroke_size", "upsample_guided", "working_size"]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_RADIUS = 2
"""Radius of the window of the local linear model, in pixels of the working scale: just an edge and
its two sides, so that the model of an edge does not mix with that of its surroundings."""

_NOISE = 40.0
"""Variance of the photo, in squared levels, below which its detail counts as noise: the gain falls
to zero there, so that the strokes in a sky stay free of noise."""

_LOWEST, _HIGHEST = -1.0, 2.0  # of the gain: the style may invert an edge, but not amplify it much
_GAIN_STEPS = 255 / (_HIGHEST - _LOWEST)

_OWN_GAIN = 0.7
"""Gain of detail where the style has painted strokes that the photo does not have: branches and
rocks remain visible, and grass does not yet look like noise."""

# Plain enlargement blurs the strokes and shows the pixels of the working scale as beads and steps.
# So the strokes are first smoothed along the direction in which they vary least, and then sharpened
# within the range of their neighbours, which makes their edges steep without halos. The constants
# here were chosen by eye at stroke sizes 2 and 4.
_LINES = tuple(
    tuple((step * down, step * across) for step in range(-reach, reach + 1))
    for reach, directions in (
        (2, ((0, 1), (1, 0), (1, 1), (1, -1))),
        (1, ((1, 2), (2, 1), (1, -2), (2, -1))),
    )
    for down, across in directions
)
_LINE_REACH = 2
_EVEN = 20.0  # variance, in squared levels, below which all directions count alike
_SHARPENING = 0.9

_LARGEST_STEP = 2.4
"""A larger enlargement is made in several steps. Of one, two and three steps for a factor of 5, two
looked best on three photos of 12 to 20 megapixels: one leaves specks, three lose fine hair."""

_LUMA = scale_luma_weights(256)
_REACH = _LINE_REACH + 2 * _RADIUS  # rows around a pixel that its layers depend on

_THREADS = 2  # that fill strips at the same time: each takes memory of its own
_STRIP_PIXELS = 1 << 17  # at the working scale: enough rows for the overlap to cost little
_BAND_PIXELS = 1 << 16  # of a strip that are combined at a time, to stay in the processor's cache


def fit_stroke_size(height: int, width: int, best_size: int | None = None) -> float:
    """Return the stroke size that `auto` stands for: strokes take the same share of every picture.

    A picture is worked at as if its longer side had the size at which the style looks best; its
    shorter side is worked at with at least half of that, so that a panorama is not a few pixels
    high.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        best_size: longer side, in pixels, at which the style looks best; `DEFAULT_BEST_SIZE` if
            None.

    Returns:
        From 1, as small pictures are not enlarged, to `MAX_STROKE_SIZE`.
    """
    best = DEFAULT_BEST_SIZE if best_size is None else best_size
    longer, shorter = max(height, width), min(height, width)
    return min(max(1.0, min(longer / best, 2 * shorter / best)), float(MAX_STROKE_SIZE))


def working_size(height: int, width: int, stroke_size: float) -> tuple[int, int]:
    """Return the size at which the network works.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        stroke_size: as in `StyleOptions`; the picture is made smaller by this factor.

    Returns:
        Height and width in pixels, 1 or more each.
    """
    return max(1, round(height / stroke_size)), max(1, round(width / stroke_size))


def upsample_guided(stylized: Pixels, working: Pixels, photo: Pixels) -> Pixels:
    """Enlarge a stylized picture to the size of its photo, with the photo's edges and detail.

    Args:
        stylized: the stylized picture at the working size, shape (h, w, 3), RGB, uint8, values in
            [0, 255].
        working: the photo at the working size, from which it was made: same shape, type and range.
        photo: the photo, shape (H, W, 3) with H >= h and W >= w, same type and range.

    Returns:
        The stylized picture, shape (H, W, 3), RGB, uint8.

    Raises:
        UsageError: the two small pictures differ in shape, or the photo is smaller than they are.
    """
    if stylized.shape != working.shape or any(
        small > large for small, large in zip(working.shape, photo.shape, strict=True)
    ):
        raise UsageError(
            "expected a stylized picture and a photo of the same shape, and a full photo that is "
            f"no smaller; the shapes are {stylized.shape}, {working.shape} and {photo.shape}"
        )
    for height, width in _sizes_between(working.shape[:2], photo.shape[:2]):
        larger = resize_in_strips(photo, height, width, HAMMING)
        stylized, working = _upsample(stylized, working, larger), larger
    return _upsample(stylized, working, photo)


def _sizes_between(small: tuple[int, ...], large: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the heights and widths between two sizes, in equal steps of `_LARGEST_STEP` or less.

    A step's strokes are smoothed and sharpened anew: one large step would enlarge the network's
    single pixels to visible specks and staircases.
    """
    times = max(after / before for before, after in zip(small, large, strict=True))
    steps = math.ceil(math.log(times, _LARGEST_STEP))
    return [
        (min(round(small[0] * ratio), large[0]), min(round(small[1] * ratio), large[1]))
        for ratio in (times ** (step / steps) for step in range(1, steps))
    ]


def _upsample(stylized: Pixels, working: Pixels, photo: Pixels) -> Pixels:
    """Enlarge a stylized picture in one step, see `upsample_guided`."""
    rows = max(_REACH, _STRIP_PIXELS // working.shape[1])
    return _upsample_in_strips(stylized, working, photo, rows)


def _upsample_in_strips(
    stylized: Pixels, working: Pixels, photo: Pixels, working_rows: int
) -> Pixels:
    small, (height, width) = len(working), photo.shape[:2]
    smooth = VerticalWeights.compute(small, height, BICUBIC)
    straight = VerticalWeights.compute(small, height, BILINEAR)
    result = np.empty_like(photo, order="C")

    def fill(rows: tuple[int, int]) -> None:
        top, bottom = rows
        start, stop = smooth.source_rows(top, bottom)
        smooth_layers, straight_layers = (
            np.stack([resize_rows(layer, width, kernel) for layer in layers])
            for kernel, layers in zip(
                (BICUBIC, BILINEAR), _compute_layers(stylized, working, start, stop), strict=True
            )
        )
        for first, last in split_rows(bottom - top, max(1, _BAND_PIXELS // width)):
            first, last = top + first, top + last
            strokes = smooth.apply(smooth_layers, start, first, last)
            limits = straight.apply(straight_layers, start, first, last)
            _combine_band(strokes, limits, photo[first:last], result[first:last])

    strips = list(split_rows(height, max(1, round(working_rows * height / small))))
    if len(strips) == 1:
        fill(strips[0])
        return result
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(fill, strips))  # raises what a strip raises
    return result


def _combine_band(strokes: Floats, limits: Floats, photo: Pixels, result: Pixels) -> None:
    """Fill a band of the result: sharpened strokes plus the photo's detail times its gain.

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


def _compute_layers(
    stylized: Pixels, working: Pixels, start: int, stop: int
) -> tuple[Pixels, Pixels]:
    """Compute the layers that are enlarged, for rows [start, stop) of the working scale.

    Returns:
        The sharpened stylized picture and the luma of the photo, shape (4, rows, w); the minimum
        and maximum of the stylized picture around each pixel, and the gain, shape (9, rows, w).
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

    painted = _smooth_along_strokes(painted)
    luma = luma[:, _LINE_REACH:-_LINE_REACH, _LINE_REACH:-_LINE_REACH]
    near = painted[:, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    clean = near[:, 2:-2, 2:-2]
    sharp = round_to_bytes(clean + np.float32(_SHARPENING) * (clean - _blur(_blur(near))))

    near = near[:, 1:-1, 1:-1]
    lowest, highest = (
        across(across(near, 3, axis=1), 3, axis=2).astype(np.uint8)
        for across in (_minimum_filter, _maximum_filter)
    )
    return np.concatenate([sharp, photo]), np.concatenate(
        [lowest, highest, _compute_gain(painted, luma)]
    )


def _smooth_along_strokes(painted: Floats) -> Floats:
    """Smooth strokes along their direction: average the means along lines, even lines most.

    Args:
        painted: stylized picture, shape (3, h, w).

    Returns:
        Whole numbers, shape (3, h, w) less `_LINE_REACH` pixels on each side.
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


def _compute_gain(painted: Floats, luma: Floats) -> Pixels:
    """Compute how strongly the photo's detail is added to each channel.

    In each window the stylized picture is modelled as `a * luma + b`. Where the model explains it,
    as at an edge that both have, the gain is `a`; where it does not, as among strokes that only the
    stylized picture has, the gain is `_OWN_GAIN`. The two are mixed by the share of the variance
    that the model explains, and the gain goes to zero where the photo's variance is noise.

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
    """Sum over windows of 5x5 in a fixed order; the result lacks `_RADIUS` pixels on each side."""
    for axis in (1, 2):
        pairs = _trim(planes, 0, 1, axis) + _trim(planes, 1, 0, axis)
        planes = _trim(pairs, 0, 3, axis) + _trim(pairs, 2, 1, axis) + _trim(planes, 4, 0, axis)
    return planes


def _blur(planes: Floats) -> Floats:
    """Blur with the 3x3 binomial filter; the result lacks one pixel on each side."""
    for axis in (1, 2):
        middle = _trim(planes, 1, 1, axis)
        sides = _trim(planes, 0, 2, axis) + _trim(planes, 2, 0, axis)
        planes = np.float32(0.5) * middle + np.float32(0.25) * sides
    return planes


def _trim(planes: Floats, before: int, after: int, axis: int) -> Floats:
    """Return a view without the first and last rows (axis 1) or columns (axis 2) of planes."""
    part = slice(before, planes.shape[axis] - after)
    return planes[:, part] if axis == 1 else planes[:, :, part]


def _minimum_filter(planes: Floats, size: int, axis: int) -> Floats:
    least: Floats = np.minimum.reduce([_trim(planes, i, size - 1 - i, axis) for i in range(size)])
    return least


def _maximum_filter(planes: Floats, size: int, axis: int) -> Floats:
    most: Floats = np.maximum.reduce([_trim(planes, i, size - 1 - i, axis) for i in range(size)])
    return most
