"""Many pictures through one stylizer: read, stylize, write; a failure does not stop the others.

With several pictures the three overlap: threads read those that come next and write those that are
stylized, while this thread, and no other, has the network at work. Where pictures come from and go
to is for a subclass to say. Nothing here prints.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from fast_style.errors import describe
from fast_style.images import Photo, resize_long_side
from fast_style.images.decoding import open_picture
from fast_style.inference.stylizer import Stylizer
from fast_style.storage.hardware import core_limit, visible_cores

if TYPE_CHECKING:
    from concurrent.futures import Future

    from fast_style.optimization.polish import Polisher

STANDARD = "-"
"""Stands for stdin as an input, for stdout as an output."""

MEGAPIXELS_EACH = 16.0
"""How much may be in flight for each picture that may be. One that is larger than all goes alone.

A megapixel takes up to 10 MB meanwhile: as it is read, in Pillow's memory and in ours, as it is
written, in these two and encoded.
"""

_SPARE = 2  # in flight beside those that threads are at: one in the network, one ready for it


def default_workers(device: str) -> int:
    """Choose how many threads read and write.

    Args:
        device: where the network runs. On a GPU it leaves the cores to them; on the CPU it uses all
            of them itself, and a picture takes it longer than reading and writing that picture do.
    """
    cores = core_limit() or visible_cores()
    return max(1, min(8, cores // 2)) if device == "cpu" else min(16, cores)


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to stylize.

    Attributes:
        source: the input's path as the user knows it, or "-".
        target: the output's path, or "-".
    """

    source: str
    target: str

    @property
    def name(self) -> str:
        """What to call the input in messages."""
        return "standard input" if self.source == STANDARD else self.source


@dataclass(frozen=True, slots=True)
class Treatment:
    """How each picture is stylized and written; see the options of the command."""

    size: int | None = None
    strength: float = 1.0
    preserve_color: bool = False
    format: str | None = None
    quality: int | None = None
    stroke_size: float = 1.0
    polish: "Polisher | None" = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one picture.

    Attributes:
        job: its input and output.
        width: width of what was written, in pixels; 0 if it failed.
        height: height of what was written, in pixels; 0 if it failed.
        seconds: spent on reading, stylizing and writing it, without waiting for other pictures.
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


