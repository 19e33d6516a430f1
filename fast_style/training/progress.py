"""What the person at the keyboard sees: a bar or lines of text, previews, unreadable photos."""

import io
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from fast_style.images.grain import add_grain
from fast_style.storage.atomic_write import replace_file
from fast_style.training.callbacks import Say, TimeBudget
from fast_style.training.data import Batch
from fast_style.training.lightning_module import StyleTransferModule

_SECONDS_BETWEEN_LINES = 30.0
_SMOOTHING = 0.95
_Number = TypeVar("_Number", float, Tensor)


class TrainingProgress(pl.Callback):
    """Steps a second, each loss, time left: a bar on a terminal, else a line now and then."""

    def __init__(self, budget: TimeBudget, console: Console) -> None:
        """Take the clock and the console (on stderr) to draw on."""
        self.budget, self.console = budget, console
        self._bar: Progress | None = None
        self._last, self._last_line = 0.0, 0.0
        self._seconds: float | None = None  # of a step; the first one starts the loaders too
        self._steps_seen = 0
        self._losses: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar."""
        self._last = self._last_line = time.monotonic()
        if not trainer.is_global_zero or not self.console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("step {task.fields[step]}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%  {task.fields[status]}"),
            console=self.console,
            auto_refresh=False,
        )
        self._bar.add_task("", total=1.0, status="", step=trainer.global_step)
        self._bar.start()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Take the step's time and losses into running means, and show them."""
        assert isinstance(pl_module, StyleTransferModule)
        now = time.monotonic()
        seconds, self._last = max(now - self._last, 1e-9), now
        self._steps_seen += 1
        if self._steps_seen > 1:
            self._seconds = seconds if self._seconds is None else _mean(self._seconds, seconds)
        if not trainer.is_global_zero:
            return
        for name in ("content", "style", "tv"):
            value = trainer.callback_metrics[f"loss/{name}"]
            self._losses[name] = _mean(self._losses.get(name, value), value)
        line_due = now - self._last_line >= _SECONDS_BETWEEN_LINES or trainer.global_step <= 1
        if self._bar is None and not line_due:
            return  # reading the losses waits for a GPU, so only when they are shown
        status = self._status(trainer, pl_module)
        if self._bar is not None:
            task = self._bar.task_ids[0]
            progress, step = pl_module.progress(), trainer.global_step
            self._bar.update(task, completed=progress, status=status, step=step)
            self._bar.refresh()
        else:
            self._last_line = now
            limit = pl_module.config.step_limit
            of_all = "" if limit is None else f"/{limit}"
            self.console.print(f"step {trainer.global_step}{of_all}  {status}")

    def _status(self, trainer: pl.Trainer, pl_module: StyleTransferModule) -> str:
        losses = "  ".join(
            f"{name} {float(value):.4g}"
            for name, value in self._losses.items()
            if name != "tv" or pl_module.config.tv_weight
        )
        if self._seconds is None:
            return losses
        limits = []
        if pl_module.config.step_limit is not None:
            limits.append((pl_module.config.step_limit - trainer.global_step) * self._seconds)
        if self.budget.budget is not None:
            limits.append(max(0.0, self.budget.budget - self.budget.elapsed))
        left = min(limits)  # a run has one limit at least
        return f"{1 / self._seconds:.2f} steps/s  {losses}  {_duration(left)} left"

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the terminal in order, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class UnreadablePhotos(pl.Callback):
    """Counts the photos that could not be read, and says so once at the end."""

    def __init__(self, say: Say) -> None:
        """Take where to say it."""
        self.say = say
        self.paths: set[str] = set()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Name each such photo when it first turns up."""
        for path in batch["unreadable"]:
            if path not in self.paths:
                self.paths.add(path)
                self.say(f"skipped a photo that cannot be read: {path}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the count."""
        if self.paths:
            self.say(f"{len(self.paths)} photos could not be read and were skipped")


class Previews(pl.Callback):
    """Every so many steps a picture, photo beside stylized photo, as JPEG and in TensorBoard."""

    def __init__(self, photo: NDArray[np.uint8], folder: Path, every: int) -> None:
        """Take the photo, (H, W, 3) uint8 RGB, the folder for the pictures and the interval."""
        self.photo, self.folder, self.every = photo, folder, every

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Draw when it is time."""
        if trainer.is_global_zero and self.every and trainer.global_step % self.every == 0:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, StyleTransferModule)
        content = torch.from_numpy(self.photo.transpose(2, 0, 1).copy())[None]
        with torch.no_grad():
            grainy = add_grain(self.photo, pl_module.config.grain)
            seen = torch.from_numpy(grainy.transpose(2, 0, 1).copy())[None].to(pl_module.device)
            if pl_module.bank is not None:  # another painting each time
                turn = trainer.global_step // self.every % len(pl_module.bank.names)
                pl_module.bank.choose(torch.tensor([turn], device=pl_module.device))
            stylized: Tensor = pl_module.network(seen.float() / 255)
        shown = (stylized.float().clamp(0, 1) * 255).round().byte().cpu()
        both = torch.cat([content, shown], dim=3)[0]
        pixels = both.permute(1, 2, 0).numpy()
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = io.BytesIO()
        Image.fromarray(pixels).save(picture, "JPEG", quality=90)
        path = self.folder / f"step-{trainer.global_step:06d}.jpg"
        replace_file(path, picture.getvalue())
        for logger in trainer.loggers:
            if isinstance(logger, pl.loggers.TensorBoardLogger):
                logger.experiment.add_image("preview", both, trainer.global_step)


def stderr_console(quiet: bool) -> Console:
    """A console on stderr; rich honours NO_COLOR and knows whether it is a terminal."""
    return Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=not sys.stderr.isatty())


def _mean(mean: _Number, value: _Number) -> _Number:
    return _SMOOTHING * mean + (1 - _SMOOTHING) * value


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
