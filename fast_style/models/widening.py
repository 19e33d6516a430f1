"""A wider network that computes the same as a narrower one, to start training it from.

Net2WiderNet, Chen, Goodfellow and Shlens 2016 (arXiv 1511.05641), section 2.3.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import UsageError
from fast_style.models.config import NetworkConfig, UpsampleLayer, parameter_shapes

_LEAST_SHARE = 0.2
"""Smallest share of a copy before normalization. Equal shares would give all copies equal
gradients, and they would stay equal."""


def can_widen(narrow: NetworkConfig, wide: NetworkConfig) -> bool:
    """Return whether `widen` can make `wide`: only the width differs, by a whole factor."""
    return wide == replace(narrow, width=wide.width) and wide.width % narrow.width == 0


def widen(
    weights: Mapping[str, NDArray[np.float32]],
    narrow: NetworkConfig,
    wide: NetworkConfig,
    seed: int = 0,
) -> dict[str, NDArray[np.float32]]:
    """Copy every channel, and divide the weights that read it among the copies.

    The wide network computes the narrow one's picture, up to rounding. The shares of the copies are
    random, so that training turns them into different channels.

    Args:
        weights: of the narrow network, by the names of `parameter_shapes`.
        narrow: the narrow network.
        wide: the wide network.
        seed: of the shares.

    Returns:
        The wide network's weights, float32.

    Raises:
        UsageError: the networks differ in more than the width, or not by a whole factor.
    """
    if not can_widen(narrow, wide):
        raise UsageError(
            f"a network of {narrow} cannot be widened to {wide}: they may differ in the width "
            "alone, by a whole factor"
        )
    random = np.random.default_rng(seed)
    copies = wide.width // narrow.width
    widened = {}
    transposed = {
        f"{layer.name}.weight"
        for layer in wide.layers()
        if isinstance(layer, UpsampleLayer) and layer.method == "transposed"
    }
    for name, shape in parameter_shapes(wide).items():
        values = weights[name].astype(np.float32)
        # A transposed convolution's weights are (in, out, ...), all others (out, in, ...).
        takes, gives = (0, 1) if name in transposed else (1, 0)
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
    """Draw random shares for the copies along an axis; those of one channel sum to 1."""
    channels = shape[axis] // copies
    drawn = random.uniform(_LEAST_SHARE, 1.0, (shape[1 - axis], channels, copies))
    drawn /= drawn.sum(axis=-1, keepdims=True)
    flat = drawn.reshape(shape[1 - axis], shape[axis]).astype(np.float32)
    return (flat if axis == 1 else flat.T)[:, :, None, None]
