"""Colour arithmetic: the luma weights, keeping the photo's colours, blending two pictures.

The functions take and return uint8 arrays. They work in bands of rows, so that the memory beside
the pictures is a few megabytes for any size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fast_style.errors import UsageError
from fast_style.options import MAX_STRENGTH

__all__ = ["LUMA_WEIGHTS", "blend", "preserve_color", "scale_luma_weights"]

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of R, G and B in luma (ITU-R BT.601, as in JPEG)."""

_BAND_PIXELS = 1 << 18  # int32 working arrays of a band stay within the second-level cache


def scale_luma_weights(total: int) -> tuple[int, int, int]:
    """Return the luma weights of R, G and B as whole numbers that sum to `total`.

    Args:
        total: A power of two, for which the rounded weights sum to it: 256 or 65536.
    """
    red, green, blue = (round(weight * total) for weight in LUMA_WEIGHTS)
    return red, green, blue


_LUMA = scale_luma_weights(1 << 16)
_HALF = 1 << 15


def preserve_color(
    stylized: npt.NDArray[np.uint8], content: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Combine the luma of the stylized picture with the colours of the photo.

    This is the luminance-only transfer of Gatys, Bethge, Hertzmann and Shechtman 2016, "Preserving
    Color in Neural Artistic Style Transfer" (arXiv 1606.05897, section 4), in full-range YCbCr of
    BT.601. The paper's YIQ gives the same result: its luma is the same, and its chroma axes are a
    rotation of these. Since R, G and B are each the luma plus a linear function of the chroma,
    replacing the luma adds the *difference of the lumas* to each channel. That is what is computed,
    with one rounding and without converting to YCbCr and back.

    Args:
        stylized: The stylized picture, shape (H, W, 3), RGB, uint8, values in [0, 255].
        content: The photo, same shape, type and range.

    Returns:
        A new array, shape (H, W, 3), RGB, uint8. Values outside [0, 255] are clipped.

    Raises:
        UsageError: If an array is not uint8 of shape (H, W, 3), or the two differ in shape.
    """
    _check_pair(stylized, content)
    result = np.empty_like(content, order="C")
    for rows in _bands(content.shape):
        photo = content[rows].astype(np.int32)
        change = stylized[rows].astype(np.int32)
        change -= photo
        luma = change[..., 0] * _LUMA[0]
        luma += change[..., 1] * _LUMA[1]
        luma += change[..., 2] * _LUMA[2]
        luma += _HALF
        luma >>= 16
        photo += luma[..., None]
        np.clip(photo, 0, 255, out=photo)
        result[rows] = photo
    return result


def blend(
    stylized: npt.NDArray[np.uint8],
    content: npt.NDArray[np.uint8],
    strength: float,
    mask: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Blend the stylized picture with the photo.

    Args:
        stylized: The stylized picture, shape (H, W, 3), RGB, uint8, values in [0, 255].
        content: The photo, same shape, type and range.
        strength: Stylization strength in [0, 1.5]: 0 gives the photo, 1 the stylized picture; more
            exaggerates the difference.
        mask: What the strength is multiplied by, shape (H, W), uint8, 0 to 255 for 1; 1 everywhere
            if None.

    Returns:
        ``content + strength * mask * (stylized - content)`` rounded to the nearest integer and
        clipped, shape (H, W, 3), uint8. Without a mask, at 0 and at 1 the photo or the stylized
        array itself is returned, not a copy.

    Raises:
        UsageError: If strength is outside [0, 1.5], an array is not uint8 of shape (H, W, 3), or
            the two differ in shape, or the mask from them.
    """
    _check_pair(stylized, content)
    if not 0.0 <= strength <= MAX_STRENGTH:  # written so that NaN fails too
        raise UsageError(
            f"strength must be a number from 0 to {MAX_STRENGTH}, and {strength} was given"
        )
    if mask is not None and (mask.dtype != np.uint8 or mask.shape != content.shape[:2]):
        raise UsageError(
            f"the mask must be a uint8 array of shape {content.shape[:2]}, as high and wide as the "
            f"picture, and an array of {mask.dtype} of shape {mask.shape} was given"
        )
    if strength == 0.0:
        return content
    if strength == 1.0 and mask is None:
        return stylized
    weight: int | npt.NDArray[np.int32] = round(strength * 65536)
    # The weight for each level of a mask.
    weights = (np.arange(256) * weight / 255 + 0.5).astype(np.int32)[:, None]
    result = np.empty_like(content, order="C")
    for rows in _bands(content.shape):
        photo = content[rows].astype(np.int32)
        change = stylized[rows].astype(np.int32)
        change -= photo
        if mask is not None:
            weight = weights[mask[rows]]
        change *= weight  # at most 255 * 1.5 * 65536, far inside int32
        change += _HALF
        change >>= 16
        photo += change
        if strength > 1.0:
            np.clip(photo, 0, 255, out=photo)
        result[rows] = photo
    return result


def _check_pair(stylized: npt.NDArray[np.uint8], content: npt.NDArray[np.uint8]) -> None:
    for label, array in (("stylized picture", stylized), ("content image", content)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise UsageError(
                f"the {label} must be a uint8 array of shape (height, width, 3), and an array of "
                f"{array.dtype} of shape {array.shape} was given"
            )
    if stylized.shape != content.shape:
        raise UsageError(
            "the stylized picture and the content image must have the same size, and they have "
            f"{stylized.shape[1]}x{stylized.shape[0]} and {content.shape[1]}x{content.shape[0]} "
            "pixels: resize one of them first"
        )


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    step = max(1, _BAND_PIXELS // max(1, shape[1]))
    for top in range(0, shape[0], step):
        yield slice(top, top + step)
