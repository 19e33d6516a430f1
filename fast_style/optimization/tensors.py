"""Pictures as tensors, and what is done to them between sizes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fast_style.images.color import LUMA_WEIGHTS

Pixels = NDArray[np.uint8]


def to_tensor(pixels: Pixels, device: str) -> Tensor:
    """RGB (H, W, 3) uint8 as (1, 3, H, W) in [0, 1] on a device."""
    batch = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
    return batch.to(device).float() / 255


def enlarged(picture: Tensor, height: int, width: int) -> Tensor:
    """Bring a picture of the smaller size before to this one; values stay in [0, 1]."""
    if picture.shape[2:] == (height, width):
        return picture
    larger = functional.interpolate(picture, (height, width), mode="bicubic", antialias=True)
    return larger.clamp(0, 1)


def grey(picture: Tensor) -> Tensor:
    """Brightness alone, in all three channels."""
    weights = picture.new_tensor(LUMA_WEIGHTS).view(1, 3, 1, 1)
    return (picture * weights).sum(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()


def matched(painting: Tensor, photo: Tensor) -> Tensor:
    """Give a grey painting the photo's mean and contrast (arXiv 1606.05897, section 4)."""
    contrast = photo.std() / painting.std().clamp(min=1e-3)
    return (contrast * (painting - painting.mean()) + photo.mean()).clamp(0, 1)


def to_pixels(picture: Tensor) -> Pixels:
    """RGB (1, 3, H, W) in [0, 1] as (H, W, 3) uint8."""
    rounded = (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.cpu().numpy())
