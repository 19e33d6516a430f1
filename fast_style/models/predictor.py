"""The predictor: from a painting to the norm parameters of one shared style network.

Ghiasi et al. 2017 (arXiv 1705.06830): styles of one network differ in the scales and shifts of
its instance norms, and a second network predicts them from the painting. This one predicts from
statistics of the bundled VGG's features:

1. For each style layer with features F of shape (C, H*W): the square roots of the channels' means,
   the square roots of their root mean squares, and the signed square roots of the upper triangle of
   P^T S P, where S = F F^T / (H*W) and P, (C, R), holds the directions in which paintings differ
   most. All are standardised; together they are the descriptor d.
2. h = silu(A d + a); h = h + silu(B h + b); parameters = start + C h + c.

The parameters are the scales of all instance norms in the order of the forward pass, then their
shifts, then the last convolution's bias in units of `BIAS_UNIT`. The file needs no torch to read.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from fast_style.errors import FastStyleError, WeightsError
from fast_style.models.config import NetworkConfig, norm_layers, parameter_shapes
from fast_style.models.vgg_weights import STAGES
from fast_style.options import GRAIN_LIMIT

PREDICTOR_FILE = "predictor.safetensors"
"""The predictor that ships, in `fast_style/weights`."""

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
"""VGG layers whose statistics describe a painting, shallow to deep."""

STYLE_CHANNELS = tuple(filters for _, filters in STAGES)
"""Channels of `STYLE_LAYERS`."""

BIAS_UNIT = 100.0
"""The last bias, in levels of 0-255, is predicted in this unit: about as large as the norms'."""

PREDICTOR_VARIABLE = "FAST_STYLE_PREDICTOR"
"""Environment variable: a predictor's file to use in place of the one that ships."""