@dataclass(slots=True, eq=False)
class Passage:
    """A picture on its way, and what is known so far of its outcome.

    Attributes:
        job: its input and output.
        at_least: as for `read_image`.
        megapixels: what it counts for while it is in flight.
        alone: whether this thread takes all its steps, begun when nothing else is in flight.
        photo: the picture between two steps; None before, after, and once it has failed.
        task: the step that a thread has to do, or has done last.
    """

    job: Job
    at_least: int | None = None
    megapixels: float = 0.0
    alone: bool = False
    photo: Photo | None = None
    task: "Future[None] | None" = None
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: Exception | None = None

    @property
    def resting(self) -> bool:
        """Whether no thread has anything to do with it."""
        return self.task is None or self.task.done()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Take the time of a step, and take down what goes wrong in it."""
        start = time.perf_counter()
        try:
            yield
        except BrokenPipeError:
            raise  # nobody takes the picture from stdout any more
        except Exception as error:  # decoders of hostile files raise anything
            self.error, self.photo = error, None
        finally:
            self.seconds += time.perf_counter() - start

    def outcome(self) -> Outcome:
        """Tell what became of it, once it has been through."""
        if self.task is not None:
            self.task.result()  # raises what is more than a failure of this picture
        if self.error is not None:
            return Outcome(self.job, seconds=self.seconds, error=self.error)
        return Outcome(self.job, self.width, self.height, self.seconds, self.notes)


class Pipeline(ABC):
    """Stylizes pictures with one stylizer; subclasses read and write them."""

    def __init__(
        self, stylizer: Stylizer, treatment: Treatment, *, workers: int | None = None
    ) -> None:
        """Take the stylizer, and what to do with each picture.

        Args:
            stylizer: is called only from the thread that goes through `run`.
            treatment: what to do.
            workers: how many threads read and write; 0 leaves all to one, None chooses.
        """
        self.stylizer, self.treatment = stylizer, treatment
        self.workers = default_workers(stylizer.engine.device) if workers is None else workers

    def run(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Stylize pictures, telling in their order what became of each, as soon as that is known.

        An iteration that is not gone through is to be closed, or the threads would go on: it waits
        for the files that are being written, and leaves what has not been begun.
        """
        if len(jobs) > 1 and self.workers > 0:
            yield from self._overlapping(jobs)
            return
        for job in jobs:
            # Its header says nothing that is of use, unless it is made smaller.
            passage = Passage(job) if self.treatment.size is None else self._prepared(job)
            self._read(passage)
            self._stylize(passage)
            self._write(passage)
            yield passage.outcome()

    def _overlapping(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        # Imported here, for a single picture goes without.
        from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

        coming = map(self._prepared, jobs)
        ahead = next(coming, None)
        reading: deque[Passage] = deque()  # from the start of that until the network takes it
        writing: deque[Passage] = deque()  # from there until its outcome is told
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="fast-style")

        def start(step: Callable[[Passage], None], passage: Passage) -> None:
            if passage.alone:
                step(passage)
            else:
                passage.task = pool.submit(step, passage)

        try:
            while ahead or reading or writing:
                while ahead and self._has_room(ahead, [*reading, *writing]):
                    reading.append(ahead)
                    start(self._read, ahead)
                    ahead = next(coming, None)
                if writing and writing[0].resting:
                    yield writing.popleft().outcome()
                elif reading and reading[0].resting:
                    passage = reading.popleft()
                    self._stylize(passage)
                    writing.append(passage)
                    if passage.photo is not None:
                        start(self._write, passage)
                else:
                    # What is written before its turn to be told of may make room.
                    awaited = [*writing, *list(reading)[:1]]
                    tasks = [passage.task for passage in awaited if not passage.resting]
                    wait([task for task in tasks if task], return_when=FIRST_COMPLETED)
        finally:
            # Also at Ctrl-C: a thread in the middle of a file is waited for, the rest is dropped.
            pool.shutdown(wait=True, cancel_futures=True)

    def _has_room(self, ahead: Passage, begun: Sequence[Passage]) -> bool:
        """Tell whether a picture may be read already, with these in flight."""
        # Those that are written, or have failed, only wait for their turn to be told of.
        flying = [one for one in begun if one.photo is not None or not one.resting]
        if ahead.alone:
            return not begun  # all told of: this thread may wait long for it
        if not flying:
            return True
        most = self.workers + _SPARE
        megapixels = sum(one.megapixels for one in flying) + ahead.megapixels
        return len(flying) < most and megapixels <= most * MEGAPIXELS_EACH

    @abstractmethod
    def _prepared(self, job: Job) -> Passage:
        """Find out what it takes to read a picture; `_looked_at` does from its header."""

    @abstractmethod
    def _loaded(self, passage: Passage) -> Photo:
        """Read a picture; runs in a thread unless it is `alone`."""

    @abstractmethod
    def _written(self, photo: Photo, job: Job) -> tuple[str, ...]:
        """Write a picture and give the notes on it; runs in a thread unless it is `alone`."""

    def _look_at_file(self, passage: Passage) -> None:
        """Learn from the header of a picture that is a file here."""
        try:
            with open(passage.job.source, "rb") as stream:
                self._looked_at(passage, stream)
        except (OSError, ValueError):  # reading it will say so
            pass

    def _looked_at(self, passage: Passage, stream: BinaryIO) -> None:
        """Learn from a picture's header how small it may be decoded and what it counts for."""
        try:
            image = open_picture(stream, passage.job.name, self.stylizer.max_megapixels)
        except Exception:  # whatever it is, reading it will say so
            return
        reduction, size = 1, self.treatment.size
        if size is not None and image.format == "JPEG":
            longest = max(image.size)
            reduction = next((by for by in (8, 4, 2) if longest >= by * size), 1)
        if reduction > 1:
            # A bound on both sides, and it is the long one that must keep `size` pixels.
            passage.at_least = max(1, min(image.size) // reduction)
        passage.megapixels = image.width * image.height / reduction**2 / 1e6

    def _read(self, passage: Passage) -> None:
        size = self.treatment.size
        with passage.step():
            photo = self._loaded(passage)
            # Here already, so that no more than is needed waits for the network.
            pixels = photo.pixels if size is None else resize_long_side(photo.pixels, size)
            if pixels is not photo.pixels:
                photo = photo.with_pixels(pixels)
            passage.photo, passage.megapixels = photo, photo.width * photo.height / 1e6

    def _stylize(self, passage: Passage) -> None:
        if passage.photo is None:
            return
        with passage.step():
            treatment = self.treatment
            if treatment.polish is not None and treatment.strength > 0:
                painted = self.stylizer.paint(
                    passage.photo, size=treatment.size, stroke_size=treatment.stroke_size
                )
                passage.photo = treatment.polish(painted).finish(
                    strength=treatment.strength, preserve_color=treatment.preserve_color
                )
                return
            passage.photo = self.stylizer.stylize_photo(
                passage.photo,
                size=treatment.size,
                strength=treatment.strength,
                preserve_color=treatment.preserve_color,
                stroke_size=treatment.stroke_size,
            )

    def _write(self, passage: Passage) -> None:
        photo = passage.photo
        if photo is None:
            return
        with passage.step():
            passage.notes = photo.notes + self._written(photo, passage.job)
            passage.width, passage.height = photo.width, photo.height
        passage.photo = None
