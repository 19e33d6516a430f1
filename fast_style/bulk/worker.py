"""What stylizes: one process's part of a bulk run, the same with Ray and without."""

import io
import os
import stat
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from fast_style._version import __version__
from fast_style.bulk.cores import claim_cores
from fast_style.bulk.manifest import Manifest, Part, open_output
from fast_style.bulk.output_names import picture_id
from fast_style.errors import (
    BulkError,
    FastStyleError,
    ImageWriteError,
    UnreadableImageError,
)
from fast_style.images import Photo, encode_image, format_from_suffix, read_image
from fast_style.inference.pipeline import (
    MEGAPIXELS_EACH,
    Job,
    Outcome,
    Passage,
    Pipeline,
    Treatment,
)
from fast_style.inference.stylizer import Stylizer, Tile
from fast_style.inference.stylizer_cache import StylizerCache
from fast_style.models.model_file import model_from_bytes
from fast_style.storage.object_store import is_url, read_url, short_reason

_MOST_STYLES = 2
"""Styles that a worker keeps loaded; the pictures come in the order of their styles."""

_DEATHS = 2
"""So many workers may die over one picture before it is given up."""


class Picture(NamedTuple):
    """One picture to do.

    Attributes:
        source: its path or URL.
        target: its name in the output.
        style: what its style is called in the manifest.
    """

    source: str
    target: str
    style: str


class Result(NamedTuple):
    """What became of a picture.

    Attributes:
        source: its path or URL.
        style: what its style is called in the manifest.
        megapixels: of what was written; 0 if it failed.
        error: what went wrong, in a sentence; "" if nothing did.
    """

    source: str
    style: str
    megapixels: float
    error: str


@dataclass(frozen=True, slots=True)
class Order:
    """All that a worker has to know; it travels to other machines.

    Attributes:
        output: a folder or URL.
        run: the run's name.
        styles: for each style, the bytes of its model files with their names and shares.
        treatment: what to do with each picture.
        engine: as for `Stylizer`.
        device: as for `Stylizer`.
        precision: as for `Stylizer`.
        max_megapixels: as for `Stylizer`.
        tile: as for `Stylizer`.
        threads: that read and write; None chooses.
        cores: to claim on its machine; 0 takes what there is.
        version: of this package, where the order was given.
    """

    output: str
    run: str
    styles: Mapping[str, Sequence[tuple[str, bytes, float]]]
    treatment: Treatment
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    max_megapixels: float = 250.0
    tile: Tile = "auto"
    threads: int | None = None
    cores: int = 0
    version: str = __version__


