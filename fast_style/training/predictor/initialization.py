"""The weights that a predictor's training starts from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fast_style.errors import UsageError
from fast_style.models.config import size_name
from fast_style.models.network import StyleNetwork
from fast_style.models.predictor import StylePredictor, is_predictor, load_predictor
from fast_style.training.config import TrainingConfig
from fast_style.training.initialization import find_start
from fast_style.training.predictor.network import PredictedNetwork


def choose_predictor_init(config: TrainingConfig) -> TrainingConfig:
    """Return the options with `base` for `prediction` if the predictor has another network."""
    if config.init != "prediction" or load_predictor().network == config.network:
        return config
    return replace(config, init="base")


def start_predictor(config: TrainingConfig) -> tuple[PredictedNetwork, dict[str, Any] | None, bool]:
    """Build the network with its initial weights, by `config.init`.

    Returns:
        The network; name and training of the model that the weights come from, or None; and whether
        its descriptor must be fitted. A resumed run gets its weights from its checkpoint.

    Raises:
        FastStyleError: a model cannot be found or read, or does not fit the network.
    """
    torch.manual_seed(config.seed)
    network = StyleNetwork(config.network)
    if config.resume:
        return PredictedNetwork(network), None, False
    found = _find_predictor(config)
    if found is not None:
        model = PredictedNetwork(network)
        model.load(found.shared, found.constants)
        return model, {"name": "predictor", **found.training}, False
    start = find_start(config, {})
    if start is not None:
        start.apply(network, None)
    return PredictedNetwork(network), None if start is None else start.origin, True


def _find_predictor(config: TrainingConfig) -> StylePredictor | None:
    """Return the predictor to start from, or None if the run starts from a style network."""
    if config.init == "prediction":
        return load_predictor()
    path = Path(config.init)
    if not is_predictor(path):
        return None
    found = load_predictor(path)
    if found.network != config.network:
        raise UsageError(
            f"the network of --init {config.init} is {size_name(found.network)}, and "
            f"{size_name(config.network)} is to be trained: choose --size and --upsampling to match"
        )
    return found
