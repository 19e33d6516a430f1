"""A clip in a style, as a job of the queue, in a process of its own."""

import base64
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from fast_style import FastStyleError, VideoError, model_to_bytes
from fast_style.demo.child import make_folder, run_child
from fast_style.demo.job_queue import QueuedJob
from fast_style.demo.session import SourceImage
from fast_style.demo.styles import Style
from fast_style.demo.video_process import AFTER, BEFORE

MAX_SECONDS = 10.0
"""The part of a clip that is stylized, in seconds from its beginning."""

TIME_LIMIT = 1200.0
"""Seconds after which the process is ended, since others wait."""

_MODULE = "fast_style.demo.video_process"
_MODEL = "own.safetensors"


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """What to stylize: the clip, the style, and the longest side in pixels."""

    clip: SourceImage
    style: Style
    size: int


class QueuedVideo(QueuedJob):
    """A clip, from its request to its stylized file.

    Attributes:
        request: what was requested.
        preview: a frame that was stylized lately, as a JPEG.
        done: how many frames are done.
        total: how many there are; None if that is not known.
        before: the clip at the working size, an MP4 file without sound; empty before the end.
        after: the stylized clip, an MP4 file with the clip's sound.
        size: width and height of both.
        notes: what the visitor should know of the file.
    """

    def __init__(self, request: VideoRequest) -> None:
        """Prepare it; `JobQueue.submit` starts it."""
        super().__init__()
        self.request = request
        self.preview = self.before = self.after = b""
        self.done = 0
        self.total: int | None = None
        self.size = (0, 0)
        self.notes: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    @property
    def progress(self) -> float:
        """Share of the frames that are done, in [0, 1]."""
        return min(self.done / self.total, 1.0) if self.total else 0.0

    def stop(self) -> None:
        """Request a stop; there is no file then."""
        super().stop()
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def _work(self) -> None:
        request, start = self.request, time.monotonic()
        with make_folder() as folder:
            # The name's end says what it is; the rest of it is the visitor's.
            clip = folder / f"clip{PurePath(request.clip.name).suffix.lower()}"
            clip.write_bytes(request.clip.content)
            style, model = request.style.key, request.style.model
            if model is not None:
                style = str(folder / _MODEL)
                (folder / _MODEL).write_bytes(model_to_bytes(model.card, model.weights))
            asked = {
                "clip": clip.name,
                "style": style,
                "size": request.size,
                "seconds": MAX_SECONDS,
            }
            child = run_child(_MODULE, folder, asked, TIME_LIMIT, self._set_process)
            with closing(child) as messages:
                for message in messages:
                    self._receive(message)
                    self.seconds = time.monotonic() - start
            if self._stop_requested:
                return
            if not self.size[0]:
                raise VideoError("the clip was not finished: try a shorter one, or a smaller size")
            self.before = (folder / BEFORE).read_bytes()
            self.after = (folder / AFTER).read_bytes()

    def _set_process(self, process: subprocess.Popen[str] | None) -> None:
        with self._lock:
            self._process = process
            if process is not None and self._stop_requested:
                process.kill()

    def _receive(self, message: dict[str, Any]) -> None:
        """Store what the process has sent."""
        if "problem" in message:
            raise FastStyleError(str(message["problem"]))
        if "width" in message:
            self.size, self.notes = (message["width"], message["height"]), message["notes"]
            return
        self.done, self.total = message["done"], message["total"]
        if self.total:
            self.seconds_left = self.seconds * (self.total - self.done) / max(1, self.done)
        if "picture" in message:
            self.preview = base64.b64decode(message["picture"])