class Worker:
    """Stylizes blocks of pictures, from several threads if need be."""

    def __init__(self, order: Order) -> None:
        """Take the order; a style is loaded when its first picture comes.

        Raises:
            BulkError: this machine has another version of the package.
        """
        if order.version != __version__:
            raise BulkError(
                f"fast-style is {order.version} where the command runs and {__version__} on a "
                "machine of the cluster: install the same on all"
            )
        claim_cores(order.cores)
        self.order = order
        self.store = open_output(order.output)
        self.manifest = Manifest(self.store)
        self.part = Part(self.store, order.run)
        self._stylizers = StylizerCache(_MOST_STYLES)

    def run(self, pictures: Iterable[Picture]) -> Generator[Result, None, None]:
        """Stylize pictures and note each in the manifest, telling what became of them.

        Raises:
            FastStyleError: a style cannot be loaded here.
            Exception: the manifest cannot be written.
        """
        for style, group in groupby(pictures, lambda picture: picture.style):
            pipeline = _BulkPipeline(self, style)
            jobs = [Job(picture.source, picture.target) for picture in group]
            with closing(pipeline.run(jobs)) as outcomes:
                for outcome in outcomes:
                    yield self._noted(outcome, style)
        self.part.flush()

    def run_guarded(self, block: str, pictures: Sequence[Picture]) -> list[Result]:
        """Do a block that may come again because the worker that had it died.

        The second time, its pictures are taken one by one, without those that are noted; one over
        which workers die is noted as failed.
        """
        if not self.manifest.mark(block):
            return list(self.run(pictures))
        return list(self.run_singly(pictures))

    def run_singly(self, pictures: Iterable[Picture]) -> Generator[Result, None, None]:
        """Take pictures one by one, since a worker died with one of them in flight.

        Those that are noted are told of, and one over which workers die is noted as failed.
        """
        noted = self.manifest.noted_by(self.order.run)
        for picture in pictures:
            identity = picture_id(picture.source, picture.style)
            if identity in noted:
                yield _told_by(noted[identity])
            elif self.manifest.mark(identity.hex()) < _DEATHS:
                yield from self.run([picture])
            else:
                yield self._given_up(picture)

    def stylizer(self, style: str) -> Stylizer:
        """Return the stylizer of a style, and load it first if necessary."""
        return self._stylizers.get_or_load(style, lambda: self._loaded(style))

    def close(self) -> None:
        """Let go of the manifest."""
        self.part.close()

    def _noted(self, outcome: Outcome, style: str) -> Result:
        source = outcome.job.source
        if outcome.error is not None:
            self.part.add({"path": source, "style": style, "error": outcome.sentence})
        megapixels = outcome.width * outcome.height / 1e6
        return Result(source, style, megapixels, outcome.sentence)

    def _given_up(self, picture: Picture) -> Result:
        sentence = (
            f"{picture.source}: the process that worked on it died, {_DEATHS + 1} times: look at "
            "the file, and at the memory of the machine"
        )
        self.part.add({"path": picture.source, "style": picture.style, "error": sentence})
        self.part.flush()
        return Result(picture.source, picture.style, 0.0, sentence)

    def _loaded(self, style: str) -> Stylizer:
        order = self.order
        settings: dict[str, Any] = {
            "engine": order.engine,
            "device": order.device,
            "precision": order.precision,
            "max_megapixels": order.max_megapixels,
            "tile": order.tile,
        }
        parts = order.styles[style]
        if len(parts) == 1:
            return Stylizer(model_from_bytes(parts[0][1]), **settings)
        with tempfile.TemporaryDirectory(prefix="fast-style-") as folder:
            mixture = []
            for number, (name, data, share) in enumerate(parts):
                path = Path(folder, f"{number}", name)
                path.parent.mkdir()
                path.write_bytes(data)
                mixture.append(f"{path}:{share!r}")
            return Stylizer(",".join(mixture), **settings)


def _told_by(record: Mapping[str, Any]) -> Result:
    """Give the result that a line of the manifest tells of."""
    megapixels = record.get("width", 0) * record.get("height", 0) / 1e6
    return Result(record["path"], record["style"], megapixels, record.get("error", ""))


class _BulkPipeline(Pipeline):
    """Reads paths and URLs, writes into the output, and notes what is written at once."""

    def __init__(self, worker: Worker, style: str) -> None:
        order = worker.order
        super().__init__(worker.stylizer(style), order.treatment, workers=order.threads)
        self._worker, self._style = worker, style

    def _prepared(self, job: Job) -> Passage:
        passage = Passage(job)
        if is_url(job.source):
            # To look first would be a request more; it counts for as much as each may.
            passage.megapixels = MEGAPIXELS_EACH
        elif os.path.isfile(job.source):
            self._look_at_file(passage)
        return passage

    def _loaded(self, passage: Passage) -> Photo:
        job, most = passage.job, self.stylizer.max_megapixels
        if not is_url(job.source):
            # One would wait for a pipe without end.
            if os.path.exists(job.source) and stat.S_ISFIFO(os.stat(job.source).st_mode):
                raise UnreadableImageError(f"{job.source} is a pipe: give the path of a file")
            return read_image(job.source, max_megapixels=most, at_least=passage.at_least)
        try:
            data = read_url(job.source, extra="bulk")
        except FastStyleError:
            raise
        except FileNotFoundError:
            raise UnreadableImageError(f"{job.source} is not there: check the URL") from None
        except Exception as error:  # of the remote file system's own kinds
            raise UnreadableImageError(
                f"{job.source} cannot be read ({short_reason(error)}): try again with "
                "--retry-failed"
            ) from error
        self._looked_at(passage, io.BytesIO(data))
        return read_image(data, max_megapixels=most, at_least=passage.at_least, name=job.source)

    def _written(self, photo: Photo, job: Job) -> tuple[str, ...]:
        treatment, store = self.treatment, self._worker.store
        data, notes = encode_image(
            photo, format=format_from_suffix(job.target), quality=treatment.quality
        )
        try:
            store.write(job.target, data)
        except Exception as error:
            raise ImageWriteError(
                f"{store.url(job.target)} cannot be written ({short_reason(error)}): try again "
                "with --retry-failed"
            ) from error
        self._worker.part.add(
            {
                "path": job.source,
                "style": self._style,
                "target": job.target,
                "width": photo.width,
                "height": photo.height,
                "bytes": len(data),
            }
        )
        return notes
