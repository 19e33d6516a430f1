"""The worker of a bulk run: one process that stylizes pictures, with Ray or without."""

import io
import os
import stat
import sys
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from fast_style._version import __version__
from fast_style.bulk.manifest import Manifest, ManifestPart, open_output
from fast_style.bulk.output_names import picture_id
from fast_style.errors import (
    BulkError,
    FastStyleError,
    ImageWriteError,
    MissingExtraError,
    UnreadableImageError,
    VideoError,
)
from fast_style.images import Photo, encode_image, format_from_suffix, read_image
from fast_style.images.folder import is_video_name
from fast_style.images.provenance import Provenance
from fast_style.inference.guide_files import GuideFiles
from fast_style.inference.pipeline import (
    MEGAPIXELS_EACH,
    PictureInFlight,
    PictureResult,
    PictureTask,
    Pipeline,
)
from fast_style.inference.stylizer import Stylizer
from fast_style.inference.stylizer_cache import StylizerCache
from fast_style.models.model_file import model_from_bytes
from fast_style.options import EngineOptions, OutputOptions, PipelineOptions, StyleOptions
from fast_style.storage.hardware import installed
from fast_style.storage.object_store import is_url, read_url, short_reason

_MAX_STYLES = 2
"""Styles that a worker keeps loaded; the pictures come in the order of their styles."""

_MAX_DEATHS = 2
"""A picture over which more workers than this have died is given up."""

_core_locks: list[int] = []  # files that stay locked while this process lives


class BulkPicture(NamedTuple):
    """One picture to stylize.

    Attributes:
        source: its path or URL.
        target: its name in the output.
        style: the style's label in the manifest.
    """

    source: str
    target: str
    style: str


class BulkResult(NamedTuple):
    """The result for one picture.

    Attributes:
        source: its path or URL.
        style: the style's label in the manifest.
        megapixels: size of the written picture; 0 if it failed.
        error: the error as a sentence; empty if there was none.
    """

    source: str
    style: str
    megapixels: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkWorkerConfig:
    """All that a worker needs to know; it is sent to other machines.

    Attributes:
        output: a folder or URL.
        run: the run's name.
        styles: for each style's label, the contents of its model files and their shares.
        provenances: for each style's label, how its pictures are made.
        masks: as in `BulkConfig`, absolute paths.
        colors_of: as in `BulkConfig`, an absolute path.
        style_options: how pictures are stylized.
        output_options: how they are written.
        engine_options: what runs the network.
        pipeline_options: limits and threads of the process.
        cores: number of cores to claim; 0 uses all.
        version: version of this package where the run was started.
    """

    output: str
    run: str
    styles: Mapping[str, Sequence[tuple[bytes, float]]]
    style_options: StyleOptions
    output_options: OutputOptions
    engine_options: EngineOptions
    pipeline_options: PipelineOptions
    provenances: Mapping[str, Provenance] = field(default_factory=dict)
    masks: tuple[str, ...] = ()
    colors_of: str | None = None
    cores: int = 0
    version: str = __version__


