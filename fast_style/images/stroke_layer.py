"""Colours and strokes of a stylized picture apart, each with a strength of its own.

The colours are what a local linear model of the photo explains of the stylized picture, by the fast
guided filter with the photo as the guide (He, Sun, Tang 2010; He, Sun 2015, arXiv 1505.00996): the
photo in the painting's colours, with its edges and without strokes. The strokes are the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fast_style.images.resampling import HAMMING, resize_in_strips

__all__ = ["blend_layers"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SIDE = 320
"""Long side at which the model is fitted, in pixels."""
_RADIUS = 6
"""Radius of the model's window there: some hundredths of the picture, wider than a stroke."""
_NOISE = 120.0
"""Added to the photo's variances, in squared levels: below it, detail is no colour's edge."""
_BAND_PIXELS = 1 << 17


def blend_layers(
    stylized: Pixels,
    content: Pixels,
    color_strength: float,
    stroke_strength: float,
    mask: Pixels | None = None,
) -> Pixels:
    """Blend the stylized picture with the photo, its colours and its strokes apart.

    Args:
        stylized: RGB, shape (H, W, 3).
        content: the photo, of the same shape.
        color_strength: 0 keeps the photo's colours, 1 has the painting's; more exaggerates.
        stroke_strength: 0 has no strokes, 1 those of the network; more exaggerates.
        mask: what both are multiplied by, shape (H, W), 0 to 255 for 1; 1 everywhere if None.

    Returns:
        A picture of the same shape; values outside [0, 255] are clipped. With equal strengths it is
        that of `color.blend`, but for rounding.
    """
    model = _fit_model(stylized, content)
    height, width = content.shape[:2]
    result = np.empty_like(content, order="C")
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = slice(top, min(top + rows, height))
        photo, painted = (one[band].astype(np.float32) for one in (content, stylized))
        colors = _apply_model(model, photo, band, height)
        change = np.float32(color_strength) * (colors - photo)
        change += np.float32(stroke_strength) * (painted - colors)
        if mask is not None:
            change *= mask[band][..., None].astype(np.float32) * np.float32(1 / 255)
        result[band] = np.clip(np.rint(photo + change), 0, 255)
    return result


def _fit_model(stylized: Pixels, content: Pixels) -> list[Image.Image]:
    """Fit the model at a small size: nine maps of coefficients, then three of offsets."""
    height, width = content.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    sides = max(1, round(height * scale)), max(1, round(width * scale))
    guide, painted = (
        resize_in_strips(one, *sides, HAMMING).astype(np.float32) for one in (content, stylized)
    )
    mean, target = _box(guide), _box(painted)
    # Moments of the guide with itself and with the picture, (h, w, 3, 3) each.
    own = _box((guide[..., :, None] * guide[..., None, :]).reshape(*sides, 9))
    shared = _box((guide[..., :, None] * painted[..., None, :]).reshape(*sides, 9))
    own = own.reshape(*sides, 3, 3) - mean[..., :, None] * mean[..., None, :]
    shared = shared.reshape(*sides, 3, 3) - mean[..., :, None] * target[..., None, :]
    matrix = np.linalg.solve(own + np.float32(_NOISE) * np.eye(3, dtype=np.float32), shared)
    offset = target - np.einsum("hwi,hwij->hwj", mean, matrix)
    maps = np.concatenate([matrix.reshape(*sides, 9), offset], axis=-1)
    smooth = _box(maps)
    return [Image.fromarray(np.ascontiguousarray(smooth[..., i])) for i in range(12)]


def _apply_model(model: list[Image.Image], photo: Floats, band: slice, height: int) -> Floats:
    """Apply the model to rows of the photo."""
    rows, width = photo.shape[:2]
    small = model[0]
    box = (0, band.start * small.height / height, small.width, band.stop * small.height / height)
    maps = [
        np.asarray(one.resize((width, rows), Image.Resampling.BILINEAR, box=box)) for one in model
    ]
    colors = np.stack(maps[9:], axis=-1)
    for i in range(3):
        for j in range(3):
            colors[..., j] += photo[..., i] * maps[3 * i + j]
    return colors


def _box(planes: Floats) -> Floats:
    """Average over windows; planes of shape (h, w, C)."""
    around = ((_RADIUS, _RADIUS), (_RADIUS, _RADIUS), (0, 0))
    padded = np.pad(planes.astype(np.float64), around, mode="edge")
    size = 2 * _RADIUS + 1
    for axis in (0, 1):
        sums = np.cumsum(padded, axis=axis)
        zero = np.zeros_like(sums.take([0], axis=axis))
        sums = np.concatenate([zero, sums], axis=axis)
        after = sums.take(range(size, sums.shape[axis]), axis=axis)
        padded = (after - sums.take(range(sums.shape[axis] - size), axis=axis)) / size
    averaged: Floats = padded.astype(np.float32)
    return averaged
