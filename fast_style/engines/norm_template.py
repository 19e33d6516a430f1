"""One compiled network for all styles that differ in their norms and last bias alone.

Styles of one predictor share all other weights. A network is compiled once with markers in their
place; in a copy of its compiled form, which is bytes, the markers are replaced by a style's values.
Reading that is three times faster than compiling the style's own graph.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fast_style.models.config import NetworkConfig, norm_layers
from fast_style.models.model_file import StyleModel

Weights = Mapping[str, NDArray[np.float32]]

_OUTPUT_BIAS = "output.bias"
_CELLS = 4  # the graph has the last bias four times in a row, see `kernels.output_kernel`


def shares_template(model: StyleModel) -> bool:
    """Return whether there are other styles with the same weights but for norms and last bias."""
    return model.card.training.get("predicted") is True


def mark(network: NetworkConfig, weights: Weights) -> dict[str, NDArray[np.float32]]:
    """Return weights with markers for those that differ: seeded noise, the same for all styles."""
    rng = np.random.default_rng(0)
    marked = dict(weights)
    for name in _names(network):
        marked[name] = rng.uniform(0.5, 1.5, weights[name].shape).astype(np.float32)
    return marked


def fill(
    compiled: bytes, network: NetworkConfig, marked: Weights, weights: Weights
) -> bytes | None:
    """Replace the markers in a compiled network by a style's values.

    Args:
        compiled: compiled of the marked weights.
        network: of both.
        marked: from `mark`.
        weights: the style's.

    Returns:
        The compiled network of the style; None if the markers are not found as they are, each once.
    """
    filled = bytearray(compiled)
    for name in _names(network):
        before, after = (_encode(name, each[name]) for each in (marked, weights))
        place = compiled.find(before)
        if place < 0 or compiled.find(before, place + 1) >= 0:
            return None
        filled[place : place + len(after)] = after
    return bytes(filled)


def _names(network: NetworkConfig) -> list[str]:
    names = [f"{norm}.{part}" for norm in norm_layers(network) for part in ("weight", "bias")]
    return [*names, _OUTPUT_BIAS]


def _encode(name: str, values: NDArray[np.float32]) -> bytes:
    return values.astype("<f4").tobytes() * (_CELLS if name == _OUTPUT_BIAS else 1)
