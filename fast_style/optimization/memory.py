"""Estimate of the memory that an optimisation needs, before it starts."""

import math

import torch
from torch import nn

from fast_style.errors import ImageTooLargeError
from fast_style.models.vgg import WINOGRAD_FILTERS, Vgg
from fast_style.optimization.config import PyramidLevel
from fast_style.optimization.descent import HISTORY
from fast_style.storage.hardware import available_memory

# The process with torch, the VGG, the workspaces of its convolutions, and what the allocator keeps
# after the painting's features were computed: the largest that was measured, with a painting of
# another shape than the photo.
_BASE = 1250 << 20

# Memory that the allocator keeps, in addition to what is counted below.
_MARGIN = 1.1

_FLOAT, _INDEX = 4, 8


def bytes_per_pixel(vgg: Vgg, optimizer: str, iterations: int, *, bf16: bool) -> float:
    """Estimate the peak memory per pixel of the picture, in bytes.

    The features of all layers are kept for the gradient; those of the first stage are the largest.
    At the peak there are also two gradients of that size, and a float32 copy for the Gram matrix.
    """
    each = 2 if bf16 else _FLOAT
    features = widest = 0.0
    share, stage, channels = 1.0, "1", 3
    for name, convolution in vgg.convolutions.items():
        if name[4] != stage:
            # Pooled features and the indices of the maxima.
            share, stage = share / 4, name[4]
            features += share * channels * (each + _INDEX)
        assert isinstance(convolution, nn.Conv2d)
        channels = convolution.out_channels
        features += share * channels * each
        widest = max(widest, share * channels)
    copies = 2 * each + _FLOAT
    history = min(HISTORY, iterations)
    pixels = 3 * _FLOAT * (2 * history + 17 if optimizer == "lbfgs" else 10)
    return _MARGIN * (features + copies * widest + pixels)


def fixed_bytes(vgg: Vgg, *, bf16: bool) -> int:
    """Estimate the memory that does not depend on the picture's size, in bytes."""
    kernels = 0
    for convolution in vgg.convolutions.values():
        assert isinstance(convolution, nn.Conv2d)
        if not bf16 and convolution.out_channels >= WINOGRAD_FILTERS:
            kernels += 4 * convolution.weight.numel() * _FLOAT  # Winograd's copies
    return _BASE + kernels


def estimate_bytes(level: PyramidLevel, vgg: Vgg, optimizer: str, *, bf16: bool) -> int:
    """Estimate the memory of an optimisation at one size, in bytes."""
    each = bytes_per_pixel(vgg, optimizer, level.iterations, bf16=bf16)
    return round(fixed_bytes(vgg, bf16=bf16) + level.height * level.width * each)


def check_memory(level: PyramidLevel, vgg: Vgg, optimizer: str, device: str, *, bf16: bool) -> None:
    """Check that the largest size fits into the free memory.

    Raises:
        ImageTooLargeError: it does not; the message names a size that does.
    """
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else available_memory()
    needed = estimate_bytes(level, vgg, optimizer, bf16=bf16)
    height, width = level.height, level.width
    if needed <= free:
        return
    each = bytes_per_pixel(vgg, optimizer, level.iterations, bf16=bf16)
    left = max(0, free - fixed_bytes(vgg, bf16=bf16))
    side = math.floor(max(height, width) * math.sqrt(left / each / height / width))
    advice = f"give --size {side} or less" if side >= 32 else "free some memory"
    raise ImageTooLargeError(
        f"{width}x{height} pixels take about {needed / 1e9:.1f} GB to optimise, and "
        f"{free / 1e9:.1f} GB are free: {advice}"
    )
