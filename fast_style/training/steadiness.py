"""Training for steadiness: a crop that has moved a little must be painted the same, moved.

Frame by frame a network paints other strokes after the smallest shift: its strides make it
sensitive to where a pixel lies, and it amplifies noise. So the crop goes through it twice, the
second time under a motion that is known exactly, and the two outputs are compared after the first
is moved likewise. No video and no second pass of the loss network is needed. The grain moves with
the crop.

The idea of comparing outputs of neighbouring frames is that of Huang et al. 2017 (Real-Time Neural
Style Transfer for Videos); there with videos and estimated flow.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["steadiness_loss"]

_SHIFTS, _AFFINE = 0.5, 0.4
"""Shares of motions by whole pixels, and by a turn, a zoom and parts of a pixel. The rest has noise
alone."""

_MOST_PIXELS = 4.0
_MOST_DEGREES, _MOST_ZOOM = 2.0, 0.03
_NOISE_LEVELS = 3.0  # standard deviation

_MARGIN = 16
"""Pixels at the border that are not compared after other motions than shifts: crops are padded by
wrapping around, and a turned crop wraps to other pixels."""


def steadiness_loss(
    network: Callable[[Tensor], Tensor],
    pictures: Tensor,
    stylized: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Compute the mean squared difference, on 0-255, between outputs before and after a motion.

    Args:
        network: stylizes a batch.
        pictures: the network's input, shape (B, 3, S, S), range [0, 1].
        stylized: its output for it, of the same shape.
        generator: chooses the motion; on the CPU.

    Returns:
        A scalar.
    """
    kind = float(torch.rand((), generator=generator))
    if kind < _SHIFTS:
        down, across = _draw_shift(generator)
        moved = network(pictures.roll((down, across), (2, 3)))
        return _difference(moved, stylized.roll((down, across), (2, 3)))
    if kind < _SHIFTS + _AFFINE:
        matrix = _draw_matrix(pictures.shape[-1], generator).to(pictures.device)
        margin = min(_MARGIN, pictures.shape[-1] // 4)
        inner = slice(margin, -margin)
        moved = network(_warp(pictures, matrix).clamp(0, 1))[:, :, inner, inner]
        return _difference(moved, _warp(stylized, matrix)[:, :, inner, inner])
    noise = torch.randn(pictures.shape, generator=generator).to(pictures.device)
    noisy = (pictures + noise * (_NOISE_LEVELS / 255)).clamp(0, 1)
    return _difference(network(noisy), stylized)


def _draw_shift(generator: torch.Generator) -> tuple[int, int]:
    """Choose a shift by whole pixels, down and across, that is not 0."""
    most = int(_MOST_PIXELS)
    number = int(torch.randint((2 * most + 1) ** 2 - 1, (), generator=generator))
    number += number >= ((2 * most + 1) ** 2) // 2  # which would be none
    return number // (2 * most + 1) - most, number % (2 * most + 1) - most


def _draw_matrix(side: int, generator: torch.Generator) -> Tensor:
    """Choose an affine motion about the middle, as `affine_grid` takes it: shape (2, 3)."""
    turn, zoom, across, down = (2 * torch.rand(4, generator=generator) - 1).tolist()
    angle, scale = math.radians(_MOST_DEGREES) * turn, 1 + _MOST_ZOOM * zoom
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    pixel = 2 * _MOST_PIXELS / side
    return torch.tensor([[cosine, -sine, pixel * across], [sine, cosine, pixel * down]])


def _warp(pictures: Tensor, matrix: Tensor) -> Tensor:
    """Move pictures by an affine motion, with bicubic interpolation."""
    pictures = pictures.float()
    grid = functional.affine_grid(
        matrix.expand(len(pictures), 2, 3), list(pictures.shape), align_corners=False
    )
    return functional.grid_sample(
        pictures, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )


def _difference(one: Tensor, other: Tensor) -> Tensor:
    with torch.autocast(one.device.type, enabled=False):
        return (255 * (one.float() - other.float())).square().mean()
