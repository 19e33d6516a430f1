"""Padding a picture's features on all four sides, in the memory format that they have."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def pad(features: Tensor, count: int, mode: Literal["circular", "reflect", "replicate"]) -> Tensor:
    """Pad as `functional.pad` does.

    Circular padding is our own: torch's loses the channels-last format, so that the convolution
    after it copies once more, and its gradient is put together of a dozen slices, each with a blank
    of the whole size.

    Args:
        features: shape (B, C, H, W).
        count: pixels on each side: at most H and W, for `reflect` less.
        mode: what the border is made of.

    Returns:
        Shape (B, C, H + 2 count, W + 2 count).
    """
    if mode != "circular":
        return functional.pad(features, (count,) * 4, mode=mode)
    padded: Tensor = _CircularPadding.apply(features, count)
    return padded


class _CircularPadding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, count: int) -> Tensor:
        ctx.count = count
        return _joined(_joined(features, 2, count), 3, count)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _folded(_folded(gradient, 2, ctx.count), 3, ctx.count), None


def _joined(features: Tensor, dim: int, count: int) -> Tensor:
    """Put before a dimension what is at its end, and after it what is at its beginning."""
    length = features.shape[dim]
    before, after = features.narrow(dim, length - count, count), features.narrow(dim, 0, count)
    return torch.cat([before, features, after], dim)


def _folded(gradient: Tensor, dim: int, count: int) -> Tensor:
    """Add what was put before and after a dimension to what it is a copy of."""
    length = gradient.shape[dim] - 2 * count
    inside = gradient.narrow(dim, count, length).clone()
    inside.narrow(dim, length - count, count).add_(gradient.narrow(dim, 0, count))
    inside.narrow(dim, 0, count).add_(gradient.narrow(dim, count + length, count))
    return inside
