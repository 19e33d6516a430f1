"""A video job: each step stylizes one part of the video, some hundred frames, and stores it.

The parts go to the store, so that after a kill any worker continues after the last one and makes
the same video.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fast_style.errors import MissingExtraError, VideoError
from fast_style.options import StyleOptions, VideoOptions, select_options
from fast_style.service.jobs.client import PROGRESS
from fast_style.service.jobs.context import LOG, MAX_ATTEMPTS, WorkerContext
from fast_style.service.jobs.spec import JobSpec
from fast_style.storage.hardware import installed

VIDEO = "video"

_PARTS = "parts"
_DESCRIBED = "result.json"
_MEDIA_TYPES = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "gif": "image/gif",
    "webp": "image/webp",
}


class VideoJob:
    """A video job in this process, with its files in a temporary folder."""

    def __init__(self, context: WorkerContext, job_id: str, spec: JobSpec) -> None:
        """Fetch the video, and the parts that are done.

        Raises:
            OSError: the store cannot be read.
            MissingExtraError: what reads videos is not installed.
        """
        for module, package in (("av", "av"), ("cv2", "opencv-python-headless")):
            if not installed(module):
                raise MissingExtraError("jobs of kind video", package, "video")
        from fast_style.video.parts import PartsFolder

        self._context, self._id, self._spec = context, job_id, spec
        self._options = spec.video_options()
        self._folder = Path(tempfile.mkdtemp(prefix="fast-style-video-"))
        try:
            self._source = self._folder / VIDEO
            self._fetch(f"{spec.inputs}/{VIDEO}", self._source)
            # A run resumes only what was begun with a file of the same age.
            os.utime(self._source, (0, 0))
            self._target = self._folder / f"result.{self._options.format}"
            self._parts = PartsFolder(self._target).path
            self._stored = set(context.store.names(f"{job_id}/{_PARTS}"))
            for name in self._stored:
                self._parts.mkdir(exist_ok=True)
                self._fetch(f"{job_id}/{_PARTS}/{name}", self._parts / name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Delete the temporary folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def advance(self, number: int) -> dict[str, Any] | None:
        """Stylize and store the next part.

        Args:
            number: of the step.

        Returns:
            What describes the result once it is written; None while parts are left.

        Raises:
            OSError: the store cannot be read or written.
            FastStyleError: the video or the style cannot be used, or the worker died at this part
                again and again.
        """
        from fast_style.video.api import stylize_part

        described = f"{self._id}/{_DESCRIBED}"
        if self._context.store.exists(described):  # killed before the step's end was recorded
            found: dict[str, Any] = json.loads(self._context.store.read(described))
            return found
        if self._context.count_attempts(self._id, number) > MAX_ATTEMPTS:
            raise VideoError(f"the worker died {MAX_ATTEMPTS} times at part {number + 1}")
        LOG.info("job %s: part %d", self._id, number + 1)
        options = self._options
        progress: list[tuple[int, int | None]] = []
        with self._context.stylizers.exclusive(
            options.style, max_megapixels=self._spec.max_megapixels
        ) as stylizer:
            self._check_limits()
            result = stylize_part(
                self._source,
                self._target,
                stylizer,
                options=select_options(options, StyleOptions),
                video_options=select_options(options, VideoOptions),
                progress=lambda done, total: progress.append((done, total)),
            )
        if progress:
            done, total = progress[-1]
            reached = {"done": done, "total": max(done, total or 0), "unit": "frames"}
            self._context.store.write(f"{self._id}/{PROGRESS}", json.dumps(reached).encode())
        if result is None:
            self._store_part()
            return None
        with open(self._target, "rb") as stream:
            self._context.store.write_stream(f"{self._id}/{self._target.name}", stream)
        document = {
            "result": self._target.name,
            "media_type": _MEDIA_TYPES[options.format],
            "frames": result.frames,
            "width": result.width,
            "height": result.height,
            "notes": list(result.notes),
            "damage": result.damage,
        }
        self._context.store.write(described, json.dumps(document).encode())
        self._context.store.delete_folder(f"{self._id}/{_PARTS}", ignore_errors=True)
        return document

    def _check_limits(self) -> None:
        """Refuse videos that are too long or too large, before a frame is stylized."""
        from fast_style.video.api import describe_video

        info, seconds = describe_video(self._source)
        limit = self._spec.limits.get("seconds", 0)
        if limit and (seconds or 0) > limit:
            raise VideoError(f"the video has {seconds:.0f} seconds, and may have {limit}")
        if info.width * info.height > self._spec.max_megapixels * 1e6:
            raise VideoError(
                f"the video has {info.width}x{info.height} pixels, and may have "
                f"{self._spec.max_megapixels:g} megapixels"
            )

    def _store_part(self) -> None:
        """Store the files that the last part has added; what makes it count comes last."""
        files = {path.name for path in self._parts.iterdir() if path.is_file()}
        # What says what the parts are of comes first, what makes a part count last.
        order = {"job.json": 0, ".packets": 1, ".npz": 2, ".json": 3}
        rank = {name: order.get(name, order[Path(name).suffix]) for name in files}
        for name in sorted(files - self._stored, key=rank.__getitem__):
            with open(self._parts / name, "rb") as stream:
                self._context.store.write_stream(f"{self._id}/{_PARTS}/{name}", stream)
        for name in self._stored - files:  # states that no part continues from any more
            self._context.store.delete_file(f"{self._id}/{_PARTS}/{name}")
        self._stored = files

    def _fetch(self, name: str, target: Path) -> None:
        with self._context.store.open(name) as stream, open(target, "wb") as file:
            shutil.copyfileobj(stream, file)
