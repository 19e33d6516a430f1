"""The queue of the tab Any painting: one optimisation at a time in the process, in one thread.

Each visitor has a `QueuedOptimization`, which the thread fills in and the page shows. The queue has
a limited length. The memory that an optimisation needs belongs to the thread and is freed when it
ends in any way; the `QueuedOptimization` holds some pictures and figures.
"""

import logging
import math
import os
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fast_style import FastStyleError, Photo, encode_image, read_image
from fast_style.demo.session import MAX_MEGAPIXELS, SourceImage
from fast_style.demo.widgets import encode_for_page

if TYPE_CHECKING:
    from fast_style import OptimizeStep

MAX_WAITING = 5
"""Optimisations that may wait; further ones are refused."""

MAX_SECONDS = 900.0
"""Seconds after which an optimisation ends with its best picture, since others wait."""

MAX_FRAMES = 24
"""Intermediate pictures that are kept, besides the last one."""

NICENESS = 10
"""Added to the niceness of the thread, so that stylizing photos has priority."""

_PREVIEW_SECONDS = 1.0

State = Literal["waiting", "running", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class OptimizationRequest:
    """What to optimise; see `OptimizeConfig`, whose defaults apply to all else."""

    photo: SourceImage
    painting: SourceImage
    size: int
    iterations: int
    style_weight: float
    init: str
    preserve_color: bool


@dataclass(frozen=True, slots=True)
class LossPoint:
    """The weighted losses after an iteration: `total`, `content` and `style`."""

    iteration: int
    losses: dict[str, float]


class QueuedOptimization:
    """An optimisation, from its request to its last picture.

    Attributes:
        request: what was requested.
        problem: why it failed, in one sentence.
        is_late: whether it ended because of `MAX_SECONDS`.
        before: the photo at the working size, as a JPEG for the page.
        preview: the best picture so far, likewise.
        photo: the best picture so far, for the download.
        frames: intermediate pictures as JPEG files, by iteration.
        points: the losses of every iteration so far.
        iterations: how many there will be at most.
        seconds: seconds since the first iteration began.
        seconds_left: estimated seconds until the end.
    """

    def __init__(self, request: OptimizationRequest) -> None:
        """Prepare it; `OptimizationQueue.submit` starts it."""
        self.request = request
        self.problem = ""
        self.is_late = False
        self.before = self.preview = b""
        self.photo: Photo | None = None
        self.frames: dict[int, bytes] = {}
        self.points: list[LossPoint] = []
        self.iterations = 0
        self.seconds = self.seconds_left = 0.0
        self._lock = threading.Lock()
        self._state: State = "waiting"
        self._stop_requested = False
        self._frame_interval = 1
        self._last_preview = -math.inf

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
        """Whether a stop was requested; it ends after the current iteration."""
        return self._stop_requested

    def stop(self) -> None:
        """Request a stop; it keeps its best picture. May be called at any time by any thread."""
        with self._lock:
            self._stop_requested = True
            if self._state == "waiting":
                self._state = "stopped"

    def run(self) -> None:
        """Optimise; called by the thread of the queue."""
        with self._lock:
            if self._state != "waiting":
                return
            self._state = "running"
        end: State = "failed"
        try:
            self._optimize()
            end = "stopped" if self._stop_requested else "done"
        except FastStyleError as error:
            self.problem = str(error)
        except Exception:
            logging.getLogger(__name__).exception("an optimisation failed")
            self.problem = "The optimisation failed; the server's log has the details."
        finally:
            self._state = end

    def _optimize(self) -> None:
        from fast_style import optimize_steps  # loads torch

        request = self.request
        photo = _read_photo(request.photo)
        _read_photo(request.painting)
        small = photo.resize_long_side(request.size)
        self.before = encode_for_page(small)
        step = None
        for step in optimize_steps(
            request.photo.content,
            request.painting.content,
            size=request.size,
            iterations=request.iterations,
            style_weight=request.style_weight,
            init=request.init,
            preserve_color=request.preserve_color,
        ):
            self._record(step)
            self.is_late = step.seconds > MAX_SECONDS
            if self._stop_requested or self.is_late:
                break
        if step is not None:
            self._store_frame(step)

    def _record(self, step: "OptimizeStep") -> None:
        if not self.points:
            self._frame_interval = math.ceil(step.iterations / MAX_FRAMES)
        losses = {name: getattr(step.losses, name) for name in ("total", "content", "style")}
        self.points.append(LossPoint(step.iteration, losses))
        self.iterations = step.iterations
        self.seconds, self.seconds_left = step.seconds, step.seconds_left
        if step.iteration % self._frame_interval == 0:
            self._store_frame(step)
        elif time.monotonic() - self._last_preview >= _PREVIEW_SECONDS:
            self._update_preview(step.photo())

    def _store_frame(self, step: "OptimizeStep") -> None:
        if step.iteration not in self.frames:
            photo = step.photo()
            self.frames[step.iteration] = encode_image(photo, format="JPEG")[0]
            self._update_preview(photo)

    def _update_preview(self, photo: Photo) -> None:
        self.preview = encode_for_page(photo)  # first: the page shows it once there is a photo
        self.photo = photo
        self._last_preview = time.monotonic()


class OptimizationQueue:
    """Runs one optimisation after the other, in the order in which they were submitted."""

    def __init__(self) -> None:
        """Make an empty queue; it has a thread only while there is something to run."""
        self._lock = threading.Lock()
        self._waiting: deque[QueuedOptimization] = deque()
        self._current: QueuedOptimization | None = None
        self._thread: threading.Thread | None = None

    def submit(self, optimization: QueuedOptimization) -> bool:
        """Append an optimisation; return whether there was room for it."""
        with self._lock:
            self._drop_stopped()
            if len(self._waiting) >= MAX_WAITING:
                return False
            self._waiting.append(optimization)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run_all, name="optimization-queue", daemon=True
                )
                self._thread.start()
            return True

    def count_ahead(self, optimization: QueuedOptimization) -> int:
        """Count the optimisations that run before a waiting one."""
        with self._lock:
            self._drop_stopped()
            if optimization not in self._waiting:
                return 0
            return self._waiting.index(optimization) + (self._current is not None)

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


def _read_photo(image: SourceImage) -> Photo:
    """Read an upload within the page's size limit, which is lower than the library's."""
    photo = read_image(image.content, max_megapixels=MAX_MEGAPIXELS, name=image.name)
    return photo.strip_metadata("location")


def _lower_priority() -> None:
    """Lower the priority of this thread: stylizing a photo takes a second, this takes minutes."""
    if sys.platform == "linux":  # elsewhere the niceness is that of the process
        with suppress(OSError):
            os.nice(NICENESS)
