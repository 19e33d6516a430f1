"""Masks, which decide where in the photo each painting's style is applied.

`models.perceptual_loss.gram_matrix` weights the pixels by them.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fast_style.errors import UsageError
from fast_style.images import ImageSource, read_image
from fast_style.images.color import LUMA_WEIGHTS

Mask = NDArray[np.float32]

_LUMA = np.array(LUMA_WEIGHTS, np.float32)


def read_mask(source: ImageSource, height: int, width: int) -> Mask:
    """Read a mask: white where the style is applied, black where not, grey for a part of it.

    Args:
        source: any picture; its luma is the mask.
        height: height of the photo, in pixels.
        width: width of the photo, in pixels.

    Returns:
        Shape (height, width), float32, values in [0, 1].

    Raises:
        ImageError: it cannot be read.
        UsageError: its size is not the photo's, or it is black everywhere.
    """
    photo = read_image(source)
    if (photo.height, photo.width) != (height, width):
        raise UsageError(
            f"the mask has {photo.width}x{photo.height} pixels and the photo {width}x{height}: "
            "make it of the photo's size"
        )
    mask: Mask = (photo.pixels.astype(np.float32) @ _LUMA / 255).clip(0, 1)
    if not mask.any():
        raise UsageError(
            "the mask is black everywhere: paint white where its style is to be applied"
        )
    return mask


def resize_mask(mask: Mask, height: int, width: int) -> Tensor:
    """Resize a mask by averaging areas: (1, 1, height, width), range [0, 1]."""
    whole = torch.from_numpy(mask)[None, None]
    return functional.interpolate(whole, (height, width), mode="area")
