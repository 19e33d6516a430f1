"""The weights that a training run starts from: random ones, a model's, or a checkpoint's.

A new kind of start is a function that returns a `Start`, called by `find_start`.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fast_style.errors import ResumeError, UsageError
from fast_style.models.config import NetworkConfig, size_name
from fast_style.models.model_file import StyleModel, load_model
from fast_style.models.network import StyleNetwork
from fast_style.models.predictor import load_predictor
from fast_style.models.widening import can_widen, widen
from fast_style.options import MAX_STYLE_SIZE
from fast_style.styles.prediction import predict_style
from fast_style.styles.registry import load_style
from fast_style.training.conditional_norm import PaintingNorms
from fast_style.training.config import SEMANTIC_FIELDS, TrainingConfig

_BASES = files("fast_style") / "weights"

Weights = Mapping[str, NDArray[np.float32]]
"""A network's weights by parameter name."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """The initial weights of a run.

    Attributes:
        weights: one network's, for all paintings; or one network's for each painting, which differ
            in the scales and shifts of the norms alone.
        origin: name and training of the model that they come from, for the new model's card.
    """

    weights: Sequence[Weights]
    origin: dict[str, Any]

    def apply(self, network: StyleNetwork, painting_norms: PaintingNorms | None) -> None:
        """Copy the weights into a network.

        Args:
            network: the network to train.
            painting_norms: the scales and shifts of each painting, if there are several.
        """
        first = self.weights[0]
        network.load_state_dict({name: torch.from_numpy(value) for name, value in first.items()})
        if painting_norms is not None:
            count = len(painting_norms.names)
            each = self.weights if len(self.weights) > 1 else [first] * count
            painting_norms.load(network, each)


def choose_init(config: TrainingConfig) -> TrainingConfig:
    """Return the options with `base` for `prediction` if the predicted network does not fit."""
    if config.init != "prediction" or can_widen(load_predictor().network, config.network):
        return config
    return replace(config, init="base")


def find_start(config: TrainingConfig, paintings: Mapping[str, NDArray[np.uint8]]) -> Start | None:
    """Find the weights to start from, by `config.init`.

    Args:
        config: the options of the run.
        paintings: RGB pixels, (H, W, 3), by the paintings' names.

    Returns:
        The start; None for random weights, also where no base fits the network.

    Raises:
        FastStyleError: a model cannot be found or read, or does not fit the network.
    """
    if config.init == "scratch":
        return None
    if config.init == "prediction":
        predicted = [
            predict_style(pixels, name=name, style_size=min(config.style_size, MAX_STYLE_SIZE))
            for name, pixels in paintings.items()
        ]
        return _start_from(predicted, config)
    if config.init == "base":
        base = find_base(config.network)
        return None if base is None else _start_from([base], config)
    if Path(config.init).is_dir():
        return _start_from(_read_run_styles(Path(config.init), list(paintings)), config)
    return _start_from([load_style(config.init)], config)


def find_base(network: NetworkConfig) -> StyleModel | None:
    """Return the widest base model that has this network or can be widened to it, or None."""
    with as_file(_BASES) as folder:
        bases = [load_model(path) for path in sorted(folder.glob("base-*.safetensors"))]
    fitting = [base for base in bases if can_widen(base.card.network, network)]
    return max(fitting, key=lambda base: base.card.network.width, default=None)


def check_same_run(config: TrainingConfig) -> None:
    """Check that a run's checkpoint was made with the same options.

    Raises:
        ResumeError: it cannot be read, or one of `SEMANTIC_FIELDS` differs.
    """
    try:
        saved = torch.load(config.checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
        options = saved["fast_style"]["config"]
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, EOFError) as error:
        raise ResumeError(
            f"{config.checkpoint_path} is damaged or no checkpoint of a training run: start again "
            "with --overwrite"
        ) from error
    options = {"steady": 0.0, **options}  # runs of older releases
    wanted = config.to_dict()
    for name in SEMANTIC_FIELDS:
        if options.get(name) != wanted[name]:
            raise ResumeError(
                f"the run {config.name!r} was started with --{name.replace('_', '-')} "
                f"{options.get(name)}, not {wanted[name]}: resume it with the same, or train under "
                "another --name"
            )


def _start_from(models: Sequence[StyleModel], config: TrainingConfig) -> Start:
    """Return a start from one model, or from one for each painting."""
    first = models[0].card
    return Start(
        [_fit_weights(model, config) for model in models], {"name": first.name, **first.training}
    )


def _fit_weights(model: StyleModel, config: TrainingConfig) -> Weights:
    """Return a model's weights, widened if its network is narrower than the one to train."""
    network = model.card.network
    if network == config.network:
        return model.weights
    if not can_widen(network, config.network):
        raise UsageError(
            f"the network of --init {config.init} is {size_name(network)}, and "
            f"{size_name(config.network)} is to be trained: choose --size and --upsampling to "
            "match, or a narrower start"
        )
    return widen(model.weights, network, config.network, config.seed)


def _read_run_styles(folder: Path, paintings: Sequence[str]) -> list[StyleModel]:
    """Read each painting's model from the folder of an earlier run with several paintings."""
    models = [load_model(folder / f"{name}.safetensors") for name in paintings]
    for model in models:
        for name, values in model.weights.items():
            if ".norm." not in name and not np.array_equal(values, models[0].weights[name]):
                raise UsageError(
                    f"--init {folder}: its models are of several runs, for {name} differs; give "
                    "the folder RUNS/NAME/styles of one run with several paintings"
                )
    return models
