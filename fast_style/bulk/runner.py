"""A bulk run from its input to its output: what is to be done, by whom, and what became of it."""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any, Literal

from fast_style.bulk.listing import Listing, each_style, list_pictures
from fast_style.bulk.manifest import Manifest, bulk_errors, new_run, open_output
from fast_style.bulk.output_names import OutputNames, picture_id
from fast_style.bulk.pending import Pending
from fast_style.bulk.worker import Order, Result, Worker
from fast_style.errors import MissingExtraError, UsageError
from fast_style.inference.pipeline import Treatment
from fast_style.inference.stylizer import Tile
from fast_style.models.model_file import load_model, model_from_bytes
from fast_style.storage.hardware import (
    core_limit,
    gpu_count,
    installed,
    visible_cores,
)
from fast_style.storage.object_store import ObjectStore, absolute_location
from fast_style.styles.fingerprint import weights_sha256
from fast_style.styles.mixing import mixture_name
from fast_style.styles.registry import find_parts

Runner = Literal["auto", "ray", "local"]

_BLOCK = 256  # pictures, between two times that the manifest is made safe from a power cut
_SUSPECTS = 64
"""Pictures that are taken one by one after a run that was killed: more than a process has in
flight, so that one which kills it is among them, since they come in the same order again."""
_MANY_PICTURES = 1000
_MANY_CORES = 16
"""From there on several processes are worth the seconds that Ray takes to start: one network on so
many cores, with one process to decode for it, leaves most of them idle."""


@dataclass(frozen=True, slots=True)
class BulkConfig:
    """What a bulk run is to do; see the options of the command.

    Attributes:
        source: folder, glob, URL or list.
        output: folder or URL.
        style: for pictures whose style the list does not name; None if it names all.
        treatment: what to do with each picture.
        column: the list's column with paths.
        name_column: its column with names in the output.
        style_column: its column with styles.
        retry_failed: whether those that failed in earlier runs are tried again.
        runner: `ray`, `local`, or whichever pays.
        address: of a Ray cluster.
        actors: how many processes stylize; None chooses.
        cores: of each; None chooses.
        engine: as for `Stylizer`.
        device: as for `Stylizer`.
        precision: as for `Stylizer`.
        max_megapixels: as for `Stylizer`.
        tile: as for `Stylizer`.
        threads: that read and write, in each process; None chooses.
    """

    source: str
    output: str
    style: str | None
    treatment: Treatment
    column: str = "path"
    name_column: str | None = None
    style_column: str | None = None
    retry_failed: bool = False
    runner: Runner = "auto"
    address: str | None = None
    actors: int | None = None
    cores: int | None = None
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    max_megapixels: float = 250.0
    tile: Tile = "auto"
    threads: int | None = None


@dataclass(slots=True)
class BulkRun:
    """A run, ready to be gone through.

    Attributes:
        total: how many pictures the input has.
        done_before: how many of them earlier runs have done.
        failed_before: how many of them failed then, and are not tried again.
        pending: the pictures that are to be done.
        runner: what does them.
        failures: of all pictures that have failed and are not done: path, style, reason.
    """

    config: BulkConfig
    total: int
    done_before: int
    failed_before: int
    pending: Pending
    runner: Literal["ray", "local"]
    failures: dict[tuple[str, str], str]
    _manifest: Manifest
    _order: Order
    _held: ExitStack = field(default_factory=ExitStack)

    def results(self) -> Generator[list[Result], None, None]:
        """Stylize what is to be done, telling now and then what became of some pictures.

        To be closed if it is not gone through; what is done by then stays done.

        Raises:
            FastStyleError: the run cannot go on.
        """
        batches = self._on_ray() if self.runner == "ray" else self._here()
        with closing(batches):
            for results in batches:
                for result in results:
                    key = (result.source, result.style)
                    if result.error:
                        self.failures[key] = result.error
                    else:
                        self.failures.pop(key, None)
                yield results

    def close(self) -> str | None:
        """Write the table of failures, let other runs in; give the table's place if there is one.

        Raises:
            BulkError: it cannot be written.
        """
        with self._held:
            with bulk_errors(self._manifest.store, "cannot be written"):
                self._manifest.unmark_all()
            return self._manifest.write_failures(
                (path, style, reason) for (path, style), reason in self.failures.items()
            )

    def _here(self) -> Generator[list[Result], None, None]:
        worker = Worker(self._order)
        try:
            with bulk_errors(self._manifest.store, "cannot be written"):
                killed = self._manifest.mark("here") > 0
            for block in self._blocks_here(worker, _SUSPECTS if killed else 0):
                with closing(block) as results:
                    for result in results:
                        yield [result]
        finally:
            with bulk_errors(self._manifest.store, "cannot be written"):
                worker.close()

    def _blocks_here(
        self, worker: Worker, suspects: int
    ) -> Iterator[Generator[Result, None, None]]:
        if suspects:
            yield worker.run_singly(self.pending[:suspects])
        for start in range(suspects, len(self.pending), _BLOCK):
            yield worker.run(self.pending[start : start + _BLOCK])

    def _on_ray(self) -> Generator[list[Result], None, None]:
        from fast_style.bulk.ray_runner import run_on_ray

        config = self.config
        with bulk_errors(self._manifest.store, "cannot be written"):
            self._manifest.unmark_all()  # blocks are numbered anew in each run
        yield from run_on_ray(
            self._order,
            self.pending,
            address=config.address,
            actors=config.actors,
            cores=config.cores,
            local_cores=core_limit() or visible_cores(),
        )


