"""A training run, from its options to the finished model file."""

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]

from fast_style.engines.torch_device import accelerator_device, use_bf16
from fast_style.errors import TrainingError
from fast_style.models.config import size_name
from fast_style.models.network import StyleNetwork
from fast_style.training.callbacks import (
    Checkpoints,
    Interrupts,
    LossCurve,
    NonFiniteGuard,
    Notify,
    TimeBudget,
)
from fast_style.training.config import GPU_BATCH, TrainingConfig
from fast_style.training.data import PhotoDataModule, balancing_crops, style_tensor
from fast_style.training.initialization import check_same_run, find_start
from fast_style.training.inputs import TrainingInputs, read_inputs
from fast_style.training.lightning_module import StyleTransferModule
from fast_style.training.model_card import save_models, training_card
from fast_style.training.progress import (
    SECONDS_BETWEEN_LINES,
    Previews,
    TrainingProgress,
    UnreadablePhotos,
)
from fast_style.training.progress_bar import ProgressDisplay


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The outcome of a training run.

    Attributes:
        model_path: the finished model, or None if a signal ended the run.
        checkpoint_path: the checkpoint that `resume` continues from.
        steps: number of steps, over all sessions of the run.
        seconds: training time, over all sessions.
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
        quiet: print nothing on stderr.
        callbacks: Lightning callbacks to run in addition to the trainer's own.
        inputs: the result of `read_inputs` for these options; None reads them here.

    Returns:
        The outcome. A run that Ctrl-C or SIGTERM ended has saved its checkpoint.

    Raises:
        TrainingDataError: no painting, no photos, too few photos.
        NameTakenError: a model or run of this name exists, and neither resume nor overwrite is set.
        ResumeError: there is nothing to resume, or the options differ from the run's.
        TrainingError: the losses do not stay finite, or the accelerator cannot be used.
    """
    display = ProgressDisplay(quiet=quiet, seconds_between_lines=SECONDS_BETWEEN_LINES)

    # 1) Read photos and paintings; check the options against them.
    inputs = inputs or read_inputs(config)
    config = _choose_batch_size(config, inputs)
    if config.resume:
        check_same_run(config)

    # 2) Build the network with its initial weights, and the perceptual loss.
    module = _build_module(config, inputs, display.print)
    data = PhotoDataModule(config, inputs.photos)

    # 3) Train, from the beginning or from a checkpoint.
    own = _OwnCallbacks(config, display)
    with _quiet_lightning():
        trainer = _build_trainer(config, own.in_order(config, inputs, callbacks))
        device = trainer.strategy.root_device
        module.loss.to(device).balance_styles(balancing_crops(data.photos).to(device))
        resume_from = config.checkpoint_path if config.resume else None
        trainer.fit(module, data, ckpt_path=resume_from, weights_only=True)

    # 4) Write the model, unless a signal ended the run.
    losses = _last_losses(trainer)
    finished = own.interrupts.received is None
    if finished and trainer.is_global_zero:
        card = training_card(module, data, trainer, own.budget.elapsed, losses)
        card["curve"] = own.curve.to_card()
        save_models(module, inputs.paintings, card)
    return TrainingResult(
        config.model_path if finished else None,
        config.checkpoint_path,
        trainer.global_step,
        own.budget.elapsed,
        losses,
        own.interrupts.received,
    )


class _OwnCallbacks:
    """The trainer's own callbacks.

    Attributes:
        budget: the time limit.
        interrupts: the handler of signals.
        curve: the losses for the card.
    """

    def __init__(self, config: TrainingConfig, display: ProgressDisplay) -> None:
        self.budget = TimeBudget(config.minute_limit)
        self.interrupts = Interrupts(display.print)
        self.curve = LossCurve()
        self._display = display

    def in_order(
        self, config: TrainingConfig, inputs: TrainingInputs, more: Sequence[pl.Callback]
    ) -> list[pl.Callback]:
        """Return all callbacks of a run, in the order in which Lightning calls them."""
        notify = self._display.print
        return [
            self.budget,
            NonFiniteGuard(notify, config.checkpoint_every),
            self.interrupts,
            UnreadablePhotos(notify),
            Previews(inputs.preview, config.run_folder / "previews", config.preview_every),
            TrainingProgress(self.budget, self._display),
            self.curve,
            *more,
            # The last one, so that a checkpoint holds the state of all others after the step.
            Checkpoints(config.checkpoint_path, config.checkpoint_every),
        ]


def _choose_batch_size(config: TrainingConfig, inputs: TrainingInputs) -> TrainingConfig:
    """Return the options with a batch size that suits the device, if none was given."""
    if config.batch_size is not None:
        return config
    on_cpu = accelerator_device(config.accelerator) == "cpu"
    return replace(config, batch_size=1 if on_cpu else min(GPU_BATCH, len(inputs.photos)))


def _build_module(
    config: TrainingConfig, inputs: TrainingInputs, notify: Notify
) -> StyleTransferModule:
    """Build the network with its initial weights, and the perceptual loss."""
    torch.manual_seed(config.seed)
    network = StyleNetwork(config.network)
    start = None if config.resume else find_start(config, inputs.paintings)
    if start is None and config.init != "scratch" and not config.resume:
        notify(
            f"no base ships for this network ({size_name(config.network)}): starting from scratch"
        )
    _make_folders(config)
    paintings = {
        name: style_tensor(pixels, config.style_size) for name, pixels in inputs.paintings.items()
    }
    module = StyleTransferModule(config, network, paintings)
    if start is not None:
        start.apply(network, module.painting_norms)
        module.started_from = start.origin
    return module


def _make_folders(config: TrainingConfig) -> None:
    """Make the folders before training, so that an error shows at once."""
    if config.overwrite:
        shutil.rmtree(config.run_folder, ignore_errors=True)
    try:
        for folder in (config.run_folder, config.models):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{error.filename} cannot be made: {error.strerror}") from error


def _build_trainer(config: TrainingConfig, callbacks: list[pl.Callback]) -> pl.Trainer:
    devices: str | int = int(config.devices) if config.devices.isdigit() else config.devices
    bf16 = use_bf16(config.precision, accelerator_device(config.accelerator))
    try:
        return pl.Trainer(
            accelerator=config.accelerator,
            devices=devices,
            num_nodes=config.num_nodes,
            strategy=config.strategy,
            precision="bf16-mixed" if bf16 else "32-true",
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


def _last_losses(trainer: pl.Trainer) -> dict[str, float]:
    metrics: Mapping[str, Any] = trainer.callback_metrics
    return {
        name.removeprefix("loss/"): float(value)
        for name, value in metrics.items()
        if name.startswith("loss/")
    }


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Suppress Lightning's messages about the set-up, and its warnings, for this block."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Advice on workers and on resuming, which StepSampler makes pointless, and deprecations
            # of torch that Lightning itself causes: nothing that a user could act on.
            warnings.filterwarnings("ignore", module=r"pytorch_lightning(\..*)?")
            yield
    finally:
        logger.setLevel(level)
