"""What an optimisation takes in memory, estimated before it starts."""

import math

import torch
from torch import nn

from fast_style.errors import ImageTooLargeError
from fast_style.models.vgg import WINOGRAD_FILTERS, Vgg
from fast_style.optimization.config import Stage
from fast_style.optimization.descent import HISTORY
from fast_style.storage.hardware import available_memory

# The process itself with torch, the VGG, the workspaces of its convolutions, and what is left of
# the painting, which is looked at first: most, as measured, where it has another shape than the
# photo.
_BASE = 1250 << 20

# Beside what is counted below: what the allocator holds back.
_MARGIN = 1.1

_FLOAT, _INDEX = 4, 8


def bytes_per_pixel(vgg: Vgg, optimizer: str, iterations: int, *, bf16: bool) -> float:
    """Estimate the bytes of memory that each pixel of the picture takes at the peak.

    The features of all layers are kept for the gradient, most of them in the first stage; at the
    peak two gradients of its size, and a copy in float32 for the Gram matrix, are beside them.
    """
    each = 2 if bf16 else _FLOAT
    features = widest = 0.0
    share, stage, channels = 1.0, "1", 3
    for name, convolution in vgg.convolutions.items():
        if name[4] != stage:
            # Pooled features, and where each of them came from.
            share, stage = share / 4, name[4]
            features += share * channels * (each + _INDEX)
        assert isinstance(convolution, nn.Conv2d)
        channels = convolution.out_channels
        features += share * channels * each
        widest = max(widest, share * channels)
    copies = 2 * each + _FLOAT
    remembered = min(HISTORY, iterations)
    pixels = 3 * _FLOAT * (2 * remembered + 17 if optimizer == "lbfgs" else 10)
    return _MARGIN * (features + copies * widest + pixels)


def fixed_bytes(vgg: Vgg, *, bf16: bool) -> int:
    """Estimate the bytes of memory that an optimisation takes whatever the picture's size."""
    kernels = 0
    for convolution in vgg.convolutions.values():
        assert isinstance(convolution, nn.Conv2d)
        if not bf16 and convolution.out_channels >= WINOGRAD_FILTERS:
            kernels += 4 * convolution.weight.numel() * _FLOAT  # Winograd's, beside the plain ones
    return _BASE + kernels


def estimate_bytes(stage: Stage, vgg: Vgg, optimizer: str, *, bf16: bool) -> int:
    """Estimate the memory that one size of an optimisation takes, in bytes."""
    each = bytes_per_pixel(vgg, optimizer, stage.iterations, bf16=bf16)
    return round(fixed_bytes(vgg, bf16=bf16) + stage.height * stage.width * each)


def check_memory(stage: Stage, vgg: Vgg, optimizer: str, device: str, *, bf16: bool) -> None:
    """See that the last and largest size fits into the memory that is free.

    Raises:
        ImageTooLargeError: it does not; the message names the size that would.
    """
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else available_memory()
    needed = estimate_bytes(stage, vgg, optimizer, bf16=bf16)
    height, width = stage.height, stage.width
    if needed <= free:
        return
    each = bytes_per_pixel(vgg, optimizer, stage.iterations, bf16=bf16)
    left = max(0, free - fixed_bytes(vgg, bf16=bf16))
    side = math.floor(max(height, width) * math.sqrt(left / each / height / width))
    advice = f"give --size {side} or less" if side >= 32 else "free some memory"
    raise ImageTooLargeError(
        f"{width}x{height} pixels take about {needed / 1e9:.1f} GB to optimise, and "
        f"{free / 1e9:.1f} GB are free: {advice}"
    )