def prepare(config: BulkConfig) -> BulkRun:
    """Settle what a run will do, before any work; it is to be closed.

    Raises:
        UsageError: arguments that do not fit together or do not fit what is there; an output that
            was begun with other settings; an output that would overwrite an input.
        StyleNotFoundError: a style is not there.
        ModelFileError: its file is no sound model file.
        BulkError: input or output cannot be reached, or another run is at work there.
        MissingExtraError: a package of the extra `bulk` is needed and not installed.
    """
    _check_runner(config)
    output = absolute_location(config.output)
    if absolute_location(config.source) == output:
        raise UsageError(
            f"the output {config.output} is the input: give another, or the photos are overwritten"
        )
    listing = list_pictures(
        config.source,
        output,
        column=config.column,
        name_column=config.name_column,
        style_column=config.style_column,
    )
    styles = _load_styles(each_style(listing, config.style or ""), config)
    ids, labels = _without_repetitions(listing, config, styles)

    manifest = Manifest(open_output(output))
    with ExitStack() as held:
        held.enter_context(manifest.held())
        settings = manifest.compared(_settings(config, styles))
        history = manifest.read()
        known = set(ids)
        taken = [key for identity, key in history.done.items() if identity not in known]
        names = OutputNames(listing, ids, config.treatment.format, taken=taken)
        pending = Pending(listing, labels, names)
        again = config.retry_failed
        pending.add(
            [
                index
                for index, identity in enumerate(ids)
                if identity not in history.done and (again or identity not in history.failed)
            ]
        )
        _refuse_overwritten_inputs(listing, names, manifest.store)
        runner = _chosen_runner(config, len(pending), output, listing)
        manifest.begin(settings)
        failures = {
            (path, style): reason
            for identity, (path, style, reason) in history.failed.items()
            if identity in known
        }
        failures |= {(path, ""): sentence for path, sentence in listing.problems}
        done = sum(identity in history.done for identity in ids)
        return BulkRun(
            config=config,
            total=len(ids),
            done_before=done,
            failed_before=len(ids) - done - len(pending),
            pending=pending,
            runner=runner,
            failures=failures,
            _manifest=manifest,
            _order=_order(config, output, styles),
            _held=held.pop_all(),
        )


@dataclass(frozen=True, slots=True)
class _Style:
    """A style as the workers need it.

    Attributes:
        label: what it is called in the manifest: its name, and the beginning of its hash.
        sha256: of its weights and shares.
        parts: for each model file, its name, its bytes and its share.
    """

    label: str
    sha256: str
    parts: tuple[tuple[str, bytes, float], ...]


