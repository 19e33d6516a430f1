"""The pictures of `stylize`: files, or one picture on stdin and stdout, through the pipeline."""

import os
import stat
import sys
from pathlib import Path

from fast_style.errors import ImageWriteError
from fast_style.images import (
    Photo,
    encode_image,
    format_from_suffix,
    read_image,
    suffix_for,
    write_image,
)
from fast_style.inference.pipeline import STANDARD, PictureInFlight, PictureTask, Pipeline

__all__ = ["FilePipeline"]


class FilePipeline(Pipeline):
    """Stylizes the pictures of an output plan with one stylizer."""

    def _prepare(self, task: PictureTask) -> PictureInFlight:
        picture = PictureInFlight(task)
        reads_once = _may_block(task.source)
        # A thread that waits for the other end of a pipe cannot be stopped.
        picture.alone = reads_once or _may_block(task.target)
        if not reads_once:
            self._inspect_file(picture)
        return picture

    def _load(self, picture: PictureInFlight) -> Photo:
        task, limit = picture.task, self.stylizer.max_megapixels
        if task.source == STANDARD:
            return read_image(sys.stdin.buffer, max_megapixels=limit, name=task.name)
        return read_image(task.source, max_megapixels=limit, at_least=picture.at_least)

    def _save(self, photo: Photo, task: PictureTask) -> tuple[str, ...]:
        if task.target == STANDARD:
            # A format that is only read, such as GIF, becomes PNG.
            format = self.format or format_from_suffix(f"x{suffix_for(photo.format)}")
            data, notes = encode_image(photo, format=format, quality=self.quality)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return notes
        folder = Path(task.target).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageWriteError(
                f"the folder {folder} for the output could not be made: {error.strerror}"
            ) from error
        return write_image(photo, task.target, format=self.format, quality=self.quality)


def _may_block(path: str) -> bool:
    """Return whether a path is a pipe, a terminal or the like, which may have to be waited for."""
    if path == STANDARD:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # missing, as an output is; or reading it will raise the same
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
