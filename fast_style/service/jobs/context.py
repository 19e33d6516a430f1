"""What the jobs of one worker share: the store, loaded styles, and the word to stop."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fast_style.inference.stylizer_cache import StylizerCache
from fast_style.storage.object_store import ObjectStore

LOG = logging.getLogger("fast_style.service.jobs")

_MAX_STYLES = 4
"""Styles that stay loaded."""


class Workplace:
    """Shared by the threads of a worker.

    Attributes:
        store: where the files are.
        cancelled: tells whether a job has been cancelled, by its id.
        checkpoint_seconds: how long a step of an optimisation takes, about.
        stylizers: loaded styles.
    """

    def __init__(
        self, store: ObjectStore, cancelled: Callable[[str], bool], checkpoint_seconds: float
    ) -> None:
        """See the class."""
        self.store, self.cancelled = store, cancelled
        self.checkpoint_seconds = checkpoint_seconds
        self.stylizers = StylizerCache(_MAX_STYLES)
        self._busy = 0
        self._stopping = threading.Event()
        self._idle = threading.Condition()

    @property
    def stopping(self) -> bool:
        """Whether no step may begin any more, and long ones are to come to an end."""
        return self._stopping.is_set()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Do a step and have it recorded; while the worker stops, none begins any more."""
        with self._idle:
            begins = not self.stopping
            self._busy += begins
        if not begins:
            # The job is not to end, neither well nor badly: the process will, and the job goes on
            # in another.
            threading.Event().wait()
        try:
            yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def stop(self, seconds: float) -> bool:
        """Let no step begin, and wait for those that have; tells whether all came to their end."""
        with self._idle:
            self._stopping.set()
            return self._idle.wait_for(lambda: self._busy == 0, seconds)
