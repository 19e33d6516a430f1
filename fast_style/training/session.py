"""A session of a training run: Lightning's trainer with the callbacks that every run has."""

import logging
import shutil
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]
from pytorch_lightning.utilities.rank_zero import rank_zero_only  # type: ignore[attr-defined]

from fast_style.engines.torch_device import accelerator_device, respect_core_limit, use_bf16
from fast_style.errors import TrainingError, describe, is_thread_limit
from fast_style.training.callbacks import (
    Checkpoints,
    LossCurve,
    NonFiniteGuard,
    TimeBudget,
)
from fast_style.training.config import TrainingConfig
from fast_style.training.data import WORKER_SECONDS, PhotoDataModule
from fast_style.training.interrupts import Interrupts, StoppedAtOnce
from fast_style.training.lightning_module import TrainingModule
from fast_style.training.progress import TrainingProgress, UnreadablePhotos
from fast_style.training.progress_bar import ProgressDisplay

_LOCK_SECONDS = 12.0


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


class TrainingSession:
    """One session of a run.

    Attributes:
        config: the options.
        budget: the time limit.
        interrupts: the handler of signals.
        curve: the losses for the card.
        trainer: Lightning's trainer.
    """

    def __init__(
        self,
        config: TrainingConfig,
        previews: pl.Callback,
        display: ProgressDisplay,
        callbacks: Sequence[pl.Callback] = (),
    ) -> None:
        """Create the trainer.

        Args:
            config: the options, with a batch size.
            previews: the callback that writes previews.
            display: shows the progress.
            callbacks: callbacks to run in addition.

        Raises:
            TrainingError: Lightning cannot train with these options.
        """
        respect_core_limit()
        self.config = config
        self.budget = TimeBudget(config.minute_limit)
        self.interrupts = Interrupts(display.print)
        self.curve = LossCurve()
        # In the order in which Lightning calls them.
        own = [
            self.budget,
            NonFiniteGuard(display.print, config.checkpoint_every),
            self.interrupts,
            UnreadablePhotos(display.print),
            previews,
            TrainingProgress(self.budget, display),
            self.curve,
            *callbacks,
            # The last one, so that a checkpoint holds the state of all others after the step.
            Checkpoints(config.checkpoint_path, config.checkpoint_every),
        ]
        with _quiet_lightning():
            self.trainer = _build_trainer(config, own)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.trainer.strategy.root_device

    @property
    def finished(self) -> bool:
        """Whether no signal ended the session."""
        return self.interrupts.received is None

    def fit(self, module: TrainingModule, data: PhotoDataModule) -> None:
        """Train, from the beginning or from the checkpoint of `config.resume`.

        Raises:
            TrainingError: processes that load photos or train on other devices ended or hang.
        """
        resume_from = self.config.checkpoint_path if self.config.resume else None
        try:
            with _quiet_lightning():
                self.trainer.fit(module, data, ckpt_path=resume_from, weights_only=True)
        except (StoppedAtOnce, RuntimeError, OSError) as error:
            for before in _chain(error):
                if isinstance(before, StoppedAtOnce):
                    self._end_at_once(before.number)
                if (reason := _explain(before)) is not None:
                    raise TrainingError(reason) from error
            raise

    def _end_at_once(self, number: int) -> None:
        """End the other processes, and let who handled signals before decide how this one ends."""
        if isinstance(launcher := self.trainer.strategy.launcher, _SubprocessScriptLauncher):
            launcher.kill(getattr(signal, "SIGKILL", signal.SIGTERM))
        signal.raise_signal(number)

    def losses(self) -> dict[str, float]:
        """Return the last step's losses by name."""
        metrics: Mapping[str, Any] = self.trainer.callback_metrics
        return {
            name.removeprefix("loss/"): float(value)
            for name, value in metrics.items()
            if name.startswith("loss/")
        }

    def result(self) -> TrainingResult:
        """Return the outcome."""
        return TrainingResult(
            self.config.model_path if self.finished else None,
            self.config.checkpoint_path,
            self.trainer.global_step,
            self.budget.elapsed,
            self.losses(),
            self.interrupts.received,
        )


def is_first_process() -> bool:
    """Return whether this process is the first of a training on one or several devices."""
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]


@contextmanager
def run_lock(config: TrainingConfig) -> Iterator[None]:
    """Keep other trainings from using the name of a run at the same time.

    Raises:
        TrainingError: another training uses it.
    """
    if not is_first_process():  # the first one has it
        yield
        return
    path = config.runs / f".{config.name}.lock"
    try:
        config.runs.mkdir(parents=True, exist_ok=True)
        # Loaders of a run that was killed hold its lock for some seconds more.
        with FileLock(path, timeout=_LOCK_SECONDS):
            yield
    except Timeout as error:
        raise TrainingError(
            f"another training uses the name {config.name!r} in {config.runs} at present: wait "
            "for its end, or train under another --name"
        ) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise TrainingError(f"{error.filename} cannot be made: {error.strerror}") from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it came up after: Lightning's end of a run hides the first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _explain(error: BaseException) -> str | None:
    """Return a sentence for an error about threads and other processes; None for another error."""
    if is_thread_limit(error):
        return describe(error)
    text = str(error) if isinstance(error, RuntimeError) else ""
    if "DataLoader" in text:
        return (
            f"the processes that load photos ended, or took more than {WORKER_SECONDS} seconds for "
            "a batch: give --workers 0, or more shared memory (docker run --shm-size 1g)"
        )
    if any(mark in text for mark in ("closed by peer", "reset by peer", "Broken pipe")):
        return "another process of this training has ended; its message says why"
    return None


def choose_batch_size(
    config: TrainingConfig, photos: int, on_cpu: int, on_gpu: int
) -> TrainingConfig:
    """Return the options with a batch size that suits the device, if none was given.

    Args:
        config: the options.
        photos: number of photos, which a batch does not exceed.
        on_cpu: default batch size on a CPU.
        on_gpu: default batch size on a GPU.
    """
    if config.batch_size is not None:
        return config
    size = on_cpu if accelerator_device(config.accelerator) == "cpu" else on_gpu
    return replace(config, batch_size=min(size, photos))


def make_folders(config: TrainingConfig) -> None:
    """Make the folders before training, so that an error shows at once."""
    if config.overwrite and is_first_process():
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
