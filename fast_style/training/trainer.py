"""A training run from its options to the finished model file."""

import logging
import pickle
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]

from fast_style.engines.torch_device import accelerator_device, use_bf16
from fast_style.errors import ResumeError, TrainingError, UsageError
from fast_style.models.config import NetworkConfig, size_name
from fast_style.models.model_file import StyleModel, load_model
from fast_style.models.network import StyleNetwork
from fast_style.models.widening import can_widen, widen
from fast_style.training.callbacks import Checkpoints, Interrupts, NonFiniteGuard, TimeBudget
from fast_style.training.config import GPU_BATCH, SEMANTIC_FIELDS, TrainingConfig
from fast_style.training.curve import LossCurve
from fast_style.training.data import PhotoDataModule
from fast_style.training.inputs import TrainingInputs, read_inputs
from fast_style.training.lightning_module import StyleTransferModule
from fast_style.training.model_card import save_models, training_card
from fast_style.training.paintings import balancing_crops, style_tensor
from fast_style.training.progress import (
    Previews,
    TrainingProgress,
    UnreadablePhotos,
    stderr_console,
)

_WEIGHTS = files("fast_style") / "weights"


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """How a run ended.

    Attributes:
        model_path: the finished model, or None where a signal ended the run.
        checkpoint_path: the checkpoint that `resume` goes on from.
        steps: steps taken, over all sessions of the run.
        seconds: time trained, over all sessions.
        losses: the last step's losses by name: total, content, style, tv.
        signal: number of the signal that ended the run, or None.
    """

    model_path: Path | None
    checkpoint_path: Path
    steps: int
    seconds: float
    losses: Mapping[str, float]
    signal: int | None


def train(
    config: TrainingConfig,
    *,
    quiet: bool = False,
    callbacks: Sequence[pl.Callback] = (),
    inputs: TrainingInputs | None = None,
) -> TrainingResult:
    """Train a style and write its model file.

    Args:
        config: the options of the run.
        quiet: show no progress and say nothing on stderr.
        callbacks: Lightning callbacks to run beside the trainer's own.
        inputs: what `read_inputs` gave for these options; None reads them here.

    Returns:
        How the run ended. A run that Ctrl-C or SIGTERM ended has saved its checkpoint.

    Raises:
        TrainingDataError: no painting, no photos, too few photos.
        NameTakenError: a model or run of this name is there, and neither resume nor overwrite set.
        ResumeError: nothing to resume, or options that differ from the run's.
        TrainingError: the losses would not stay finite, or the accelerator cannot be used.
    """
    console = stderr_console(quiet)

    def say(text: str) -> None:
        console.print(text, markup=False)

    inputs = inputs or read_inputs(config)
    device = accelerator_device(config.accelerator)
    if config.batch_size is None:
        batch = 1 if device == "cpu" else min(GPU_BATCH, len(inputs.photos))
        config = replace(config, batch_size=batch)
    if config.resume:
        _check_same_run(config)
    data, paintings = PhotoDataModule(config, inputs.photos), inputs.paintings
    torch.manual_seed(config.seed)
    network = StyleNetwork(config.network)
    starts = [] if config.init == "scratch" or config.resume else _starts(config, paintings, say)
    weights = [_fitting_weights(start, config) for start in starts]
    if weights:
        network.load_state_dict({k: torch.from_numpy(v) for k, v in weights[0].items()})
    _prepare_folders(config)

    module = StyleTransferModule(
        config,
        network,
        {name: style_tensor(pixels, config.style_size) for name, pixels in paintings.items()},
    )
    if starts:
        module.started_from = {"name": starts[0].card.name, **starts[0].card.training}
    if len(weights) > 1 and module.bank is not None:
        module.bank.load(weights)
    budget = TimeBudget(config.minute_limit)
    interrupts = Interrupts(say)
    bf16 = use_bf16(config.precision, device)
    curve = LossCurve()
    checkpoints = Checkpoints(config.checkpoint_path, config.checkpoint_every)
    with _quiet_lightning():
        trainer = _build_trainer(
            config,
            "bf16-mixed" if bf16 else "32-true",
            [
                budget,
                NonFiniteGuard(say, config.checkpoint_every),
                interrupts,
                UnreadablePhotos(say),
                Previews(inputs.preview, config.run_folder / "previews", config.preview_every),
                TrainingProgress(budget, console),
                curve,
                *callbacks,
                checkpoints,  # last, so that it saves what the others have become
            ],
        )
        place = trainer.strategy.root_device
        module.loss.to(place).balance_styles(balancing_crops(data.photos).to(place))
        resume_from = config.checkpoint_path if config.resume else None
        trainer.fit(module, data, ckpt_path=resume_from, weights_only=True)

    losses = {
        name.removeprefix("loss/"): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith("loss/")
    }
    model_path = None
    if interrupts.received is None:
        model_path = config.model_path
        training = training_card(config, data, trainer, budget.elapsed, losses, bf16)
        training["curve"] = curve.to_card()
        if module.started_from is None:
            training["init"] = "scratch"
        else:
            training["started_from"] = module.started_from
        if trainer.is_global_zero:
            save_models(module, paintings, training)
    return TrainingResult(
        model_path,
        config.checkpoint_path,
        trainer.global_step,
        budget.elapsed,
        losses,
        interrupts.received,
    )


