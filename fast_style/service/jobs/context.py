"""What the jobs of one worker share: the store, loaded styles, and the stop flag."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fast_style.inference.stylizer_cache import StylizerCache
from fast_style.storage.object_store import ObjectStore

LOG = logging.getLogger("fast_style.service.jobs")

MAX_ATTEMPTS = 5
"""How often a worker may die at one step, before its input is taken to be the cause."""

_BEGUN = "begun.json"
_MAX_STYLES = 4
"""Styles that stay loaded."""


class WorkerContext:
    """What the jobs of a worker share; safe to use from several threads.

    Attributes:
        store: the files of the jobs.
        is_cancelled: returns whether a job has been cancelled, by its id.
        checkpoint_seconds: about how long a step of an optimisation takes.
        stylizers: loaded styles.
    """

    def __init__(
        self, store: ObjectStore, is_cancelled: Callable[[str], bool], checkpoint_seconds: float
    ) -> None:
        """Set the attributes; no style is loaded."""
        self.store, self.is_cancelled = store, is_cancelled
        self.checkpoint_seconds = checkpoint_seconds
        self.stylizers = StylizerCache(_MAX_STYLES)
        self._running_steps = 0
        self._stopping = threading.Event()
        self._step_ended = threading.Condition()

    @property
    def stopping(self) -> bool:
        """Whether no new step may begin, and long ones must end soon."""
        return self._stopping.is_set()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run a step and record it; block forever if the worker is stopping."""
        with self._step_ended:
            begins = not self.stopping
            self._running_steps += begins
        if not begins:
            # The job must not end in the database, neither as done nor as failed: the process is
            # about to exit, and another worker continues the job.
            threading.Event().wait()
        try:
            yield
        finally:
            with self._step_ended:
                self._running_steps -= 1
                self._step_ended.notify_all()

    def count_attempts(self, job_id: str, position: int) -> int:
        """Record that a step of a job is begun, and return how many times in a row it was."""
        name = f"{job_id}/{_BEGUN}"
        try:
            begun = json.loads(self.store.read(name))
        except (FileNotFoundError, ValueError):
            begun = {}
        times = begun.get("times", 0) + 1 if begun.get("position") == position else 1
        self.store.write(name, json.dumps({"position": position, "times": times}).encode())
        return int(times)

    def stop(self, seconds: float) -> bool:
        """Let no new step begin, and wait for running ones; return whether all have ended."""
        with self._step_ended:
            self._stopping.set()
            return self._step_ended.wait_for(lambda: self._running_steps == 0, seconds)
