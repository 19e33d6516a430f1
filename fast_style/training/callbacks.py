"""Callbacks of a training run: time limit, checkpoints, bad losses, loss curve."""

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from fast_style.errors import TrainingError
from fast_style.training.data import PhotoBatch
from fast_style.training.lightning_module import TrainingModule

_CURVE_LOSSES = ("total", "content", "style")
_CURVE_POINTS = 96

Notify = Callable[[str], None]
"""Shows a sentence to the user."""


class StepCallback(pl.Callback, ABC):
    """A callback that acts after each step."""

    @abstractmethod
    def after_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PhotoBatch
    ) -> None:
        """Act; the optimizer has made its step."""

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: PhotoBatch,
        batch_idx: int,
    ) -> None:
        """Call `after_step`."""
        self.after_step(trainer, pl_module, batch)


class TimeBudget(StepCallback):
    """Ends the run when its time limit is reached; time is counted over all sessions.

    Attributes:
        limit: seconds of training, or None.
        before: seconds trained in earlier sessions of this run.
    """

    def __init__(self, max_minutes: float | None) -> None:
        """Create the callback with a limit in minutes; None sets no limit."""
        self.limit = None if max_minutes is None else max_minutes * 60
        self.before = 0.0
        self._started: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, over all sessions."""
        session = 0.0 if self._started is None else time.monotonic() - self._started
        return self.before + session

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._update(trainer, pl_module)

    def after_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PhotoBatch
    ) -> None:
        """Update the module's elapsed share, and stop when the time is up."""
        self._update(trainer, pl_module)

    def _update(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        if self.limit is None:
            return
        share = torch.tensor(min(1.0, self.elapsed / self.limit), device=pl_module.device)
        # Clocks differ between devices, but all must stop at the same step and use the same rate.
        pl_module.elapsed_share = float(trainer.strategy.broadcast(share))
        if pl_module.elapsed_share >= 1.0:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds trained."""
        return {"elapsed": self.elapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the seconds trained."""
        self.before = float(state_dict["elapsed"])


class Checkpoints(StepCallback):
    """Writes the checkpoint `last.ckpt` atomically, at an interval of steps and at the end."""

    def __init__(self, path: Path, every: int) -> None:
        """Create the callback with the file to write and the interval in steps."""
        self.path, self.every = path, every
        self._saved_step = -1

    def save(self, trainer: pl.Trainer) -> None:
        """Write the checkpoint to a temporary file and rename it."""
        if self._saved_step == trainer.global_step:
            return
        self._saved_step = trainer.global_step
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        trainer.save_checkpoint(temporary)  # every rank takes part; rank 0 writes
        if trainer.is_global_zero:
            temporary.replace(self.path)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make the folder; a resumed run has already saved its first step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._saved_step = trainer.global_step if trainer.global_step else -1

    def after_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PhotoBatch
    ) -> None:
        """Save at the interval."""
        if trainer.global_step % self.every == 0:
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last state, however the run ended."""
        self.save(trainer)


class NonFiniteGuard(StepCallback):
    """Skips steps with non-finite gradients; after several in a row, rolls the run back.

    A rollback restores the weights and the optimizer's state of the last good interval, and halves
    the learning rate. Gradients are checked after their exchange between devices, so that all
    devices decide alike.

    Attributes:
        in_a_row: consecutive steps with non-finite gradients, up to now.
        rollbacks: number of rollbacks in this session.
    """

    def __init__(self, notify: Notify, checkpoint_every: int, patience: int = 5) -> None:
        """Create the callback.

        Args:
            notify: called when a step is skipped and when the run is rolled back.
            checkpoint_every: steps between two states that are kept for a rollback.
            patience: consecutive bad steps before a rollback.
        """
        self.notify, self.every, self.patience = notify, checkpoint_every, patience
        self.in_a_row = 0
        self.rollbacks = 0
        self._good: tuple[int, dict[str, Any], dict[str, Any]] | None = None

    @staticmethod
    def _optimizer(pl_module: pl.LightningModule) -> torch.optim.Optimizer:
        optimizer = pl_module.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return optimizer

    def _keep_state(self, trainer: pl.Trainer, pl_module: TrainingModule) -> None:
        weights = copy.deepcopy(pl_module.state_dict())
        state = copy.deepcopy(self._optimizer(pl_module).state_dict())
        self._good = (trainer.global_step, weights, state)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the initial state, or the one that was resumed from."""
        assert isinstance(pl_module, TrainingModule)
        self._keep_state(trainer, pl_module)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Drop gradients that are not finite; Muon does not move weights without gradients."""
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        norms = torch._foreach_norm(gradients)
        if torch.stack(norms).isfinite().all():
            self.in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)
        self.in_a_row += 1

    def after_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PhotoBatch
    ) -> None:
        """Report skipped steps, roll back after several, keep good states."""
        assert isinstance(pl_module, TrainingModule)
        if self.in_a_row == 0:
            if trainer.global_step % self.every == 0:
                self._keep_state(trainer, pl_module)
            return
        if self.in_a_row < self.patience:
            self.notify(f"step {trainer.global_step}: the loss is not finite; step skipped")
            return
        assert self._good is not None
        step, weights, state = self._good
        self.rollbacks += 1
        if self.rollbacks > 10:
            raise TrainingError(
                "the loss keeps becoming infinite or undefined: lower --learning-rate or "
                "--style-weight, or train with --precision fp32"
            )
        pl_module.load_state_dict(weights)
        self._optimizer(pl_module).load_state_dict(copy.deepcopy(state))
        pl_module.rate_factor *= 0.5
        self.in_a_row = 0
        self.notify(
            f"step {trainer.global_step}: {self.patience} losses in a row were not finite; back to "
            f"the weights of step {step} with {pl_module.rate_factor:g} of the learning rate"
        )


class LossCurve(StepCallback):
    """Records the weighted losses as fewer than 96 points, each the mean of equally many steps.

    When there are 96, each two neighbours are merged. Checkpoints contain the curve.
    """

    def __init__(self) -> None:
        self._every = 1
        self._points: list[list[float]] = []  # last step, then means as in `_CURVE_LOSSES`
        self._sums: list[float | Tensor] = [0.0] * len(_CURVE_LOSSES)
        self._count = 0

    def after_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PhotoBatch
    ) -> None:
        """Add the losses of a step."""
        metrics = trainer.callback_metrics
        # Kept on the device: reading them at each step would synchronize with a GPU.
        pairs = zip(self._sums, _CURVE_LOSSES, strict=True)
        self._sums = [total + metrics[f"loss/{name}"].detach() for total, name in pairs]
        self._count += 1
        if self._count < self._every:
            return
        means = [float(total) / self._count for total in self._sums]
        self._sums, self._count = [0.0] * len(_CURVE_LOSSES), 0
        if all(map(math.isfinite, means)):
            self._points.append([trainer.global_step, *means])
        if len(self._points) == _CURVE_POINTS:
            firsts, seconds = self._points[0::2], self._points[1::2]
            self._points = [
                [second[0], *((a + b) / 2 for a, b in zip(first[1:], second[1:], strict=True))]
                for first, second in zip(firsts, seconds, strict=True)
            ]
            self._every *= 2

    def to_card(self) -> dict[str, list[float]]:
        """Return the curve as JSON values: `step` and the losses by name, lists of equal length."""
        rows = [[row[0], *(float(f"{value:.4g}") for value in row[1:])] for row in self._points]
        columns = zip(*rows, strict=True) if rows else ((),) * (1 + len(_CURVE_LOSSES))
        return {
            name: list(values)
            for name, values in zip(("step", *_CURVE_LOSSES), columns, strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the points so far, for a checkpoint."""
        return {
            "every": self._every,
            "points": self._points,
            "sums": [float(total) for total in self._sums],
            "count": self._count,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the points of a checkpoint."""
        self._every, self._count = state_dict["every"], state_dict["count"]
        self._points, self._sums = list(state_dict["points"]), list(state_dict["sums"])