def _check_same_run(config: TrainingConfig) -> None:
    """Refuse a checkpoint whose run was asked for something else."""
    try:
        saved = torch.load(config.checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
        options = saved["fast_style"]["config"]
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, EOFError) as error:
        raise ResumeError(
            f"{config.checkpoint_path} is damaged or no checkpoint of a training run: start again "
            "with --overwrite"
        ) from error
    asked = config.to_dict()
    for name in SEMANTIC_FIELDS:
        if options.get(name) != asked[name]:
            raise ResumeError(
                f"the run {config.name!r} was started with --{name.replace('_', '-')} "
                f"{options.get(name)}, not {asked[name]}: resume it with the same, or train under "
                "another --name"
            )


def _starts(
    config: TrainingConfig, paintings: Iterable[str], say: Callable[[str], None]
) -> list[StyleModel]:
    """Find the model to start from, or one for each painting; none where no base ships."""
    from fast_style.styles.registry import load_style

    if config.init == "base":
        base = _base_for(config.network)
        if base is None:
            say(
                f"no base ships for this network ({size_name(config.network)}): starting from "
                "scratch"
            )
        return [] if base is None else [base]
    folder = Path(config.init)
    if not folder.is_dir():
        return [load_style(config.init)]
    models = [load_model(folder / f"{name}.safetensors") for name in paintings]
    for model in models:
        for name, values in model.weights.items():
            if ".norm." not in name and not np.array_equal(values, models[0].weights[name]):
                raise UsageError(
                    f"--init {folder}: its models are of several runs, for {name} differs; give "
                    "the folder RUNS/NAME/styles of one run with several paintings"
                )
    return models


def _fitting_weights(start: StyleModel, config: TrainingConfig) -> dict[str, NDArray[np.float32]]:
    """Give a start's weights, widened if it is narrower."""
    narrow = start.card.network
    if narrow == config.network:
        return dict(start.weights)
    if not can_widen(narrow, config.network):
        raise UsageError(
            f"the network of --init {config.init} is {size_name(narrow)}, and "
            f"{size_name(config.network)} is to be trained: choose --size and --upsampling to "
            "match, or a narrower start"
        )
    return widen(start.weights, narrow, config.network, config.seed)


def _base_for(network: NetworkConfig) -> StyleModel | None:
    """Find the widest base that is this network, or that it can be made of."""
    with as_file(_WEIGHTS) as folder:
        bases = [load_model(path) for path in sorted(folder.glob("base-*.safetensors"))]
    fitting = [base for base in bases if can_widen(base.card.network, network)]
    return max(fitting, key=lambda base: base.card.network.width, default=None)


def _prepare_folders(config: TrainingConfig) -> None:
    """Make what will be needed, now and not after an hour of training."""
    if config.overwrite:
        shutil.rmtree(config.run_folder, ignore_errors=True)
    try:
        for folder in (config.run_folder, config.models):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{error.filename} cannot be made: {error.strerror}") from error


def _build_trainer(
    config: TrainingConfig,
    precision: Literal["bf16-mixed", "32-true"],
    callbacks: list[pl.Callback],
) -> pl.Trainer:
    devices: str | int = int(config.devices) if config.devices.isdigit() else config.devices
    try:
        return pl.Trainer(
            accelerator=config.accelerator,
            devices=devices,
            num_nodes=config.num_nodes,
            strategy=config.strategy,
            precision=precision,
            max_steps=-1 if config.step_limit is None else config.step_limit,
            max_epochs=-1,
            callbacks=callbacks,
            logger=TensorBoardLogger(config.runs, name=config.name, version="tensorboard"),
            log_every_n_steps=10,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            benchmark=True,
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise TrainingError(
            f"Lightning cannot train with accelerator {config.accelerator!r}, devices "
            f"{config.devices!r}, strategy {config.strategy!r}: {error}"
        ) from error


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's remarks about the set-up from the user, and its warnings."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Advice on workers and on resuming that StepSampler has made pointless, and its use of
            # what newer releases of torch call deprecated: nothing the user could act on.
            warnings.filterwarnings("ignore", module=r"pytorch_lightning(\..*)?")
            yield
    finally:
        logger.setLevel(level)
