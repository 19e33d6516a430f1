"""The pictures of `stylize`: files, or one picture on stdin and stdout, through the pipeline."""

import sys
from pathlib import Path
from typing import Any

from fast_style.errors import ImageWriteError, VideoError
from fast_style.images import (
    WRITABLE_SUFFIXES,
    Photo,
    encode_image,
    format_from_suffix,
    read_image,
    suffix_for,
    write_image,
)
from fast_style.inference.pipeline import STANDARD, PictureInFlight, PictureTask, Pipeline
from fast_style.options import VideoOptions
from fast_style.storage.atomic_write import is_stream

__all__ = ["FilePipeline", "output_format"]

_ANIMATION_QUALITY = 90  # of animated WebP, as of still ones


class FilePipeline(Pipeline):
    """Stylizes the pictures of an output plan with one stylizer."""

    def _prepare(self, task: PictureTask) -> PictureInFlight:
        picture = PictureInFlight(task)
        if task.moving:
            picture.alone = True  # its frames have threads of their own
            return picture
        reads_once = _may_block(task.source)
        # A thread that waits for the other end of a pipe cannot be stopped.
        picture.alone = reads_once or _may_block(task.target)
        if not reads_once:
            self._inspect_file(picture)
        return picture

    def _read(self, picture: PictureInFlight) -> None:
        if not picture.task.moving:
            super()._read(picture)

    def _stylize(self, picture: PictureInFlight) -> None:
        if not picture.task.moving:
            super()._stylize(picture)
            return
        # Imported here, since a photo needs neither PyAV nor OpenCV.
        from fast_style.video.api import stylize_video

        with picture.step():
            task = picture.task
            _make_folder(task.target)
            quality = VideoOptions(quality=self.quality or _ANIMATION_QUALITY)
            guides = self._guides.read(task.source)
            result = stylize_video(
                task.source,
                task.target,
                self.stylizer,
                options=self.options,
                video_options=quality,
                mask=list(guides.masks),
                colors_of=guides.colors,
            )
            picture.width, picture.height = result.width, result.height
            picture.notes = result.notes
            if result.damage is not None:
                raise VideoError(f"{result.damage}: what could be read of it is written")

    def _load(self, picture: PictureInFlight) -> Photo:
        task, limit = picture.task, self.stylizer.max_megapixels
        if task.source == STANDARD:
            return read_image(sys.stdin.buffer, max_megapixels=limit, name=task.name)
        return read_image(task.source, max_megapixels=limit, at_least=picture.at_least)

    def _save(self, photo: Photo, task: PictureTask) -> tuple[str, ...]:
        settings: dict[str, Any] = {
            "format": self.format or output_format(task.target, photo),
            "quality": self.quality,
            "history": self._history(task.source),
        }
        if task.target != STANDARD:
            if not is_stream(task.target):
                _make_folder(task.target)
            return write_image(photo, task.target, **settings)
        data, notes = encode_image(photo, **settings)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return notes


def output_format(target: str, photo: Photo) -> str:
    """Return the format that an output's suffix stands for; on a stream, that of the photo.

    Args:
        target: the output's path, or "-" for stdout.
        photo: what is written; of a format that is only read, such as GIF, it becomes a PNG.

    Raises:
        ImageWriteError: a file's suffix is of no format that is written.
    """
    suffix = Path(target).suffix.lower()
    if suffix not in WRITABLE_SUFFIXES and (target == STANDARD or is_stream(target)):
        return format_from_suffix(f"x{suffix_for(photo.format)}")
    return format_from_suffix(target)


def _make_folder(target: str) -> None:
    """Make the folder that an output goes to."""
    folder = Path(target).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageWriteError(
            f"the folder {folder} for the output could not be made: {error.strerror}"
        ) from error


def _may_block(path: str) -> bool:
    """Return whether a path is a pipe, a terminal or the like, which may have to be waited for."""
    return path == STANDARD or is_stream(path)
