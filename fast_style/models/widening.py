"""A wider network that computes what a narrower one does: a start for more filters.

Net2WiderNet, Chen, Goodfellow and Shlens 2016 (arXiv 1511.05641), section 2.3.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import UsageError
from fast_style.models.config import NetworkConfig, parameter_shapes

_LEAST_SHARE = 0.2
"""Of what a channel's copies hand on together; even shares would keep the copies equal for ever,
for then they would be given equal gradients."""


def can_widen(narrow: NetworkConfig, wide: NetworkConfig) -> bool:
    """Tell whether `widen` can make the one of the other: alike but for whole times the width."""
    return wide == replace(narrow, width=wide.width) and wide.width % narrow.width == 0


def widen(
    weights: Mapping[str, NDArray[np.float32]],
    narrow: NetworkConfig,
    wide: NetworkConfig,
    seed: int = 0,
) -> dict[str, NDArray[np.float32]]:
    """Copy every channel, and share out among the copies what it hands on.

    The wide network gives the narrow one's picture, up to rounding. How much each copy hands on is
    drawn at random, so that training makes different channels of them.

    Args:
        weights: the narrow network's, by the names of `parameter_shapes`.
        narrow: the network that they are of.
        wide: the network to make.
        seed: of the shares.

    Returns:
        The wide network's weights, float32.

    Raises:
        UsageError: the networks differ in more than the width, or the width in no whole factor.
    """
    if not can_widen(narrow, wide):
        raise UsageError(
            f"a network of {narrow} cannot be widened to {wide}: they may differ in the width "
            "alone, by a whole factor"
        )
    random = np.random.default_rng(seed)
    copies = wide.width // narrow.width
    widened = {}
    for name, shape in parameter_shapes(wide).items():
        values = weights[name].astype(np.float32)
        # A transposed convolution's weights are (in, out, ...), all others (out, in, ...).
        swapped = narrow.upsampling == "transposed" and name.startswith("decoder.")
        takes, gives = (0, 1) if swapped else (1, 0)
        if values.ndim == 1:
            gives = 0
        if values.shape[gives] != shape[gives]:
            values = values.repeat(copies, axis=gives)
        if values.shape != shape:
            values = values.repeat(copies, axis=takes)
            values *= _shares(random, shape, takes, copies)
        widened[name] = values
    return widened


def _shares(
    random: np.random.Generator, shape: tuple[int, ...], axis: int, copies: int
) -> NDArray[np.float32]:
    """Draw shares for the copies along an axis, which add up to 1 for each original channel."""
    channels = shape[axis] // copies
    drawn = random.uniform(_LEAST_SHARE, 1.0, (shape[1 - axis], channels, copies))
    drawn /= drawn.sum(axis=-1, keepdims=True)
    flat = drawn.reshape(shape[1 - axis], shape[axis]).astype(np.float32)
    return (flat if axis == 1 else flat.T)[:, :, None, None]
