"""Colours of one picture in another: matched as a whole, or pixel by pixel.

`match_colors` maps the colours of a picture so that their mean and covariance become those of
another: the linear colour transfer of Gatys et al. 2016 (arXiv 1606.05897, section 3), by the map
that moves the colours least (Pitie and Kokaram 2007). `keep_chroma` exchanges the chroma in Oklab
(Ottosson 2020), a space in which lightness and chroma look independent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColorStatistics", "keep_chroma", "match_colors", "measure_colors"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SAMPLES = 1 << 18
_NOISE = 4.0
"""Added to variances, in squared levels: a picture of a single colour has no others to spread."""
_BAND_PIXELS = 1 << 17


@dataclass(frozen=True, slots=True, eq=False)
class ColorStatistics:
    """Mean and covariance of a picture's colours in levels of 0-255: shapes (3,) and (3, 3)."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def measure_colors(pixels: Pixels, alpha: Pixels | None = None) -> ColorStatistics:
    """Measure a picture's colours.

    Args:
        pixels: RGB, shape (H, W, 3).
        alpha: opacity, shape (H, W): colours count by it. If all is transparent, it does not count.
    """
    step = max(1, round((pixels.shape[0] * pixels.shape[1] / _SAMPLES) ** 0.5))
    values = pixels[::step, ::step].reshape(-1, 3).astype(np.float64)
    weights = None
    if alpha is not None and alpha[::step, ::step].any():
        weights = alpha[::step, ::step].ravel().astype(np.float64)
    mean = np.average(values, axis=0, weights=weights)
    centred = values - mean
    weighted = centred if weights is None else centred * (weights / weights.mean())[:, None]
    return ColorStatistics(mean, weighted.T @ centred / len(values))


def match_colors(
    pixels: Pixels, source: ColorStatistics, target: ColorStatistics, share: float = 1.0
) -> Pixels:
    """Map a picture's colours so that those of `source` become those of `target`.

    Args:
        pixels: RGB, shape (H, W, 3).
        source: statistics of the picture.
        target: statistics that it is to have.
        share: in [0, 1]: 0 leaves the colours, 1 maps them wholly.

    Returns:
        A picture of the same shape; values outside [0, 255] are clipped.
    """
    noise = _NOISE * np.eye(3)
    root = _square_root(source.covariance + noise)
    inverse = np.linalg.inv(root)
    matrix = inverse @ _square_root(root @ (target.covariance + noise) @ root) @ inverse
    matrix = share * matrix + (1 - share) * np.eye(3)
    offset = source.mean + share * (target.mean - source.mean) - matrix @ source.mean
    result = np.empty_like(pixels, order="C")
    rows, shift = matrix.T.astype(np.float32), offset.astype(np.float32)
    for band in _bands(pixels.shape):
        result[band] = _to_bytes(pixels[band].astype(np.float32) @ rows + shift)
    return result


def keep_chroma(stylized: Pixels, content: Pixels, share: float = 1.0) -> Pixels:
    """Combine the lightness of the stylized picture with the hue and chroma of the photo.

    Args:
        stylized: RGB, shape (H, W, 3).
        content: the photo, of the same shape.
        share: in [0, 1]: how much of the chroma is the photo's.

    Returns:
        A picture of the same shape. Colours that cannot be shown lose chroma, not lightness.
    """
    result = np.empty_like(stylized, order="C")
    for band in _bands(stylized.shape):
        lab, photo = _to_oklab(stylized[band]), _to_oklab(content[band])
        lab[..., 1:] += np.float32(share) * (photo[..., 1:] - lab[..., 1:])
        result[band] = _from_oklab(lab)
    return result


_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_FROM_LMS, _FROM_LAB = np.linalg.inv(_TO_LMS), np.linalg.inv(_TO_LAB)
_STEPS = 4096


@cache
def _linear_levels() -> Floats:
    """Return linear light for each level of sRGB."""
    level = np.arange(256) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


@cache
def _levels_of_roots() -> Pixels:
    """Return the level of sRGB for each square root of linear light, in `_STEPS`."""
    linear = (np.arange(_STEPS) / (_STEPS - 1)) ** 2
    level = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    levels: Pixels = np.rint(255 * level).astype(np.uint8)
    return levels


def _to_oklab(pixels: Pixels) -> Floats:
    lms = np.cbrt(_linear_levels()[pixels] @ _TO_LMS.T.astype(np.float32))
    lab: Floats = lms @ _TO_LAB.T.astype(np.float32)
    return lab


def _from_oklab(lab: Floats) -> Pixels:
    linear = _to_linear(lab)
    for _ in range(4):
        outside = ((linear < -1e-4) | (linear > 1.0001)).any(axis=-1)
        if not outside.any():
            break
        less = lab[outside]
        less[:, 1:] *= np.float32(0.75)
        lab[outside] = less
        linear[outside] = _to_linear(less)
    roots = np.sqrt(np.clip(linear, 0, 1))
    levels: Pixels = _levels_of_roots()[np.rint(roots * (_STEPS - 1)).astype(np.intp)]
    return levels


def _to_linear(lab: Floats) -> Floats:
    lms = lab @ _FROM_LAB.T.astype(np.float32)
    linear: Floats = (lms * lms * lms) @ _FROM_LMS.T.astype(np.float32)
    return linear


def _square_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the square root of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


def _to_bytes(values: Floats) -> Pixels:
    levels: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    step = max(1, _BAND_PIXELS // max(1, shape[1]))
    for top in range(0, shape[0], step):
        yield slice(top, top + step)
