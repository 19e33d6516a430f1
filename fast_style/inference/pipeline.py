"""Read, stylize and write many pictures with one stylizer; a failure does not stop the others.

With several pictures the three steps overlap: threads read the next pictures and write the finished
ones while the calling thread, and no other, runs the network. Subclasses of `Pipeline` read and
write. Nothing here prints.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from fast_style.errors import ImageWriteError, UsageError, describe
from fast_style.images import Photo, format_from_suffix
from fast_style.images.decoding import open_picture
from fast_style.images.provenance import Provenance
from fast_style.inference.guide_files import GuideFiles
from fast_style.inference.guides import Guides, check_mask_count
from fast_style.inference.stylizer import Painted, Stylizer
from fast_style.options import OutputOptions, StyleOptions
from fast_style.storage.hardware import usable_cores

if TYPE_CHECKING:
    from concurrent.futures import Future

Polish = Callable[[Painted], Painted]
"""A step between the network and the finished picture, such as `optimization.polish.Polisher`."""

STANDARD = "-"
"""Stands for stdin as an input and for stdout as an output."""

MEGAPIXELS_EACH = 16.0
"""Limit of the megapixels in flight, for each picture that may be in flight. A picture that exceeds
the total is processed alone.

A megapixel takes up to 10 MB: as decoded by Pillow, as our array, and as the encoded file."""

MEGAPIXELS_ON_CPU = 96.0
"""The same limit where the network runs on a CPU, whatever the number of threads: 1 GB."""

_SPARE = 2  # pictures in flight beside those in threads: one in the network, one ready for it


def default_workers(device: str) -> int:
    """Choose the number of threads that read and write.

    Args:
        device: where the network runs. On a GPU it leaves all cores to the threads; on the CPU it
            uses them itself, and takes longer for a picture than reading and writing do.
    """
    cores = usable_cores()
    return max(1, min(8, cores // 2)) if device == "cpu" else min(16, cores)


def pillow_format(name: str | None) -> str | None:
    """Return Pillow's name of a format such as `jpg`; None for None.

    Args:
        name: as in `OutputOptions.format`.

    Raises:
        UsageError: the installed Pillow cannot write such files.
    """
    if name is None:
        return None
    try:
        return format_from_suffix(f"picture.{name}")
    except ImageWriteError:
        raise UsageError(f"this installation of Pillow cannot write {name.upper()} files") from None


def writes_note(output: OutputOptions) -> bool:
    """Return whether outputs say how they were made."""
    return output.note and output.strip != "all"


@dataclass(frozen=True, slots=True)
class PictureTask:
    """One picture to stylize.

    Attributes:
        source: the input's path or URL as the user wrote it, or "-" for stdin.
        target: the output's path, or "-" for stdout.
        moving: whether all frames are stylized, those of a video or an animated picture.
    """

    source: str
    target: str
    moving: bool = False

    @property
    def name(self) -> str:
        """Name of the input in messages."""
        return "standard input" if self.source == STANDARD else self.source


@dataclass(frozen=True, slots=True)
class PictureResult:
    """The result for one picture, written or failed.

    Attributes:
        task: its input and output.
        width: width of the written picture in pixels; 0 if it failed.
        height: height of the written picture in pixels; 0 if it failed.
        seconds: time to read, stylize and write it, without waiting for other pictures.
        notes: messages for the user.
        error: the exception, or None.
    """

    task: PictureTask
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: Exception | None = None

    @property
    def error_message(self) -> str:
        """The error as a sentence that names the input; empty if there is none."""
        if self.error is None:
            return ""
        text = describe(self.error)
        return text if self.task.name in text else f"{self.task.name}: {text}"


@dataclass(slots=True, eq=False)
class PictureInFlight:
    """A picture on its way through the pipeline.

    Attributes:
        task: its input and output.
        at_least: as for `read_image`.
        megapixels: what it counts towards the limit while it is in flight.
        alone: whether the calling thread reads and writes it, with nothing else in flight.
        guides: its masks, once it is read.
        photo: the picture between two steps; None before the first, after the last, and once a step
            has failed.
        step_future: the step that a thread is doing, or has done last.
        width: width of the written picture in pixels.
        height: height of the written picture in pixels.
        seconds: time that its steps have taken so far.
        notes: messages for the user.
        error: the exception that a step raised.
    """

    task: PictureTask
    at_least: int | None = None
    megapixels: float = 0.0
    alone: bool = False
    guides: Guides | None = None
    photo: Photo | None = None
    step_future: "Future[None] | None" = None
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: Exception | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no thread is working on it."""
        return self.step_future is None or self.step_future.done()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Measure the time of a step, and store the exception that it raises."""
        start = time.perf_counter()
        try:
            yield
        except BrokenPipeError:
            raise  # nobody reads stdout any more
        except Exception as error:  # decoders of hostile files raise anything
            self.error, self.photo = error, None
        finally:
            self.seconds += time.perf_counter() - start

    def result(self) -> PictureResult:
        """Return its result after its last step.

        Raises:
            BaseException: what a thread raised that is more than a failure of this picture.
        """
        if self.step_future is not None:
            self.step_future.result()
        if self.error is not None:
            return PictureResult(self.task, seconds=self.seconds, error=self.error)
        return PictureResult(self.task, self.width, self.height, self.seconds, self.notes)


class Pipeline(ABC):
    """Stylizes pictures with one stylizer; subclasses read and write them.

    Attributes:
        stylizer: the style.
        options: how pictures are stylized.
        format: Pillow's name of the output format; None for that of each input.
        quality: of lossy formats; None for the format's default.
        strip: metadata that is left out.
        provenance: how the pictures are made, for the note in each; None writes none.
        workers: number of threads.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        options: StyleOptions | None = None,
        output: OutputOptions | None = None,
        *,
        workers: int | None = None,
        polish: Polish | None = None,
        guides: GuideFiles | None = None,
        provenance: Provenance | None = None,
        variants: int = 1,
    ) -> None:
        """Store what to do with each picture.

        Args:
            stylizer: the style; used only by the thread that iterates over `run`.
            options: how to stylize; the defaults if None.
            output: what to write; the defaults if None.
            workers: threads that read and write; 0 does one picture after the other, None chooses.
            polish: refines the network's picture before its strength and colours are applied.
            guides: the masks of each picture; none if None.
            provenance: how the pictures are made; left out if `output` asks for no note or no
                metadata.
            variants: above 1, a sheet of that many variants is made of each picture.

        Raises:
            UsageError: the installed Pillow cannot write the format, or the number of masks does
                not fit the styles.
        """
        self._guides = guides or GuideFiles()
        check_mask_count(self._guides.count, stylizer.styles)
        output = output or OutputOptions()
        self.stylizer, self.options = stylizer, options or StyleOptions()
        self.format, self.quality = pillow_format(output.format), output.quality
        self.strip = output.strip
        self.provenance = provenance if writes_note(output) else None
        self.workers = default_workers(stylizer.engine.device) if workers is None else workers
        self._polish, self._variants = polish, variants

    def run(self, tasks: Sequence[PictureTask]) -> Generator[PictureResult, None, None]:
        """Stylize pictures, and yield the result of each as soon as it is known, in their order.

        Close the generator if you leave it early, or its threads keep running: closing waits for
        the files that are being written and drops the other pictures.
        """
        if len(tasks) > 1 and self.workers > 0:
            yield from self._run_overlapping(tasks)
            return
        for task in tasks:
            # The header is only of use if the picture is made smaller.
            picture = PictureInFlight(task) if self.options.size is None else self._prepare(task)
            self._read(picture)
            self._stylize(picture)
            self._write(picture)
            yield picture.result()

    def _run_overlapping(self, tasks: Sequence[PictureTask]) -> Iterator[PictureResult]:
        # Imported here, since a single picture needs no threads.
        from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

        coming = map(self._prepare, tasks)
        ahead = next(coming, None)
        reading: deque[PictureInFlight] = deque()  # until the network has them
        writing: deque[PictureInFlight] = deque()  # from then on, until their result is yielded
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="fast-style")

        def start(step: Callable[[PictureInFlight], None], picture: PictureInFlight) -> None:
            if picture.alone:
                step(picture)
            else:
                picture.step_future = pool.submit(step, picture)

        try:
            while ahead or reading or writing:
                # 1) Start to read as many pictures as may be in flight.
                while ahead and self._has_room(ahead, [*reading, *writing]):
                    reading.append(ahead)
                    start(self._read, ahead)
                    ahead = next(coming, None)
                if writing and writing[0].is_idle:
                    # 2) The oldest picture is written.
                    yield writing.popleft().result()
                elif reading and reading[0].is_idle:
                    # 3) The next picture is read: stylize it, and start to write it.
                    picture = reading.popleft()
                    self._stylize(picture)
                    writing.append(picture)
                    if picture.photo is not None:
                        start(self._write, picture)
                else:
                    # 4) Wait for a thread. Any picture that is written may make room.
                    awaited = [*writing, *list(reading)[:1]]
                    futures = [one.step_future for one in awaited if not one.is_idle]
                    wait([one for one in futures if one], return_when=FIRST_COMPLETED)
        finally:
            # Also at Ctrl-C: wait for threads in the middle of a file, drop the rest.
            pool.shutdown(wait=True, cancel_futures=True)

    def _has_room(self, ahead: PictureInFlight, begun: Sequence[PictureInFlight]) -> bool:
        """Return whether a picture may be read while these are in flight."""
        # Pictures that are written or have failed take no memory any more.
        in_flight = [one for one in begun if one.photo is not None or not one.is_idle]
        if ahead.alone:
            return not begun  # also after all results: this thread may wait long for its input
        if not in_flight:
            return True
        limit = self.workers + _SPARE
        megapixels = sum(one.megapixels for one in in_flight) + ahead.megapixels
        most = limit * MEGAPIXELS_EACH
        if self.stylizer.engine.device == "cpu":
            most = min(most, MEGAPIXELS_ON_CPU)
        return len(in_flight) < limit and megapixels <= most

    @abstractmethod
    def _prepare(self, task: PictureTask) -> PictureInFlight:
        """Find out what reading a picture takes, if possible from its header."""

    @abstractmethod
    def _load(self, picture: PictureInFlight) -> Photo:
        """Read a picture; called in a thread unless it is `alone`."""

    @abstractmethod
    def _save(self, photo: Photo, task: PictureTask) -> tuple[str, ...]:
        """Write a picture and return notes on it; called in a thread unless it is `alone`."""

    def _history(self, source: str, size: int | None = None) -> str | None:
        """Return the note for a picture, or None; the arguments are those of `of_source`."""
        return (
            None if self.provenance is None else self.provenance.of_source(source, size).to_text()
        )

    def _inspect_file(self, picture: PictureInFlight) -> None:
        """Inspect the header of a picture that is a local file."""
        try:
            with open(picture.task.source, "rb") as stream:
                self._inspect_header(picture, stream)
        except (OSError, ValueError):  # reading it will raise the same
            pass

    def _inspect_header(self, picture: PictureInFlight, stream: BinaryIO) -> None:
        """Find out from a header how small a picture may be decoded, and its megapixels."""
        try:
            image = open_picture(stream, picture.task.name, self.stylizer.max_megapixels)
        except Exception:  # reading it will raise the same
            return
        reduction, size = 1, self.options.size
        if size is not None and image.format == "JPEG":
            longest = max(image.size)
            reduction = next((by for by in (8, 4, 2) if longest >= by * size), 1)
        if reduction > 1:
            # It bounds both sides, and only the long one must keep `size` pixels.
            picture.at_least = max(1, min(image.size) // reduction)
        picture.megapixels = image.width * image.height / reduction**2 / 1e6

    def _read(self, picture: PictureInFlight) -> None:
        size = self.options.size
        with picture.step():
            photo = self._load(picture)
            if size is not None:
                # Resized here, so that no more pixels than needed wait for the network.
                photo = photo.resize_long_side(size)
            picture.guides = self._guides.read(picture.task.source)
            picture.photo, picture.megapixels = photo, photo.width * photo.height / 1e6

    def _stylize(self, picture: PictureInFlight) -> None:
        if picture.photo is None:
            return
        with picture.step():
            if self._variants > 1:
                from fast_style.inference.variants import variant_sheet  # it draws

                picture.photo = variant_sheet(
                    self.stylizer,
                    picture.photo,
                    self.options,
                    picture.guides,
                    count=self._variants,
                )
            elif self._polish is None or self.options.strengths == (0, 0):
                picture.photo = self.stylizer.stylize_photo(
                    picture.photo, self.options, picture.guides
                )
            else:
                painted = self.stylizer.paint(picture.photo, self.options, picture.guides)
                picture.photo = self._polish(painted).finish(self.options)

    def _write(self, picture: PictureInFlight) -> None:
        photo = picture.photo
        if photo is None:
            return
        with picture.step():
            kept = photo.strip_metadata(self.strip)
            picture.notes = photo.notes + self._save(kept, picture.task)
            picture.width, picture.height = photo.width, photo.height
        picture.photo = None
