"""An optimisation of a photo's pixels, as a job of the queue."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fast_style import Photo, encode_image
from fast_style.demo.job_queue import LossPoint, QueuedJob, read_upload
from fast_style.demo.session import SourceImage
from fast_style.demo.widgets import encode_for_page

if TYPE_CHECKING:
    from fast_style import OptimizeStep

MAX_SECONDS = 900.0
"""Seconds after which an optimisation ends with its best picture, since others wait."""

MAX_FRAMES = 24
"""Intermediate pictures that are kept, besides the last one."""

_PREVIEW_SECONDS = 1.0


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


class QueuedOptimization(QueuedJob):
    """An optimisation, from its request to its last picture.

    Attributes:
        request: what was requested.
        is_late: whether it ended because of `MAX_SECONDS`.
        before: the photo at the working size, as a JPEG for the page.
        preview: the best picture so far, likewise.
        photo: the best picture so far, for the download.
        frames: intermediate pictures as JPEG files, by iteration.
        iterations: how many there will be at most.
    """

    def __init__(self, request: OptimizationRequest) -> None:
        """Prepare it; `JobQueue.submit` starts it."""
        super().__init__()
        self.request = request
        self.is_late = False
        self.before = self.preview = b""
        self.photo: Photo | None = None
        self.frames: dict[int, bytes] = {}
        self.iterations = 0
        self._frame_interval = 1
        self._last_preview = -math.inf

    def _work(self) -> None:
        from fast_style import optimize_steps  # loads torch

        request = self.request
        photo = read_upload(request.photo)
        read_upload(request.painting)
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
