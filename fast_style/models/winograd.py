"""3x3 convolutions with a quarter of the multiplications, for frozen kernels on a CPU.

Winograd's F(4x4, 3x3) of Lavin and Gray 2015 (arXiv 1509.09308): a tile of 4x4 outputs depends on
6x6 inputs. Evaluated at the points 0, 1, -1, 2, -2 and infinity, input and kernel need 36 products
instead of 144, which are 36 matrix products over all tiles and channels. In float32 the result
differs from a direct convolution by about 1e-5 of the largest value; bfloat16 would lose too much.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

_SIDE, _PATCH = 4, 6
"""Sides of a tile of outputs and of the patch of inputs that it depends on."""

_PRODUCTS = _PATCH**2
"""Products of a tile, and matrices of a kernel."""

_TILES = 192
"""Tiles in a block: enough rows for the matrix products, few enough for the processor's cache."""

# Lavin and Gray 2015, section 4.3.
_INPUT = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
_KERNEL = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
_OUTPUT = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)


def _both_axes(matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Return the matrix that transforms both axes of patches flattened row by row."""
    one = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(one, one).float()


_TO_POINTS = _both_axes(_INPUT)  # (36, 36)
_FROM_POINTS = _both_axes(_OUTPUT)  # (16, 36)


def transform_kernel(weight: Tensor) -> Tensor:
    """Evaluate a kernel at the points, once for all pictures.

    Args:
        weight: shape (K, C, 3, 3).

    Returns:
        Shape (36, C, K), float32: four times the kernel's memory.
    """
    # The caller keeps it: a tensor created in inference mode could not be used for gradients later.
    with torch.inference_mode(False):
        one = torch.tensor(_KERNEL, dtype=torch.float64)
        points = torch.einsum("ia,kcab,jb->ijck", one, weight.detach().double(), one)
        return points.flatten(0, 1).float().contiguous()


def convolve_and_rectify(features: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Convolve as `functional.conv2d` does with zero padding of 1, then apply a ReLU.

    Gradients flow to the features only.

    Args:
        features: float32 on the CPU, shape (B, C, H, W).
        kernel: from `transform_kernel`, shape (36, C, K).
        bias: shape (K,).

    Returns:
        Shape (B, K, H, W), channels-last. It must not be changed in place: the gradient needs it.
    """
    rectified: Tensor = _ConvolutionAndRectification.apply(features, kernel, bias)
    return rectified


def _count_tiles(side: int) -> int:
    """Return how many tiles cover a side."""
    return -(-side // _SIDE)


def _blocks(batch: int, down: int, across: int) -> Iterator[tuple[int, int]]:
    """Yield the first row of tiles of each block, and its number of rows, over all pictures."""
    rows = max(1, _TILES // (batch * across))
    return ((first, min(rows, down - first)) for first in range(0, down, rows))


def _zero_pixels(batch: int, down: int, across: int, channels: int) -> Tensor:
    """Return zeros for all patches, (B, height, width, C), in whole tiles."""
    return torch.zeros(batch, _SIDE * (down + 1), _SIDE * (across + 1), channels)


def _view_tiles(pixels: Tensor, first: int, rows: int, across: int) -> Tensor:
    """Return a view of rows of tiles, (4, 4, B, rows, across, C), of pixels (B, H, W, C)."""
    block = pixels[:, _SIDE * first : _SIDE * (first + rows), : _SIDE * across]
    parted = block.view(len(pixels), rows, _SIDE, across, _SIDE, pixels.shape[3])
    return parted.permute(2, 4, 0, 1, 3, 5)


def _view_patches(padded: Tensor, first: int, rows: int, across: int) -> Tensor:
    """Return a view of the patches of rows of tiles, (6, 6, B, rows, across, C)."""
    batch, _, _, channels = padded.shape
    picture, down, right, one = padded.stride()
    return padded.as_strided(
        (_PATCH, _PATCH, batch, rows, across, channels),
        (down, right, picture, _SIDE * down, _SIDE * right, one),
        _SIDE * first * down,
    )


class _ConvolutionAndRectification(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        batch, channels, height, width = features.shape
        down, across = _count_tiles(height), _count_tiles(width)
        padded = _zero_pixels(batch, down, across, channels)
        padded[:, 1 : height + 1, 1 : width + 1] = features.permute(0, 2, 3, 1)
        out = features.new_empty(batch, _SIDE * down, _SIDE * across, kernel.shape[2])
        for first, rows in _blocks(batch, down, across):
            patches = _view_patches(padded, first, rows, across)
            points = torch.mm(_TO_POINTS, patches.reshape(_PRODUCTS, -1))
            products = torch.bmm(points.view(_PRODUCTS, -1, channels), kernel)
            flat = products.view(_PRODUCTS, -1)
            tiles = torch.addmm(bias.repeat(products.shape[1]), _FROM_POINTS, flat)
            tiles = tiles.relu_().view(_SIDE, _SIDE, batch, rows, across, -1)
            _view_tiles(out, first, rows, across).copy_(tiles)
        rectified = out[:, :height, :width].permute(0, 3, 1, 2)
        rectified = rectified.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(kernel, rectified)
        return rectified

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Apply the transpose of each step in reverse order, with the same kernel."""
        kernel, rectified = ctx.saved_tensors
        batch, filters, height, width = rectified.shape
        down, across = _count_tiles(height), _count_tiles(width)
        passed = torch.ops.aten.threshold_backward(gradient, rectified, 0)
        whole = passed.permute(0, 2, 3, 1)
        if (height, width) != (_SIDE * down, _SIDE * across):
            whole = functional.pad(
                whole, (0, 0, 0, _SIDE * across - width, 0, _SIDE * down - height)
            )
        padded = _zero_pixels(batch, down, across, kernel.shape[1])
        for first, rows in _blocks(batch, down, across):
            tiles = _view_tiles(whole, first, rows, across).reshape(_SIDE**2, -1)
            products = torch.mm(_FROM_POINTS.T, tiles).view(_PRODUCTS, -1, filters)
            points = torch.bmm(products, kernel.transpose(1, 2))
            patches = torch.mm(_TO_POINTS.T, points.view(_PRODUCTS, -1))
            patches = patches.view(_PATCH, _PATCH, batch, rows, across, -1)
            # Patches overlap by two pixels: add them in four parts that do not.
            for y, x in ((0, 0), (0, _SIDE), (_SIDE, 0), (_SIDE, _SIDE)):
                part = patches[y : y + _SIDE, x : x + _SIDE]
                place = _view_tiles(padded[:, y:, x:], first, rows, across)
                place[: part.shape[0], : part.shape[1]] += part
        return padded[:, 1 : height + 1, 1 : width + 1].permute(0, 3, 1, 2), None, None
