"""The queue of the tab Any painting: one long job at a time in the process, in one thread.

A job optimises a photo or trains a style. Each visitor has one, which the thread fills in and the
page shows. The queue has a limited length. The memory that a job needs is freed when it ends in
any way; what remains are some pictures and figures.
"""

import logging
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import streamlit as st

from fast_style import FastStyleError, Photo, read_image
from fast_style.demo.session import MAX_MEGAPIXELS, SourceImage

MAX_WAITING = 5
"""Jobs that may wait; further ones are refused."""

NICENESS = 10
"""Added to the niceness of the thread, so that stylizing photos has priority."""

State = Literal["waiting", "running", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class LossPoint:
    """The weighted losses after a step: `total`, `content` and `style`."""

    step: int
    losses: dict[str, float]


class QueuedJob(ABC):
    """A job, from its request to its last picture; subclasses do the work.

    Attributes:
        problem: why it failed, in one sentence.
        points: the losses of the steps so far.
        seconds: seconds since the first step began.
        seconds_left: estimated seconds until the end.
    """

    def __init__(self) -> None:
        """Prepare it; `JobQueue.submit` starts it."""
        self.problem = ""
        self.points: list[LossPoint] = []
        self.seconds = self.seconds_left = 0.0
        self._lock = threading.Lock()
        self._state: State = "waiting"
        self._stop_requested = False

    @property
    def state(self) -> State:
        """Whether it waits, runs, or how it ended."""
        return self._state

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._state not in ("waiting", "running")

    @property
    def is_stopping(self) -> bool:
        """Whether a stop was requested; it ends after the current step."""
        return self._stop_requested

    def stop(self) -> None:
        """Request a stop; it keeps its best picture. May be called at any time by any thread."""
        with self._lock:
            self._stop_requested = True
            if self._state == "waiting":
                self._state = "stopped"

    def run(self) -> None:
        """Do the work; called by the thread of the queue."""
        with self._lock:
            if self._state != "waiting":
                return
            self._state = "running"
        end: State = "failed"
        try:
            self._work()
            end = "stopped" if self._stop_requested else "done"
        except FastStyleError as error:
            self.problem = str(error)
        except Exception:
            logging.getLogger(__name__).exception("a job failed")
            self.problem = "This failed; the server's log has the details."
        finally:
            self._state = end

    @abstractmethod
    def _work(self) -> None:
        """Do the work until it is done or a stop is requested."""


class JobQueue:
    """Runs one job after the other, in the order in which they were submitted."""

    def __init__(self) -> None:
        """Make an empty queue; it has a thread only while there is something to run."""
        self._lock = threading.Lock()
        self._waiting: deque[QueuedJob] = deque()
        self._current: QueuedJob | None = None
        self._thread: threading.Thread | None = None

    def submit(self, job: QueuedJob) -> bool:
        """Append a job; return whether there was room for it."""
        with self._lock:
            self._drop_stopped()
            if len(self._waiting) >= MAX_WAITING:
                return False
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run_all, name="job-queue", daemon=True)
                self._thread.start()
            return True

    def count_ahead(self, job: QueuedJob) -> int:
        """Count the jobs that run before a waiting one."""
        with self._lock:
            self._drop_stopped()
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._current is not None)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return self._thread is None

    def _drop_stopped(self) -> None:
        self._waiting = deque(waiting for waiting in self._waiting if not waiting.is_over)

    def _run_all(self) -> None:
        _lower_priority()
        while True:
            with self._lock:
                self._current = self._waiting.popleft() if self._waiting else None
                if self._current is None:
                    self._thread = None
                    return
            self._current.run()


def read_upload(image: SourceImage) -> Photo:
    """Read an upload within the page's size limit, which is lower than the library's."""
    photo = read_image(image.content, max_megapixels=MAX_MEGAPIXELS, name=image.name)
    return photo.strip_metadata("location")


@st.cache_resource(show_spinner=False)
def get_queue() -> JobQueue:
    """Return the one queue of the process."""
    return JobQueue()


@st.cache_resource(
    scope="session", max_entries=1, show_spinner=False, on_release=lambda job: job.stop()
)
def bind_to_session(key: str, _job: QueuedJob) -> QueuedJob:
    """Make Streamlit stop a job when its visitor leaves, or starts another one."""
    return _job


def describe_place(job: QueuedJob) -> str:
    """Return what a job waits for, in words."""
    ahead = get_queue().count_ahead(job)
    if not ahead:
        return "Starting"
    others = f"{ahead} others are" if ahead > 1 else "1 other is"
    return f"{others} before you in the queue; yours starts by itself"


def _lower_priority() -> None:
    """Lower the priority of this thread, and of the processes that it starts."""
    if sys.platform == "linux":  # elsewhere the niceness is that of the process
        with suppress(OSError):
            os.nice(NICENESS)
