"""Read the style of a training run that is not finished, from its `last.ckpt`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import ForeignCheckpointError, ModelFileError
from fast_style.models.card import ModelCard
from fast_style.models.config import SIZES, NetworkConfig, parameter_shapes
from fast_style.models.model_file import StyleModel, model_from_bytes, model_to_bytes
from fast_style.styles.importing.pickles import check_pickles
from fast_style.styles.importing.reading import load_tensors

__all__ = ["load_training_checkpoint"]

_NETWORK = "network."
_SCALES, _SHIFTS = "painting_norms.scales.", "painting_norms.shifts."


def load_training_checkpoint(path: Path) -> StyleModel:
    """Read the network of a training run as it was when the checkpoint was written.

    Of a run with several paintings, the style has the mean of their scales and shifts, as the
    run's own model will.

    Args:
        path: `RUNS/NAME/checkpoints/last.ckpt`.

    Raises:
        ModelFileError: it is no checkpoint of `fast-style train`, or a predictor's.
        MissingExtraError: torch is not installed.
    """
    try:
        check_pickles(path)
        loaded = load_tensors(path)
    except ForeignCheckpointError as error:
        raise ModelFileError(str(error)) from error
    try:
        options, state = dict(loaded["fast_style"]["config"]), loaded["state_dict"]
        is_predictor = bool(options["predictor"])
    except (KeyError, TypeError, ValueError):
        raise ModelFileError(
            f"{path} is no checkpoint of fast-style train: import another project's with "
            f"fast-style import {path} --name NAME"
        ) from None
    if is_predictor:
        raise ModelFileError(
            f"{path} is the checkpoint of a predictor's run, and no style: finish it with --resume"
        )
    try:
        card = _make_card(options, loaded.get("global_step"))
        weights = _network_weights(state, card.network)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{path} is damaged: its network is not complete") from error
    # Written and read, since that checks shapes and values.
    return model_from_bytes(model_to_bytes(card, weights, float32=True), str(path))


def _make_card(options: Mapping[str, Any], step: object) -> ModelCard:
    named = SIZES[options["size"]]
    network = NetworkConfig(named.width, named.residual_blocks, options["upsampling"])
    painting = Path(str(options["style_image"])).name
    return ModelCard(
        str(options["name"]),
        network,
        title=options["title"],
        artist=options["artist"],
        year=options["year"],
        licence=options["licence"],
        grain=options["grain"],
        training={"unfinished": True, "steps_taken": step, "style_image": painting},
    )


def _network_weights(
    state: Mapping[str, Any], network: NetworkConfig
) -> dict[str, NDArray[np.float32]]:
    def array(key: str) -> NDArray[np.float32]:
        return np.array(state[key].detach().float().numpy())

    weights = {name: array(f"{_NETWORK}{name}") for name in parameter_shapes(network)}
    norms = [name.removesuffix(".weight") for name in weights if name.endswith(".norm.weight")]
    for number, norm in enumerate(norms):
        if f"{_SCALES}{number}" in state:
            weights[f"{norm}.weight"] = array(f"{_SCALES}{number}").mean(0)
            weights[f"{norm}.bias"] = array(f"{_SHIFTS}{number}").mean(0)
    return weights
