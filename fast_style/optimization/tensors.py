"""Conversions between pixels and tensors, and operations on pictures as tensors."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fast_style.images.color import LUMA_WEIGHTS

Pixels = NDArray[np.uint8]


def to_tensor(pixels: Pixels, device: str) -> Tensor:
    """Convert RGB (H, W, 3) uint8 to (1, 3, H, W), range [0, 1], on a device."""
    batch = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
    return batch.to(device).float() / 255


def enlarge(picture: Tensor, height: int, width: int) -> Tensor:
    """Resize a picture to a size, bicubic, with values in [0, 1]; as it is if it has that size."""
    if picture.shape[2:] == (height, width):
        return picture
    larger = functional.interpolate(picture, (height, width), mode="bicubic", antialias=True)
    return larger.clamp(0, 1)


def to_grey(picture: Tensor) -> Tensor:
    """Replace all three channels by the luma."""
    weights = picture.new_tensor(LUMA_WEIGHTS).view(1, 3, 1, 1)
    return (picture * weights).sum(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()


def match_contrast(painting: Tensor, photo: Tensor) -> Tensor:
    """Shift and scale a grey painting to the photo's mean and standard deviation.

    Gatys, Bethge, Hertzmann and Shechtman 2016 (arXiv 1606.05897), section 4.
    """
    contrast = photo.std() / painting.std().clamp(min=1e-3)
    return (contrast * (painting - painting.mean()) + photo.mean()).clamp(0, 1)


def to_pixels(picture: Tensor) -> Pixels:
    """Convert RGB (1, 3, H, W), range [0, 1], to (H, W, 3) uint8."""
    rounded = (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.cpu().numpy())