class BulkWorker:
    """Stylizes blocks of pictures and records each in the manifest; safe to use from threads.

    Attributes:
        config: what to do.
        store: the output.
        manifest: the output's manifest.
        part: this worker's part of the manifest.
        guides: the masks of the pictures.
    """

    def __init__(self, config: BulkWorkerConfig) -> None:
        """Open the output; a style is loaded when its first picture comes.

        Raises:
            BulkError: this machine has another version of the package.
        """
        if config.version != __version__:
            raise BulkError(
                f"fast-style is {config.version} where the command runs and {__version__} on a "
                "machine of the cluster: install the same version on all"
            )
        claim_cores(config.cores)
        self.config = config
        self.store = open_output(config.output)
        self.manifest = Manifest(self.store)
        self.part = ManifestPart(self.store, config.run)
        self.guides = GuideFiles(config.masks, config.colors_of)
        self._stylizers = StylizerCache(_MAX_STYLES)

    def run(self, pictures: Iterable[BulkPicture]) -> Generator[BulkResult, None, None]:
        """Stylize pictures, record each in the manifest, and yield the results.

        Raises:
            FastStyleError: a style cannot be loaded here.
            Exception: the manifest cannot be written.
        """
        for style, group in groupby(pictures, lambda picture: picture.style):
            pipeline = _BulkPipeline(self, style)
            tasks = [
                PictureTask(picture.source, picture.target, is_video_name(picture.target))
                for picture in group
            ]
            with closing(pipeline.run(tasks)) as results:
                for result in results:
                    yield self._record(result, style)
        self.part.flush()

    def run_guarded(self, block: str, pictures: Sequence[BulkPicture]) -> list[BulkResult]:
        """Process a block that is sent again if the worker that had it died.

        The second time, its pictures are processed one by one, see `run_singly`.

        Args:
            block: name of the block.
            pictures: its pictures.
        """
        if not self.manifest.mark_begun(block):
            return list(self.run(pictures))
        return list(self.run_singly(pictures))

    def run_singly(self, pictures: Iterable[BulkPicture]) -> Generator[BulkResult, None, None]:
        """Process pictures one by one, because a worker died with one of them in flight.

        Pictures that this run has recorded are not done again, and a picture over which workers die
        repeatedly is recorded as failed.
        """
        recorded = self.manifest.records_of_run(self.config.run)
        for picture in pictures:
            identity = picture_id(picture.source, picture.style)
            if identity in recorded:
                yield _result_from_record(recorded[identity])
            elif self.manifest.mark_begun(identity.hex()) < _MAX_DEATHS:
                yield from self.run([picture])
            else:
                yield self._give_up(picture)

    def stylizer(self, style: str) -> Stylizer:
        """Return the stylizer of a style's label, loaded on first use."""
        return self._stylizers.get_or_load(style, lambda: self._load(style))

    def close(self) -> None:
        """Close this worker's part of the manifest."""
        self.part.close()

    def _load(self, style: str) -> Stylizer:
        config = self.config
        parts = [(model_from_bytes(data), share) for data, share in config.styles[style]]
        limit = config.pipeline_options.max_megapixels
        return Stylizer.from_options(parts, config.engine_options, max_megapixels=limit)

    def _record(self, result: PictureResult, style: str) -> BulkResult:
        source, error = result.task.source, result.error_message
        if error:
            self.part.add({"path": source, "style": style, "error": error})
        return BulkResult(source, style, result.width * result.height / 1e6, error)

    def _give_up(self, picture: BulkPicture) -> BulkResult:
        sentence = (
            f"{picture.source}: the process that worked on it died, {_MAX_DEATHS + 1} times: look "
            "at the file, and at the memory of the machine"
        )
        self.part.add({"path": picture.source, "style": picture.style, "error": sentence})
        self.part.flush()
        return BulkResult(picture.source, picture.style, 0.0, sentence)


