"""Signals during a training: the first ends it after the current step, the second at once."""

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch

from fast_style.training.callbacks import Notify, StepCallback
from fast_style.training.data import PhotoBatch

__all__ = ["Interrupts", "StoppedAtOnce"]

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

GRACE_SECONDS = 30.0
"""How long a step may take after a signal, beyond three times the longest step so far."""

_EXIT_SECONDS = 10.0
"""How long the process may take to end after that; then it is ended without more ado."""


class StoppedAtOnce(BaseException):
    """Raised in the middle of a step; not an Exception, so that nothing takes it for an error.

    A `KeyboardInterrupt` would make Lightning end the process with exit code 1.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        """Store the signal's number."""
        super().__init__(number)
        self.number = number


class Interrupts(StepCallback):
    """Ends the run after the current step on Ctrl-C, SIGTERM or SIGHUP; a second one does at once.

    A step that does not end, for example because it waits for photos, counts as a second signal.

    Attributes:
        received: the signal that ended the run, or None; on all devices the same.
    """

    def __init__(self, notify: Notify) -> None:
        """Create the callback; `notify` is called when a signal comes."""
        self.notify = notify
        self.received: int | None = None
        self._previous: dict[int, Any] = {}
        self._others: set[BaseProcess] = set()
        self._ended = threading.Event()
        self._longest_step, self._step_began = 0.0, 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remember the handlers, before Lightning installs its own, and the processes."""
        self._others = set(multiprocessing.active_children())
        if threading.current_thread() is threading.main_thread():  # elsewhere, none are allowed
            self._previous = {number: signal.getsignal(number) for number in _SIGNALS}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the handlers; Lightning's own ones would lose the exit code."""
        self._step_began = time.monotonic()
        for number, handler in self._previous.items():
            if handler is not signal.SIG_IGN:  # `nohup` has SIGHUP ignored
                signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            raise StoppedAtOnce(number)
        self.received = number
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.notify(f"{name}: saving after this step (once more to stop without saving)")
        threading.Thread(target=self._limit_step, args=(number,), daemon=True).start()

    def _limit_step(self, number: int) -> None:
        """Signal again if the step does not end, and then end the process."""
        if self._ended.wait(GRACE_SECONDS + 3 * self._longest_step):
            return
        if hasattr(signal, "pthread_kill"):
            ident = threading.main_thread().ident
            assert ident is not None
            signal.pthread_kill(ident, number)  # wakes it up, where it waits for the system
        else:
            signal.raise_signal(number)
        if not self._ended.wait(_EXIT_SECONDS):
            os._exit(128 + number)

    def after_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PhotoBatch
    ) -> None:
        """Stop between two steps, on all devices at the same one."""
        now = time.monotonic()
        self._longest_step = max(self._longest_step, now - self._step_began)
        self._step_began = now
        if trainer.world_size == 1:
            number = self.received or 0
        else:
            mine = torch.tensor(self.received or 0, device=pl_module.device)
            number = int(trainer.strategy.reduce(mine, reduce_op="max"))
        if number:
            self.received = number
            trainer.should_stop = True

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Restore the previous handlers, and end the loaders, which ignore signals."""
        self._restore()
        loaders = set(multiprocessing.active_children()) - self._others
        if not loaders or threading.current_thread() is not threading.main_thread():
            return
        # torch's handler would raise an error about the loaders that are killed here.
        before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if os.name == "posix" else None
        for process in loaders:
            process.kill()
            process.join(_EXIT_SECONDS / 2)
        if before is not None:
            signal.signal(signal.SIGCHLD, before)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the previous handlers."""
        self._restore()

    def _restore(self) -> None:
        self._ended.set()
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