def _load_styles(wanted: Iterator[str], config: BulkConfig) -> dict[str, _Style]:
    styles: dict[str, _Style] = {}
    for text in dict.fromkeys(wanted):
        if not text:
            raise UsageError(
                "there are pictures without a style: give --style for those whose style the list "
                "does not name"
            )
        parts, digest, stems = [], hashlib.sha256(), []
        for path, share in find_parts(text):
            data = path.read_bytes()
            load_model(path)  # says in a sentence what is wrong with it
            digest.update(weights_sha256(model_from_bytes(data).weights).encode())
            digest.update(f" {share!r}\n".encode())
            parts.append((path.name, data, share))
            stems.append(path.stem)
        sha256 = digest.hexdigest()
        styles[text] = _Style(f"{mixture_name(stems)}@{sha256[:8]}", sha256, tuple(parts))
    return styles


def _without_repetitions(
    listing: Listing, config: BulkConfig, styles: dict[str, _Style]
) -> tuple[list[bytes], list[str]]:
    """Give each picture's id and its style's label; one that is listed twice is left once."""
    labels = [styles[text].label for text in each_style(listing, config.style or "")]
    ids = [picture_id(*pair) for pair in zip(listing.sources, labels, strict=True)]
    first: dict[bytes, int] = {}
    for index, identity in enumerate(ids):
        first.setdefault(identity, index)
    if len(first) < len(ids):
        keep = list(first.values())
        listing.sources = [listing.sources[i] for i in keep]
        listing.names = listing.names and [listing.names[i] for i in keep]
        listing.styles = listing.styles and [listing.styles[i] for i in keep]
        ids, labels = list(first), [labels[i] for i in keep]
    return ids, labels


def _settings(config: BulkConfig, styles: dict[str, _Style]) -> dict[str, Any]:
    treatment = config.treatment
    default = styles.get(config.style or "")
    return {
        "input": absolute_location(config.source),
        "style": default.label if default else None,
        "size": treatment.size,
        "strength": treatment.strength,
        "preserve_color": treatment.preserve_color,
        "stroke_size": treatment.stroke_size,
        "format": treatment.format,
        "quality": treatment.quality,
        "styles": {style.label: style.sha256 for style in styles.values()},
    }


def _order(config: BulkConfig, output: str, styles: dict[str, _Style]) -> Order:
    return Order(
        output=output,
        run=new_run(),
        styles={style.label: style.parts for style in styles.values()},
        treatment=config.treatment,
        engine=config.engine,
        device=config.device,
        precision=config.precision,
        max_megapixels=config.max_megapixels,
        tile=config.tile,
        threads=config.threads,
        cores=0 if config.cores is None else config.cores,
    )


def _check_runner(config: BulkConfig) -> None:
    if config.runner == "local":
        for flag, value in (
            ("--address", config.address),
            ("--actors", config.actors),
        ):
            if value is not None:
                raise UsageError(f"{flag} is for Ray, and --runner local was given: leave out one")
        return
    wanted = config.runner == "ray" or config.address is not None or config.actors is not None
    if wanted and not installed("ray"):
        raise MissingExtraError("--address" if config.address else "--runner ray", "ray", "bulk")


def _chosen_runner(
    config: BulkConfig, pictures: int, output: str, listing: Listing
) -> Literal["ray", "local"]:
    asked = config.runner == "ray" or config.address is not None or config.actors is not None
    in_memory = [one for one in (output, *listing.sources[:1]) if one.startswith("memory://")]
    if asked and in_memory:
        raise UsageError(
            f"{in_memory[0]} is in this process only, and Ray's workers are others: give "
            "--runner local"
        )
    if asked or config.runner == "local" or in_memory:
        return "ray" if asked else "local"
    cores = core_limit() or visible_cores()
    pays = pictures >= _MANY_PICTURES and (gpu_count() > 1 or cores >= _MANY_CORES)
    return "ray" if pays and installed("ray") else "local"


def _refuse_overwritten_inputs(listing: Listing, names: OutputNames, store: ObjectStore) -> None:
    """Look whether a picture would be written to where another one is read."""
    root = store.location.rstrip("/") + "/"
    inside = {source for source in listing.sources if source.startswith(root)}
    if not inside:
        return
    for index in range(len(listing)):
        target = store.url(names[index])
        if target in inside:
            raise UsageError(
                f"{target} would be overwritten by a stylized picture: choose another output (-o)"
            )
