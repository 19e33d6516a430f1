"""Random views of paintings: crops, sizes, mirrorings, rotations, colours.

They make some hundred paintings stand for many more. A numpy generator decides everything; torch
computes it on the painting's device. Views have few different shapes, which suits GPUs.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_PLAIN_SHARE = 0.35
"""Share of the views that show the whole painting with its own colours."""

_STRETCH = 1.12
"""Largest factor by which a side is stretched to one of the allowed lengths."""


def random_view(painting: Tensor, style_size: int, rng: np.random.Generator) -> Tensor:
    """Take a random view of a painting.

    Args:
        painting: RGB uint8, shape (3, H, W).
        style_size: long side of a whole painting at its usual size, in pixels.
        rng: decides everything.

    Returns:
        RGB, shape (1, 3, h, w), range [0, 1]; h and w are 1/2, 3/4 or all of `style_size`, rounded.
    """
    height, width = painting.shape[1:]
    plain = rng.random() < _PLAIN_SHARE
    # 1) Choose the size of the strokes: pixels of the view for each pixel of the painting.
    low, high = (0.93, 1.08) if plain else (0.7, 1.45)
    zoom = math.exp(rng.uniform(math.log(low), math.log(high)))
    density = style_size / max(height, width) * zoom
    # 2) Choose the part of the painting, and resize it.
    share = 1.0 if plain else math.sqrt(rng.uniform(0.35, 1.0))
    sides = [_fit_side(share * density * side, style_size) for side in (height, width)]
    cut = [
        max(1, min(side, round(length / density)))
        for side, length in zip((height, width), sides, strict=True)
    ]
    top, left = (
        int(rng.integers(side - length + 1))
        for side, length in zip((height, width), cut, strict=True)
    )
    window = painting[None, :, top : top + cut[0], left : left + cut[1]].float() / 255
    view = functional.interpolate(window, tuple(sides), mode="bicubic", antialias=True).clamp(0, 1)
    # 3) Mirror it, rotate it, change its colours.
    if rng.random() < 0.5:
        view = view.flip(3)
    if not plain and rng.random() < 0.15:
        view = torch.rot90(view, int(rng.integers(1, 4)), (2, 3))
    if not plain and rng.random() < 0.65:
        view = _random_colors(view, rng)
    return view.contiguous(memory_format=torch.channels_last)


def _fit_side(length: float, style_size: int) -> int:
    """Return the largest allowed side that is at most a little longer than `length`."""
    allowed = [8 * max(2, round(style_size * part / 8)) for part in (0.5, 0.75, 1.0)]
    fitting = [side for side in allowed if side <= _STRETCH * length]
    return fitting[-1] if fitting else allowed[0]


def _random_colors(view: Tensor, rng: np.random.Generator) -> Tensor:
    """Change the colours of a view, (1, 3, H, W) in [0, 1]: hue, channels, contrast, saturation."""
    if rng.random() < 0.2:
        view = view[:, rng.permutation(3).tolist()]
    if rng.random() < 0.4:
        rotation = _hue_rotation(rng.uniform(0, 2 * math.pi)).to(view.device)
        view = torch.einsum("ij,bjhw->bihw", rotation, view)
    if rng.random() < 0.12:
        view = 1 - view
    saturation = 0.0 if rng.random() < 0.08 else math.exp(rng.normal(0, 0.35))
    grey = view.mean(1, keepdim=True)
    view = grey + (view - grey) * saturation
    mean = view.mean()
    view = mean + (view - mean) * math.exp(rng.normal(0, 0.25)) + rng.normal(0, 0.05)
    view = view.clamp(0, 1)
    if rng.random() < 0.4:
        view = view ** math.exp(rng.normal(0, 0.3))
    return view


def _hue_rotation(angle: float) -> Tensor:
    """Return the (3, 3) rotation of RGB about the grey axis by an angle in radians."""
    cosine, sine = math.cos(angle), math.sin(angle) / math.sqrt(3)
    k = (1 - cosine) / 3
    a, b, c = cosine + k, k - sine, k + sine
    return torch.tensor([[a, b, c], [c, a, b], [b, c, a]], dtype=torch.float32)
