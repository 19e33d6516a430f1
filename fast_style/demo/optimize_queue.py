"""Any painting: one optimisation at a time for the whole process, in a thread of its own.

The page only looks on. Each visitor has a `Run`, which the thread fills and the page shows; the
others wait in a queue of bounded length. What an optimisation takes in memory is the thread's
alone and goes when it ends, however it ends; a run keeps some pictures and figures.
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

from fast_style import FastStyleError, Photo, encode_image, read_image, resize_long_side
from fast_style.demo.compare import shown
from fast_style.demo.session import MEGAPIXELS, Shot

if TYPE_CHECKING:
    from fast_style import OptimizeStep

MOST_WAITING = 5
"""Runs in the queue; whoever comes after that is told to come back."""

LONGEST = 900.0
"""Seconds after which a run ends with what it has, since others wait."""

KEPT = 24
"""Pictures that are kept on the way, at most; the last one comes on top."""

GIVING_WAY = 10
"""Levels of niceness between an optimisation and the threads that put a style on a photo."""

_PREVIEW_SECONDS = 1.0

State = Literal["waiting", "running", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Order:
    """What a visitor wants; see `OptimizeConfig` for what is not said here."""

    photo: Shot
    painting: Shot
    size: int
    iterations: int
    style_weight: float
    init: str
    preserve_color: bool


@dataclass(frozen=True, slots=True)
class Point:
    """The losses after an iteration: `total`, `content` and `style`, with their weights."""

    iteration: int
    losses: dict[str, float]


class Run:
    """An optimisation from its order to its last picture.

    Attributes:
        order: what was asked for.
        problem: why it failed, in one sentence.
        is_late: whether it was ended because others wait.
        before: the photo at the size that is worked at, as a JPEG file to show.
        preview: the best picture so far, likewise.
        photo: the best picture so far, to be downloaded.
        frames: pictures on the way, as JPEG files, by the iteration after which they were best.
        points: the losses of every iteration so far.
        iterations: how many there will be at most.
        seconds: since the first of them began.
        seconds_left: about so many more.
    """

    def __init__(self, order: Order) -> None:
        """Prepare one; `Easel.take` has it painted."""
        self.order = order
        self.problem = ""
        self.is_late = False
        self.before = self.preview = b""
        self.photo: Photo | None = None
        self.frames: dict[int, bytes] = {}
        self.points: list[Point] = []
        self.iterations = 0
        self.seconds = self.seconds_left = 0.0
        self._lock = threading.Lock()
        self._state: State = "waiting"
        self._stopping = False
        self._every = 1
        self._previewed = -math.inf

    @property
    def state(self) -> State:
        """How far it is."""
        return self._state

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._state not in ("waiting", "running")

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop; it does so after the iteration that it is in."""
        return self._stopping

    def stop(self) -> None:
        """End it with what it has; may be called at any time, from anywhere."""
        with self._lock:
            self._stopping = True
            if self._state == "waiting":
                self._state = "stopped"

    def paint(self) -> None:
        """Do the work, in the thread of the easel."""
        with self._lock:
            if self._state != "waiting":
                return
            self._state = "running"
        end: State = "failed"
        try:
            self._paint()
            end = "stopped" if self._stopping else "done"
        except FastStyleError as error:
            self.problem = str(error)
        except Exception:
            logging.getLogger(__name__).exception("an optimisation failed")
            self.problem = "That went wrong; what happened is in the log of the server."
        finally:
            self._state = end

    def _paint(self) -> None:
        from fast_style import optimize_steps  # not before it is needed: it loads torch

        order = self.order
        photo = _look_at(order.photo)
        _look_at(order.painting)
        small = photo.with_pixels(resize_long_side(photo.pixels, order.size))
        self.before = shown(small)
        step = None
        for step in optimize_steps(
            order.photo.content,
            order.painting.content,
            size=order.size,
            iterations=order.iterations,
            style_weight=order.style_weight,
            init=order.init,
            preserve_color=order.preserve_color,
        ):
            self._note(step)
            self.is_late = step.seconds > LONGEST
            if self._stopping or self.is_late:
                break
        if step is not None:
            self._keep(step)

    def _note(self, step: "OptimizeStep") -> None:
        if not self.points:
            self._every = math.ceil(step.iterations / KEPT)
        losses = {name: getattr(step.losses, name) for name in ("total", "content", "style")}
        self.points.append(Point(step.iteration, losses))
        self.iterations = step.iterations
        self.seconds, self.seconds_left = step.seconds, step.seconds_left
        if step.iteration % self._every == 0:
            self._keep(step)
        elif time.monotonic() - self._previewed >= _PREVIEW_SECONDS:
            self._preview(step.photo())

    def _keep(self, step: "OptimizeStep") -> None:
        if step.iteration not in self.frames:
            photo = step.photo()
            self.frames[step.iteration] = encode_image(photo, format="JPEG")[0]
            self._preview(photo)

    def _preview(self, photo: Photo) -> None:
        self.preview = shown(photo)  # first: the page looks at it as soon as there is a photo
        self.photo = photo
        self._previewed = time.monotonic()


class Easel:
    """Paints one run after the other, in the order in which they came."""

    def __init__(self) -> None:
        """Make one that has nothing to do; its thread is there only while there is something."""
        self._lock = threading.Lock()
        self._waiting: deque[Run] = deque()
        self._current: Run | None = None
        self._thread: threading.Thread | None = None

    def take(self, run: Run) -> bool:
        """Put a run at the end of the queue; tell whether there was room."""
        with self._lock:
            self._forget_the_stopped()
            if len(self._waiting) >= MOST_WAITING:
                return False
            self._waiting.append(run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="easel", daemon=True)
                self._thread.start()
            return True

    def ahead(self, run: Run) -> int:
        """Count the runs that come before one that waits."""
        with self._lock:
            self._forget_the_stopped()
            if run not in self._waiting:
                return 0
            return self._waiting.index(run) + (self._current is not None)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is painted and nothing waits."""
        return self._thread is None

    def _forget_the_stopped(self) -> None:
        self._waiting = deque(run for run in self._waiting if not run.is_over)

    def _work(self) -> None:
        _give_way()
        while True:
            with self._lock:
                self._current = self._waiting.popleft() if self._waiting else None
                if self._current is None:
                    self._thread = None
                    return
            self._current.paint()


def _look_at(shot: Shot) -> Photo:
    """Read an upload within the page's limits, which are narrower than the library's."""
    return read_image(shot.content, max_megapixels=MEGAPIXELS, name=shot.name)


def _give_way() -> None:
    """Let visitors who wait a second for a picture go before those who wait minutes."""
    if sys.platform == "linux":  # elsewhere this would hold for the process, not for the thread
        with suppress(OSError):
            os.nice(GIVING_WAY)
