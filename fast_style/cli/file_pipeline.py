"""The pictures of `stylize`: files, or one on stdin and stdout, through the pipeline."""

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
from fast_style.inference.pipeline import (
    STANDARD,
    Job,
    Outcome,
    Passage,
    Pipeline,
    Treatment,
    default_workers,
)

__all__ = ["Batch", "Outcome", "Treatment", "default_workers"]


class Batch(Pipeline):
    """Stylizes the pictures of a plan with one stylizer."""

    def _prepared(self, job: Job) -> Passage:
        passage = Passage(job)
        once_only = _may_block(job.source)
        # A thread that waits for the other end of a pipe could not be stopped.
        passage.alone = once_only or _may_block(job.target)
        if not once_only:
            self._look_at_file(passage)
        return passage

    def _loaded(self, passage: Passage) -> Photo:
        job, most = passage.job, self.stylizer.max_megapixels
        if job.source == STANDARD:
            return read_image(sys.stdin.buffer, max_megapixels=most, name=job.name)
        return read_image(job.source, max_megapixels=most, at_least=passage.at_least)

    def _written(self, photo: Photo, job: Job) -> tuple[str, ...]:
        quality = self.treatment.quality
        if job.target == STANDARD:
            # What is only read, such as GIF, becomes PNG.
            format = self.treatment.format or format_from_suffix(f"x{suffix_for(photo.format)}")
            data, notes = encode_image(photo, format=format, quality=quality)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return notes
        folder = Path(job.target).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageWriteError(
                f"the folder {folder} for the output could not be made: {error.strerror}"
            ) from error
        return write_image(photo, job.target, format=self.treatment.format, quality=quality)


def _may_block(path: str) -> bool:
    """Tell whether a path leads to a pipe, a terminal or the like, where one waits for others."""
    if path == STANDARD:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # not there, as an output is not; or reading it will say more
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
