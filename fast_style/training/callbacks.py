"""What keeps a run safe: time budget, interrupts, checkpoints, losses that are not finite."""

import copy
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch

from fast_style.errors import TrainingError
from fast_style.training.data import Batch
from fast_style.training.lightning_module import StyleTransferModule

Say = Callable[[str], None]
"""Takes a sentence for the person at the keyboard."""


class TimeBudget(pl.Callback):
    """Ends the run after so many minutes of training, counted across resumes."""

    def __init__(self, max_minutes: float | None) -> None:
        """Take the budget; None is no limit."""
        self.budget = None if max_minutes is None else max_minutes * 60
        self.before = 0.0
        """Seconds trained in earlier sessions of this run."""
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

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Tell the module how far the time is, and stop when it is over."""
        self._update(trainer, pl_module)

    def _update(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, StyleTransferModule)
        if self.budget is None:
            return
        share = torch.tensor(min(1.0, self.elapsed / self.budget), device=pl_module.device)
        # Clocks differ between devices; all must stop at the same step and use the same rate.
        pl_module.elapsed_share = float(trainer.strategy.broadcast(share))
        if pl_module.elapsed_share >= 1.0:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Keep the seconds trained."""
        return {"elapsed": self.elapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.before = float(state_dict["elapsed"])


class Checkpoints(pl.Callback):
    """Writes one `last.ckpt`, complete or not at all, every so many steps and at the end."""

    def __init__(self, path: Path, every: int) -> None:
        """Take the file and the steps between two writes."""
        self.path, self.every = path, every
        self._saved_step = -1

    def save(self, trainer: pl.Trainer) -> None:
        """Write the checkpoint beside its place and move it there."""
        if self._saved_step == trainer.global_step:
            return
        self._saved_step = trainer.global_step
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        trainer.save_checkpoint(temporary)  # every rank takes part; rank 0 writes
        if trainer.is_global_zero:
            temporary.replace(self.path)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make the folder, and know what a resumed run has already saved."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._saved_step = trainer.global_step if trainer.global_step else -1

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Save when it is time."""
        if trainer.global_step % self.every == 0:
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end, however the run ended."""
        self.save(trainer)


class Interrupts(pl.Callback):
    """Ends the run after the present step on Ctrl-C or SIGTERM; a second signal ends it at once."""

    def __init__(self, say: Say) -> None:
        """Take where to say what happens."""
        self.say = say
        self.received: int | None = None
        """The signal that ended the run, if one did."""
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals; Lightning's own handling would lose the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.say(f"{name}: saving after this step (once more to stop without saving)")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Stop between two steps, all devices at the same one."""
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            trainer.should_stop = True

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()


class NonFiniteGuard(pl.Callback):
    """Skips steps whose gradients are not finite; after several in a row goes back and slows down.

    Going back means the weights and the optimizer of the last good checkpoint, with half the
    learning rate. The gradients are judged after their exchange between devices, so all devices
    decide alike.
    """

    def __init__(self, say: Say, checkpoint_every: int, patience: int = 5) -> None:
        """Take the steps between two remembered states, and the bad steps in a row to bear."""
        self.say, self.every, self.patience = say, checkpoint_every, patience
        self.in_a_row = 0
        self.skipped = 0
        """Steps skipped in this session."""
        self.rollbacks = 0
        """Times the run went back in this session."""
        self._good: tuple[int, dict[str, Any], dict[str, Any]] | None = None

    @staticmethod
    def _optimizer(pl_module: pl.LightningModule) -> torch.optim.Optimizer:
        optimizer = pl_module.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return optimizer

    def _remember(self, trainer: pl.Trainer, pl_module: StyleTransferModule) -> None:
        weights = copy.deepcopy(pl_module.state_dict())
        state = copy.deepcopy(self._optimizer(pl_module).state_dict())
        self._good = (trainer.global_step, weights, state)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the start, or what was resumed from."""
        assert isinstance(pl_module, StyleTransferModule)
        self._remember(trainer, pl_module)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Drop gradients that are not finite: Muon leaves weights without gradients alone."""
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        norms = torch._foreach_norm(gradients)
        if torch.stack(norms).isfinite().all():
            self.in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)
        self.in_a_row += 1
        self.skipped += 1

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Say what was skipped, go back where skipping does not help, remember good states."""
        assert isinstance(pl_module, StyleTransferModule)
        if self.in_a_row == 0:
            if trainer.global_step % self.every == 0:
                self._remember(trainer, pl_module)
            return
        if self.in_a_row < self.patience:
            self.say(f"step {trainer.global_step}: the loss is not finite; step skipped")
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
        self.say(
            f"step {trainer.global_step}: {self.patience} losses in a row were not finite; back to "
            f"the weights of step {step} with {pl_module.rate_factor:g} of the learning rate"
        )