METADATA_KEY = "fast_style"
FORMAT_VERSION = 1

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class StylePredictor:
    """A predictor in memory.

    Attributes:
        network: the configuration of the shared network.
        shared: all weights of the shared network by parameter name. Its norm parameters and its
            last bias are those of an average painting; a prediction replaces them.
        constants: weights of the descriptor and of the perceptron, by name.
        style_size: long side of the painting that the predictor was trained on, in pixels.
        grain: noise on the network's input, see `images.grain.add_grain`.
        training: how it was trained, for the cards of predicted styles.
        digest: SHA-256 of the file.
    """

    network: NetworkConfig
    shared: Weights
    constants: Weights
    style_size: int
    grain: int
    training: Mapping[str, Any]
    digest: str

    def predict(self, statistics: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the parameters for one painting.

        Args:
            statistics: shape (D,), the raw statistics of step 1, as
                `engines.onnx.predictor_graph` computes them.

        Returns:
            Shape (N,), N = `parameter_count(network)`.
        """
        constants = self.constants
        centered = statistics - constants["descriptor.center"]
        hidden = _silu(self._linear("first", centered / constants["descriptor.deviation"]))
        hidden = hidden + _silu(self._linear("second", hidden))
        return constants["predictor.start"] + self._linear("last", hidden)

    def _linear(self, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        weight, bias = (self.constants[f"predictor.{name}.{part}"] for part in ("weight", "bias"))
        # Not @: BLAS threads spin on for a while, and the style network needs the cores.
        linear: NDArray[np.float32] = np.einsum("ij,j->i", weight, values) + bias
        return linear

    def fold(self, parameters: NDArray[np.float32]) -> Weights:
        """Return the weights of a plain style network for one painting.

        Args:
            parameters: shape (N,), N = `parameter_count(network)`.
        """
        norms = norm_layers(self.network)
        total = sum(norms.values())
        weights = dict(self.shared)
        for part, first in (("weight", 0), ("bias", total)):
            for name, channels in norms.items():
                weights[f"{name}.{part}"] = parameters[first : first + channels].astype(np.float32)
                first += channels
        weights["output.bias"] = (parameters[2 * total :] * BIAS_UNIT).astype(np.float32)
        return weights


def _silu(values: NDArray[np.float32]) -> NDArray[np.float32]:
    smooth: NDArray[np.float32] = values / (1 + np.exp(-np.maximum(values, -80)))
    return smooth


def parameter_count(network: NetworkConfig) -> int:
    """Return how many numbers a predictor predicts for a network."""
    return 2 * sum(norm_layers(network).values()) + 3


def load_predictor(path: str | os.PathLike[str] | None = None) -> StylePredictor:
    """Load a predictor; a file that has not changed is read once for the process.

    Args:
        path: a file that `fast-style train --predictor` wrote; None is the file that the
            environment variable `FAST_STYLE_PREDICTOR` names, or else the one that ships.

    Raises:
        WeightsError: the file is missing, damaged, or no predictor of this format version.
    """
    chosen = path or os.environ.get(PREDICTOR_VARIABLE)
    if chosen is None or chosen == "":
        return _load_shipped()
    file = Path(chosen).expanduser()
    try:
        status = file.stat()
    except OSError as error:
        raise WeightsError(f"there is no predictor at {file}: {error.strerror}") from error
    return _load_file(file.absolute(), status.st_mtime_ns, status.st_size)


def is_predictor(path: Path) -> bool:
    """Return whether a file is a predictor, by its card."""
    try:
        with safe_open(path, framework="numpy") as file:
            card = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
    except (OSError, SafetensorError, ValueError):
        return False
    return isinstance(card, dict) and "predictor_version" in card


@cache
def _load_shipped() -> StylePredictor:
    with as_file(files("fast_style") / "weights" / PREDICTOR_FILE) as path:
        return _read_predictor(path, "reinstall fast-style")


@lru_cache(maxsize=4)
def _load_file(path: Path, changed: int, size: int) -> StylePredictor:
    remedy = "give a file that `fast-style train --predictor` wrote"
    return _read_predictor(path, remedy)


def _read_predictor(path: Path, remedy: str) -> StylePredictor:
    """Read a predictor and check its version, its shapes and its values."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(path, framework="numpy") as file:
            card = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
            names = list(file.keys())
            arrays = {name: file.get_tensor(name).astype(np.float32) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"the predictor at {path} cannot be read ({error}): {remedy}") from error
    version = card.get("predictor_version") if isinstance(card, dict) else None
    if version != FORMAT_VERSION:
        raise WeightsError(
            f"{path} has predictor version {version}; expected {FORMAT_VERSION}: {remedy}"
        )
    try:
        network = NetworkConfig(**card["network"])
        style_size, grain, training = card["style_size"], card["grain"], card["training"]
        shared = {name: arrays.pop(f"network.{name}") for name in parameter_shapes(network)}
        fits = (
            all(shared[name].shape == shape for name, shape in parameter_shapes(network).items())
            and all(np.isfinite(array).all() for array in [*shared.values(), *arrays.values()])
            and type(style_size) is int
            and 16 <= style_size <= 4096
            and type(grain) is int
            and 0 <= grain <= GRAIN_LIMIT
            and isinstance(training, dict)
            and _constants_fit(arrays, parameter_count(network))
        )
    except (KeyError, TypeError, ValueError, FastStyleError) as error:
        raise WeightsError(f"the predictor at {path} is damaged ({error}): {remedy}") from error
    if not fits:
        raise WeightsError(
            f"the predictor at {path} is damaged (values that are not finite, or of the wrong "
            f"shape): {remedy}"
        )
    return StylePredictor(network, shared, arrays, style_size, grain, training, digest)


def _constants_fit(constants: Weights, count: int) -> bool:
    """Return whether the constants have the shapes of the formulas, for `count` parameters."""
    descriptor, hidden = constants["descriptor.center"].size, constants["predictor.first.bias"].size
    expected: dict[str, tuple[int, ...]] = {
        "descriptor.center": (descriptor,),
        "descriptor.deviation": (descriptor,),
        "predictor.first.weight": (hidden, descriptor),
        "predictor.first.bias": (hidden,),
        "predictor.second.weight": (hidden, hidden),
        "predictor.second.bias": (hidden,),
        "predictor.last.weight": (count, hidden),
        "predictor.last.bias": (count,),
        "predictor.start": (count,),
    }
    size = 0
    for layer, channels in zip(STYLE_LAYERS, STYLE_CHANNELS, strict=True):
        rank = constants[f"descriptor.projection_{layer}"].shape[-1]
        expected[f"descriptor.projection_{layer}"] = (channels, rank)
        size += 2 * channels + rank * (rank + 1) // 2
    found = {name: array.shape for name, array in constants.items()}
    return size == descriptor and found == expected
