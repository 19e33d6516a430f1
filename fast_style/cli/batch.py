"""The loop of `stylize`: read, stylize, write, one picture after the other.

A picture that fails does not stop the others. Reading and writing are methods of their own, and
nothing here prints, so that they can go into threads beside the network.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fast_style.cli.exits import describe
from fast_style.cli.plan import STANDARD, Job
from fast_style.errors import ImageWriteError
from fast_style.images import (
    Photo,
    encode_image,
    format_from_suffix,
    read_image,
    suffix_for,
    write_image,
)
from fast_style.stylizer import Stylizer


@dataclass(frozen=True, slots=True)
class Treatment:
    """How each picture is stylized and written; see the options of the command."""

    size: int | None = None
    strength: float = 1.0
    preserve_color: bool = False
    format: str | None = None
    quality: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one picture.

    Attributes:
        job: its input and output.
        width: width of what was written, in pixels; 0 if it failed.
        height: height of what was written, in pixels; 0 if it failed.
        seconds: from opening the input to having written the output.
        notes: what the user should be told.
        error: what went wrong, or None.
    """

    job: Job
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: Exception | None = None

    @property
    def sentence(self) -> str:
        """What went wrong, in a sentence that names the input; empty if nothing did."""
        if self.error is None:
            return ""
        text = describe(self.error)
        return text if self.job.name in text else f"{self.job.name}: {text}"


class Batch:
    """Stylizes the pictures of a plan with one stylizer."""

    def __init__(self, stylizer: Stylizer, treatment: Treatment) -> None:
        """Take the stylizer, and what to do with each picture."""
        self.stylizer, self.treatment = stylizer, treatment

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Stylize one picture after the other, telling of each as soon as it is done."""
        for job in jobs:
            yield self._one(job)

    def _one(self, job: Job) -> Outcome:
        start = time.perf_counter()
        try:
            photo = self._read(job)
            stylized = self.stylizer.stylize_photo(
                photo,
                size=self.treatment.size,
                strength=self.treatment.strength,
                preserve_color=self.treatment.preserve_color,
            )
            notes = photo.notes + self._write(stylized, job)
        except BrokenPipeError:
            raise  # nobody takes the picture from stdout any more
        except Exception as error:  # decoders of hostile files raise anything
            return Outcome(job, seconds=time.perf_counter() - start, error=error)
        return Outcome(job, stylized.width, stylized.height, time.perf_counter() - start, notes)

    def _read(self, job: Job) -> Photo:
        limit = self.stylizer.max_megapixels
        if job.source == STANDARD:
            return read_image(sys.stdin.buffer, max_megapixels=limit, name=job.name)
        return read_image(job.source, max_megapixels=limit)

    def _write(self, photo: Photo, job: Job) -> tuple[str, ...]:
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
