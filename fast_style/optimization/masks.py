"""Masks, which decide where in the photo each painting's style is applied.

`models.perceptual_loss.gram_matrix` weights the pixels by them.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fast_style.errors import UsageError
from fast_style.images import ImageSource
from fast_style.images import masks as pictures

Mask = NDArray[np.float32]


def read_mask(source: ImageSource, height: int, width: int) -> Mask:
    """Read a mask: white where the style is applied, black where not, grey for a part of it.

    Args:
        source: as for `images.masks.read_mask`; it is scaled to the photo.
        height: height of the photo, in pixels.
        width: width of the photo, in pixels.

    Returns:
        Shape (height, width), float32, values in [0, 1].

    Raises:
        ImageError: it cannot be read.
        UsageError: it is black everywhere.
    """
    fitted = pictures.fit_mask(pictures.read_mask(source), height, width)
    if not fitted.any():
        raise UsageError(
            "the mask is black everywhere: paint white where its style is to be applied"
        )
    mask: Mask = fitted.astype(np.float32) / np.float32(255)
    return mask


def resize_mask(mask: Mask, height: int, width: int) -> Tensor:
    """Resize a mask by averaging areas: (1, 1, height, width), range [0, 1]."""
    whole = torch.from_numpy(mask)[None, None]
    return functional.interpolate(whole, (height, width), mode="area")
