"""Paintings as a run needs them, and the photos that their weights are balanced with."""

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fast_style.errors import FastStyleError
from fast_style.images import resize_long_side
from fast_style.models.model_file import THUMBNAIL_LIMIT
from fast_style.training.data import PhotoCrops

_BALANCING_CROPS, _BALANCING_SIDE, _BALANCING_SEED = 32, 256, 0


def style_tensor(pixels: NDArray[np.uint8], style_size: int) -> Tensor:
    """Bring a painting to its training size: RGB, (1, 3, H, W) in [0, 1]."""
    resized = resize_long_side(pixels, style_size, enlarge=True)
    return torch.from_numpy(resized.transpose(2, 0, 1).copy())[None].float() / 255


def balancing_crops(photos: list[Path]) -> Tensor:
    """Take the crops for `PerceptualLoss.balance_styles`: the same ones for the same photos.

    One crop a photo, of at most 32 photos. Neither the run's seed nor the side of its crops changes
    them, so networks of one painting that learnt from the same photos were trained for one
    objective, whatever their size.

    Returns:
        RGB, shape (N, 3, S, S), range [0, 1].
    """
    crops = PhotoCrops(photos, _BALANCING_SIDE, 0, _BALANCING_SEED)
    count = min(_BALANCING_CROPS, len(photos))
    return torch.stack([crops[i][0] for i in range(count)]).float() / 255


def make_thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """Make a small WebP of a painting that fits into a card."""
    small = Image.fromarray(resize_long_side(pixels, 256))
    for quality in (80, 60, 40, 20, 5):
        content = io.BytesIO()
        small.save(content, "WEBP", quality=quality, method=6)
        if len(content.getvalue()) <= THUMBNAIL_LIMIT:
            return content.getvalue()
    raise FastStyleError("the painting's thumbnail does not fit its card")
