"""Hidden colours: what lies below transparent pixels must not matter.

Files hold a colour for a transparent pixel too: black, white, or what was there before it was cut
out. A network looks at whole neighbourhoods and at the mean and variance of the whole picture, so
it would see these colours. `fill_hidden` replaces them by what continues the visible part, and
`find_visible_box` finds the part that there is to look at.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from fast_style.images.resampling import split_rows

__all__ = ["fill_hidden", "find_visible_box"]

Pixels = npt.NDArray[np.uint8]

_SOLID = 32
"""From this opacity on, a pixel's own colour is used. Below it there is less and less of that:
programs that store colours multiplied by the opacity leave only noise there."""

_BAND_PIXELS = 1 << 16
_WHOLE = np.uint16(63)  # weight of a pixel that counts fully; sums of four fit 16 bits
_WEIGHTS = np.minimum(_WHOLE, np.arange(256) * 63 // _SOLID + (np.arange(256) > 0)).astype(np.uint8)


def fill_hidden(pixels: Pixels, alpha: Pixels | None) -> Pixels:
    """Fill what is transparent from the visible edge outwards.

    The fill is smooth: near an edge it has the edge's colours, far away the mean of more and more
    of the visible part. It is made by the pull-push algorithm (Gortler, Grzeszczuk, Szeliski, Cohen
    1996, "The Lumigraph", section 3.4): means of visible pixels over squares of 2, 4, 8 ... pixels,
    from the largest to the smallest.

    Args:
        pixels: RGB, shape (H, W, 3), uint8; not changed.
        alpha: Opacity, shape (H, W), uint8, not premultiplied; None if all is opaque.

    Returns:
        RGB, shape (H, W, 3), uint8, which does not depend on colours where alpha is 0; where alpha
        is 32 or more it equals `pixels`. The array itself if there is nothing to fill, or nothing
        visible.
    """
    if alpha is None or int(alpha.min()) >= _SOLID or not alpha.any():
        return pixels
    levels = [(pixels, _WEIGHTS[alpha])]
    while max(levels[-1][1].shape) > 1 and int(levels[-1][1].min()) < _WHOLE:
        levels.append(_halve(*levels[-1]))
    filled = levels.pop()[0]
    for colors, weight in reversed(levels):
        height, width = weight.shape
        enlarged = Image.fromarray(filled).resize((width, height), Image.Resampling.BILINEAR)
        filled = _blend(colors, weight, np.asarray(enlarged))
    return filled


def find_visible_box(alpha: Pixels, margin: int) -> tuple[slice, slice] | None:
    """Find the part of a picture outside which all is transparent.

    Args:
        alpha: Opacity, shape (H, W), uint8.
        margin: How many pixels to add on each side, as far as there are any.

    Returns:
        Rows and columns; None if nothing is visible.
    """
    sides = []
    for axis, length in ((1, alpha.shape[0]), (0, alpha.shape[1])):
        visible = np.flatnonzero(alpha.any(axis=axis))
        if not visible.size:
            return None
        start, stop = int(visible[0]) - margin, int(visible[-1]) + 1 + margin
        sides.append(slice(max(0, start), min(length, stop)))
    return sides[0], sides[1]


def _halve(colors: Pixels, weight: Pixels) -> tuple[Pixels, Pixels]:
    """Return means over squares of 2 by 2, weighted, and the weights, which add up to `_WHOLE`."""
    height, width = weight.shape
    rows, columns = -(-height // 2), -(-width // 2)
    means, total = np.empty((rows, columns, 3), np.uint8), np.empty((rows, columns), np.uint8)
    for first, last in split_rows(rows, max(1, _BAND_PIXELS // width)):
        band = slice(2 * first, 2 * last)
        weights = weight[band, :, None].astype(np.uint16)
        sums = _add_squares(colors[band] * weights)  # at most 4 * 255 * 63, inside uint16
        weights = _add_squares(weights)
        total[first:last] = np.minimum(weights[..., 0], _WHOLE)
        mean = sums * (1 / np.maximum(weights, 1).astype(np.float32))
        mean += np.float32(0.5)
        means[first:last] = mean
    return means, total


def _add_squares(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Add squares of 2 by 2; those at an odd end lack a row or column."""
    height, width = values.shape[:2]
    if height % 2 or width % 2:
        values = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    rows = values[::2] + values[1::2]
    return rows[:, ::2] + rows[:, 1::2]


def _blend(colors: Pixels, weight: Pixels, fill: Pixels) -> Pixels:
    result = np.empty_like(fill)
    for first, last in split_rows(len(fill), max(1, _BAND_PIXELS // fill.shape[1])):
        own = weight[first:last, :, None].astype(np.uint16)
        mixed = colors[first:last] * own
        mixed += fill[first:last] * (_WHOLE - own)
        mixed += _WHOLE // 2
        mixed //= _WHOLE
        result[first:last] = mixed
    return result
