"""Arithmetic on finished pictures: keep the photo's colours, and mix photo and stylized picture.

Pure arrays, uint8 in and uint8 out. Everything is done in bands of rows, so that the working memory
stays at a few megabytes whatever the size of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fast_style.errors import UsageError

__all__ = ["blend", "preserve_color"]

_BAND_PIXELS = 1 << 18  # int32 working arrays of a band stay within the second-level cache

# Luma weights of ITU-R BT.601 (0.299, 0.587, 0.114) in units of 1/65536, which is also their sum.
_LUMA = (19595, 38470, 7471)
_HALF = 1 << 15


def preserve_color(
    stylized: npt.NDArray[np.uint8], content: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Give the stylized picture the colours of the photo.

    Luminance-only transfer of Gatys, Bethge, Hertzmann and Shechtman 2016, "Preserving Color in
    Neural Artistic Style Transfer" (arXiv 1606.05897, section 4): luma from the stylized picture,
    both chroma channels from the photo. The space is YCbCr of BT.601, full range, as in JPEG; the
    paper's YIQ has the same luma and chroma axes that are a rotation of these, so the result is the
    same. In such a space R, G and B are each luma plus a linear function of chroma alone; putting
    another luma in therefore adds the *difference of the lumas* to each channel, which is what is
    computed here, with a single rounding and no conversion there and back.

    Args:
        stylized: The stylized picture, shape (H, W, 3), RGB, uint8, values in [0, 255].
        content: The photo, same shape, type and range.

    Returns:
        A new array, shape (H, W, 3), RGB, uint8. Colours that no RGB value can show are clipped.

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
    stylized: npt.NDArray[np.uint8], content: npt.NDArray[np.uint8], strength: float
) -> npt.NDArray[np.uint8]:
    """Mix the stylized picture into the photo.

    Args:
        stylized: The stylized picture, shape (H, W, 3), RGB, uint8, values in [0, 255].
        content: The photo, same shape, type and range.
        strength: Stylization strength in [0, 1]: 0 gives the photo, 1 the stylized picture.

    Returns:
        ``content + strength * (stylized - content)`` rounded to the nearest integer, shape
        (H, W, 3), uint8. At 0 and at 1 the array that was passed in is returned as it is, not a
        copy.

    Raises:
        UsageError: If strength is outside [0, 1], an array is not uint8 of shape (H, W, 3), or the
            two differ in shape.
    """
    _check_pair(stylized, content)
    if not 0.0 <= strength <= 1.0:  # written so that NaN fails too
        raise UsageError(f"strength must be a number from 0 to 1, and {strength} was given")
    if strength == 0.0:
        return content
    if strength == 1.0:
        return stylized
    weight = round(strength * 65536)
    result = np.empty_like(content, order="C")
    for rows in _bands(content.shape):
        photo = content[rows].astype(np.int32)
        change = stylized[rows].astype(np.int32)
        change -= photo
        change *= weight  # at most 255 * 65536, far inside int32
        change += _HALF
        change >>= 16
        photo += change
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