class _BulkPipeline(Pipeline):
    """Reads paths and URLs, writes into the output, and records each written picture at once."""

    def __init__(self, worker: BulkWorker, style: str) -> None:
        config = worker.config
        super().__init__(
            worker.stylizer(style),
            config.style_options,
            config.output_options,
            workers=config.pipeline_options.workers,
            provenance=config.provenances.get(style),
            guides=worker.guides,
        )
        self._worker, self._style = worker, style
        self._sizes: dict[PictureTask, int] = {}  # of files that are read and not yet written

    def _prepare(self, task: PictureTask) -> PictureInFlight:
        picture = PictureInFlight(task)
        if task.moving:
            picture.alone = True  # its frames have threads of their own
        elif is_url(task.source):
            # Reading its header would take another request: count it as an average picture.
            picture.megapixels = MEGAPIXELS_EACH
        elif os.path.isfile(task.source):
            self._inspect_file(picture)
        return picture

    def _read(self, picture: PictureInFlight) -> None:
        if not picture.task.moving:
            super()._read(picture)

    def _stylize(self, picture: PictureInFlight) -> None:
        if not picture.task.moving:
            super()._stylize(picture)
            return
        with picture.step(), tempfile.TemporaryDirectory(prefix="fast-style-video-") as folder:
            self._stylize_video(picture, Path(folder))

    def _stylize_video(self, picture: PictureInFlight, folder: Path) -> None:
        """Stylize a video by files of this machine, and put it into the output."""
        for module, package in (("av", "av"), ("cv2", "opencv-python-headless")):
            if not installed(module):
                raise MissingExtraError("bulk --videos", package, "video")
        from fast_style.video.api import stylize_video

        task, store = picture.task, self._worker.store
        source, target = task.source, folder / f"stylized{Path(task.target).suffix}"
        if is_url(source):
            source = str(folder / f"source{Path(task.target).suffix}")
            Path(source).write_bytes(read_url(task.source, extra="bulk"))
        guides = self._guides.read(task.source)
        result = stylize_video(
            source,
            target,
            self.stylizer,
            options=self.options,
            mask=list(guides.masks),
            colors_of=guides.colors,
        )
        if result.damage is not None:
            raise VideoError(f"{task.source}: {result.damage}")
        with open(target, "rb") as stream:
            store.write_stream(task.target, stream)
        picture.width, picture.height, picture.notes = result.width, result.height, result.notes
        self._worker.part.add(
            {
                "path": task.source,
                "style": self._style,
                "target": task.target,
                "width": result.width,
                "height": result.height,
                "bytes": target.stat().st_size,
            }
        )

    def _load(self, picture: PictureInFlight) -> Photo:
        source, limit = picture.task.source, self.stylizer.max_megapixels
        if not is_url(source):
            # Reading a pipe could wait for ever.
            if os.path.exists(source) and stat.S_ISFIFO(os.stat(source).st_mode):
                raise UnreadableImageError(f"{source} is a pipe: give the path of a file")
            return read_image(source, max_megapixels=limit, at_least=picture.at_least)
        try:
            data = read_url(source, extra="bulk")
        except FastStyleError:
            raise
        except FileNotFoundError:
            raise UnreadableImageError(f"{source} is not there: check the URL") from None
        except Exception as error:  # remote file systems have exceptions of their own
            raise UnreadableImageError(
                f"{source} cannot be read ({short_reason(error)}): try again with --retry-failed"
            ) from error
        self._sizes[picture.task] = len(data)
        self._inspect_header(picture, io.BytesIO(data))
        return read_image(data, max_megapixels=limit, at_least=picture.at_least, name=source)

    def _save(self, photo: Photo, task: PictureTask) -> tuple[str, ...]:
        store = self._worker.store
        data, notes = encode_image(
            photo,
            format=format_from_suffix(task.target),
            quality=self.quality,
            history=self._history(task.source, self._sizes.pop(task, None)),
        )
        try:
            store.write(task.target, data)
        except Exception as error:
            raise ImageWriteError(
                f"{store.url(task.target)} cannot be written ({short_reason(error)}): try again "
                "with --retry-failed"
            ) from error
        self._worker.part.add(
            {
                "path": task.source,
                "style": self._style,
                "target": task.target,
                "width": photo.width,
                "height": photo.height,
                "bytes": len(data),
            }
        )
        return notes


def claim_cores(count: int) -> tuple[int, ...]:
    """Bind this process to cores that no other process has claimed; Linux only.

    Engines use all cores that they see, and OpenVINO binds its threads to the first of them, so
    that ten processes of two threads each would share two cores. A process that is bound to some
    cores sees no others, whichever engine it uses.

    Args:
        count: number of cores; 0 claims none.

    Returns:
        The cores; empty if the process was not bound, because too few are free or the system
        cannot.
    """
    if sys.platform != "linux" or count < 1:
        return ()
    import fcntl

    visible = sorted(os.sched_getaffinity(0))
    if count >= len(visible):
        return ()
    folder = Path(tempfile.gettempdir(), f"fast-style-cores-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    for first in range(0, len(visible) - count + 1, count):
        cores = tuple(visible[first : first + count])
        # The lock is released when the process ends, however it ends.
        file = os.open(folder / f"{cores[0]}-{count}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        _core_locks.append(file)
        # Bind all existing threads; new threads inherit the binding.
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError):  # it has just ended
                os.sched_setaffinity(int(thread), cores)
        return cores
    return ()


def _result_from_record(record: Mapping[str, Any]) -> BulkResult:
    megapixels = record.get("width", 0) * record.get("height", 0) / 1e6
    return BulkResult(record["path"], record["style"], megapixels, record.get("error", ""))
