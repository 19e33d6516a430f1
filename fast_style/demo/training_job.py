"""The training of a style for one painting, as a job of the queue, in a process of its own."""

import base64
import subprocess
import time
from contextlib import closing, suppress
from dataclasses import dataclass

from fast_style import FastStyleError, StyleModel, encode_image, model_from_bytes
from fast_style.demo.child import make_folder, run_child
from fast_style.demo.job_queue import LossPoint, QueuedJob, read_upload
from fast_style.demo.session import SourceImage
from fast_style.demo.widgets import encode_for_page

GRACE_SECONDS = 300.0
"""Seconds beyond the time of the training after which its process is ended: it takes some seconds
to load torch, and more on a busy machine."""

_PREVIEW_SIDE = 384
_PAINTING_SIDE = 1024  # more than training uses
_MAX_POINTS = 400
_MODULE = "fast_style.demo.training_process"


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What to train: the painting, the photo to show, and the seconds to train for."""

    painting: SourceImage
    photo: SourceImage
    seconds: int
    name: str


class QueuedTraining(QueuedJob):
    """A training, from its request to its model.

    Attributes:
        request: what was requested.
        before: the photo, small, as a JPEG for the page.
        preview: the photo in the style as it is now, likewise.
        size: width and height of both.
        progress: share of the time that is used up, in [0, 1].
        steps: how many steps were made.
        model: the style; None before the end.
        content: its file.
    """

    def __init__(self, request: TrainingRequest) -> None:
        """Prepare it; `JobQueue.submit` starts it."""
        super().__init__()
        self.request = request
        self.before = self.preview = b""
        self.size = (0, 0)
        self.progress = 0.0
        self.steps = 0
        self.model: StyleModel | None = None
        self.content = b""
        self._process: subprocess.Popen[str] | None = None

    def stop(self) -> None:
        """Request a stop; what is learnt so far is kept."""
        super().stop()
        with self._lock:
            self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError, ValueError):  # it has ended
                process.stdin.write("stop\n")
                process.stdin.flush()

    def _work(self) -> None:
        request, limit = self._read_request(), self.request.seconds + GRACE_SECONDS
        start = time.monotonic()
        with make_folder() as folder:
            child = run_child(_MODULE, folder, request, limit, self._set_process)
            with closing(child) as messages:
                for message in messages:
                    self._receive(message)
                    self.seconds = time.monotonic() - start
        if self.model is None:
            raise FastStyleError("the training ended without a model: try again")

    def _set_process(self, process: subprocess.Popen[str] | None) -> None:
        with self._lock:
            self._process = process
            if self._stop_requested:
                self._ask_to_stop()

    def _read_request(self) -> dict[str, object]:
        """Read painting and photo, and return the request for the process."""
        request = self.request
        painting, photo = read_upload(request.painting), read_upload(request.photo)
        painting = painting.resize_long_side(_PAINTING_SIDE)
        small = photo.resize_long_side(_PREVIEW_SIDE)
        self.size = (small.width, small.height)
        self.before = encode_for_page(small)
        return {
            "painting": _to_text(encode_image(painting, format="PNG")[0]),
            "photo": _to_text(self.before),
            "seconds": request.seconds,
            "name": request.name,
        }

    def _receive(self, message: dict[str, object]) -> None:
        """Store what the process has sent."""
        if "problem" in message:
            raise FastStyleError(str(message["problem"]))
        if "model" in message:
            self.content = base64.b64decode(str(message["model"]))
            self.model = model_from_bytes(self.content, self.request.name)
            return
        losses, progress = message["losses"], message["progress"]
        assert isinstance(losses, dict)
        assert isinstance(progress, float)
        self.steps, self.progress = int(str(message["step"])), progress
        self.seconds_left = (1 - progress) * self.request.seconds
        self.points.append(LossPoint(self.steps, losses))
        if len(self.points) > _MAX_POINTS:
            self.points = self.points[::2]
        if "picture" in message:
            self.preview = base64.b64decode(str(message["picture"]))


def _to_text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
