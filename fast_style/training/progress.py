"""What a training run shows: progress, preview pictures, photos that cannot be read."""

import io
import time
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fast_style.images.grain import add_grain
from fast_style.storage.atomic_write import replace_file
from fast_style.training.callbacks import Notify, StepCallback, TimeBudget
from fast_style.training.data import PhotoBatch
from fast_style.training.lightning_module import StyleTransferModule, TrainingModule
from fast_style.training.progress_bar import ProgressDisplay, format_duration

SECONDS_BETWEEN_LINES = 30.0
_SMOOTHING = 0.95
_Number = TypeVar("_Number", float, Tensor)


class TrainingProgress(StepCallback):
    """Shows steps per second, each loss and the time left."""

    def __init__(self, budget: TimeBudget, display: ProgressDisplay) -> None:
        """Create the callback with the run's time limit and the display to use."""
        self.budget, self.display = budget, display
        self._last_step = 0.0
        self._step_seconds: float | None = None
        self._steps_seen = 0
        self._losses: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar."""
        self._last_step = time.monotonic()
        if trainer.is_global_zero:
            self.display.start(total=1.0, transient=False)

    def after_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PhotoBatch
    ) -> None:
        """Add the step's time and losses to running means, and show them."""
        assert isinstance(pl_module, TrainingModule)
        now = time.monotonic()
        seconds, self._last_step = max(now - self._last_step, 1e-9), now
        self._steps_seen += 1
        if self._steps_seen > 1:  # the first step includes the start of the loaders
            mean = self._step_seconds
            self._step_seconds = seconds if mean is None else _update_mean(mean, seconds)
        if not trainer.is_global_zero:
            return
        for name in ("content", "style", "tv"):
            value = trainer.callback_metrics[f"loss/{name}"]
            self._losses[name] = _update_mean(self._losses.get(name, value), value)
        # Reading the losses synchronizes with a GPU, so it is done only when they are shown.
        if self.display.is_due():
            limit = pl_module.config.step_limit
            count = f"step {trainer.global_step}" + ("" if limit is None else f"/{limit}")
            self.display.update(pl_module.progress(), count, self._status(trainer, pl_module))

    def _status(self, trainer: pl.Trainer, pl_module: TrainingModule) -> str:
        losses = "  ".join(
            f"{name} {float(value):.4g}"
            for name, value in self._losses.items()
            if name != "tv" or pl_module.config.tv_weight
        )
        if self._step_seconds is None:
            return losses
        limits = []
        if pl_module.config.step_limit is not None:
            steps_left = pl_module.config.step_limit - trainer.global_step
            limits.append(steps_left * self._step_seconds)
        if self.budget.limit is not None:
            limits.append(max(0.0, self.budget.limit - self.budget.elapsed))
        left = format_duration(min(limits))  # every run has at least one limit
        return f"{1 / self._step_seconds:.2f} steps/s  {losses}  {left} left"

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Stop the bar, also after an error."""
        self.display.stop()


class UnreadablePhotos(StepCallback):
    """Reports the photos that cannot be read, and their number at the end.

    Attributes:
        paths: those photos.
    """

    def __init__(self, notify: Notify) -> None:
        """Create the callback; `notify` is called for each such photo."""
        self.notify = notify
        self.paths: set[str] = set()

    def after_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PhotoBatch
    ) -> None:
        """Report each photo the first time that it could not be read."""
        for path in batch["unreadable"]:
            if path not in self.paths:
                self.paths.add(path)
                self.notify(f"skipped a photo that cannot be read: {path}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report their number."""
        if self.paths:
            self.notify(f"{len(self.paths)} photos could not be read and were skipped")


class Previews(StepCallback):
    """Writes a photo beside its stylized picture at an interval, as JPEG and to TensorBoard."""

    def __init__(self, photo: NDArray[np.uint8], folder: Path, every: int) -> None:
        """Create the callback.

        Args:
            photo: RGB, shape (H, W, 3), uint8.
            folder: where the pictures are written.
            every: steps between two pictures; 0 writes none.
        """
        self.photo, self.folder, self.every = photo, folder, every

    def after_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PhotoBatch
    ) -> None:
        """Write a picture at the interval."""
        if trainer.is_global_zero and self.every and trainer.global_step % self.every == 0:
            self._write(trainer, pl_module)

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, StyleTransferModule)
        if pl_module.painting_norms is not None:  # each preview shows another painting
            number = trainer.global_step // self.every % len(pl_module.painting_norms.names)
            pl_module.choose_paintings(torch.tensor([number], device=pl_module.device))
        pixels = np.concatenate([self.photo, stylize_preview(pl_module, self.photo)], axis=1)
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = io.BytesIO()
        Image.fromarray(pixels).save(picture, "JPEG", quality=90)
        path = self.folder / f"step-{trainer.global_step:06d}.jpg"
        replace_file(path, picture.getvalue())
        for logger in trainer.loggers:
            if isinstance(logger, pl.loggers.TensorBoardLogger):
                logger.experiment.add_image(
                    "preview", pixels, trainer.global_step, dataformats="HWC"
                )


def stylize_preview(module: StyleTransferModule, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stylize a picture with the weights that the network has now.

    Args:
        module: the module in training.
        pixels: RGB, shape (H, W, 3), uint8.

    Returns:
        A picture of the same shape and type.
    """
    grainy = add_grain(pixels, module.config.grain)
    images = torch.from_numpy(grainy.transpose(2, 0, 1).copy())[None].to(module.device)
    with torch.no_grad():
        stylized: Tensor = module.network(images.float() / 255)
    shown = (stylized.float().clamp(0, 1) * 255).round().byte().cpu()[0]
    return np.ascontiguousarray(shown.permute(1, 2, 0).numpy())


def _update_mean(mean: _Number, value: _Number) -> _Number:
    return _SMOOTHING * mean + (1 - _SMOOTHING) * value
