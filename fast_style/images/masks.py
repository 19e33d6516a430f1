"""Masks: white where a style is applied, black where the photo stays, grey for a part of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fast_style.images import ImageSource, Photo, read_image
from fast_style.images.color import scale_luma_weights
from fast_style.images.resampling import BILINEAR, HAMMING, resize_in_strips

__all__ = ["Mask", "divide_areas", "fit_mask", "mask_of", "read_mask"]

Mask = NDArray[np.uint8]
"""Shape (H, W), 0 black to 255 white."""

_LUMA = scale_luma_weights(256)
_COLORED = 24
"""Levels between the channels of a pixel from which it counts as coloured."""


def read_mask(source: ImageSource, *, name: str | None = None) -> Mask:
    """Read a mask from a picture of any kind.

    Args:
        source: as for `read_image`: a picture in grey or black and white, of any depth; or a
            cut-out, see `mask_of`.
        name: what to call it in messages.

    Raises:
        ImageError: it cannot be read.
    """
    return mask_of(read_image(source, name=name))


def mask_of(photo: Photo) -> Mask:
    """Return a picture as a mask: its luma, where transparent pixels count as black.

    A picture in colours with transparency is a cut-out: its opacity is the mask.
    """
    pixels, alpha = photo.pixels, photo.alpha
    if alpha is not None and _is_colored(pixels[alpha > 127]):
        return alpha
    # The weights sum to 256, so that the sum of a white pixel still fits.
    luma = pixels[..., 0] * np.uint16(_LUMA[0])
    for channel in (1, 2):
        luma += pixels[..., channel] * np.uint16(_LUMA[channel])
    luma += 128
    luma >>= 8
    if alpha is not None:
        luma *= alpha
        luma += 127
        luma //= 255
    return luma.astype(np.uint8)


def fit_mask(
    mask: Mask, height: int, width: int, *, feather: float = 0, invert: bool = False
) -> Mask:
    """Scale a mask to a photo.

    Args:
        mask: of any size; it is stretched if its proportions differ from the photo's.
        height: height of the photo, in pixels.
        width: width of the photo, in pixels.
        feather: width of the soft edge between black and white, in pixels; 0 leaves edges as they
            are.
        invert: whether black and white are swapped.

    Returns:
        Shape (height, width).
    """
    for axis, side in enumerate((height, width)):
        if mask.shape[axis] != side:
            filter = HAMMING if side < mask.shape[axis] else BILINEAR
            rows, columns = (side, mask.shape[1]) if axis == 0 else (mask.shape[0], side)
            mask = resize_in_strips(mask, rows, columns, filter)
    if feather > 1:
        # Two boxes make a ramp of smooth ends, as wide as both together.
        box = ImageFilter.BoxBlur((feather - 1) / 4)
        image = Image.fromarray(np.ascontiguousarray(mask)).filter(box).filter(box)
        mask = np.asarray(image)
    return 255 - mask if invert else mask


def divide_areas(masks: Sequence[Mask], count: int) -> tuple[Mask, NDArray[np.uint8]]:
    """Divide a photo among several styles.

    Where masks overlap, they are normalised: each style gets its mask's share of the sum. Where the
    sum stays below white, the photo shows through.

    Args:
        masks: of one shape, (H, W); one for each style, or one less: then the last style has what
            the masks leave.
        count: number of styles.

    Returns:
        How much of the photo is painted, shape (H, W); and the share of each style in what is
        painted, shape (count, H, W): they sum to 255 in each pixel, also where nothing is painted.
    """
    total = np.zeros(masks[0].shape, np.uint16)
    for mask in masks:
        total += mask
    coverage = np.minimum(total, 255).astype(np.uint8)
    last = [255 - coverage] if len(masks) < count else []
    if last:
        total = np.maximum(total, 255)
        coverage = np.full_like(coverage, 255)
    shares = np.empty((count, *coverage.shape), np.uint8)
    half, divisor = total // 2, np.maximum(total, 1)
    seen, before = np.zeros_like(total, np.uint32), np.zeros_like(total, np.uint32)
    for number, mask in enumerate([*masks, *last]):
        seen += mask
        # Differences of rounded sums, so that the shares sum to 255 exactly.
        rounded = (seen * 255 + half) // divisor
        shares[number] = rounded - before
        before = rounded
    shares[0][total == 0] = 255
    return coverage, shares


def _is_colored(pixels: NDArray[np.uint8]) -> bool:
    """Return whether more than a hundredth of some pixels, (N, 3), is not grey."""
    if not len(pixels):
        return False
    return bool(((pixels.max(axis=1) - pixels.min(axis=1)) > _COLORED).mean() > 0.01)
