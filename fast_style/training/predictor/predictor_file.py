"""The file of a predictor, in the format that `models.predictor.load_predictor` reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from fast_style.errors import TrainingError
from fast_style.models.predictor import FORMAT_VERSION, METADATA_KEY
from fast_style.storage.atomic_write import replace_file
from fast_style.training.config import TrainingConfig
from fast_style.training.predictor.network import PredictedNetwork

_FLOAT32 = ("descriptor.center", "descriptor.deviation", "predictor.start")


def save_predictor(
    path: Path,
    model: PredictedNetwork,
    config: TrainingConfig,
    training: Mapping[str, Any],
    curve: Mapping[str, Any],
) -> None:
    """Write a predictor, completely or not at all; weights are float16, constants float32.

    Args:
        path: the file.
        model: the network and its predictor.
        config: the options of the run.
        training: how it was trained; becomes a part of the cards of predicted styles.
        curve: the losses over the steps.

    Raises:
        TrainingError: a weight is not finite in float16, or the file cannot be written.
    """
    tensors = {}
    for name, value in model.state_dict().items():
        array = value.detach().float().cpu().numpy()
        kind = np.float32 if name in _FLOAT32 else np.float16
        with np.errstate(over="ignore"):
            tensors[name] = np.ascontiguousarray(array, dtype=kind)
        if not np.isfinite(tensors[name]).all():
            raise TrainingError(
                f"{name} of the predictor is too large for a float16: train again with a lower "
                "--learning-rate"
            )
    card = {
        "predictor_version": FORMAT_VERSION,
        "network": model.network.config.to_dict(),
        "style_size": config.style_size,
        "grain": config.grain,
        "training": training,
        "curve": curve,
    }
    try:
        replace_file(path, save(tensors, {METADATA_KEY: json.dumps(card)}))
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror or error}") from error
