"""A bulk run: find the pictures, skip those that are done, run the others, record the failures."""

import os
from array import array
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, overload

from fast_style.bulk.config import BulkConfig
from fast_style.bulk.listing import Listing, each_style, list_pictures
from fast_style.bulk.manifest import History, Manifest, bulk_errors, new_run, open_output
from fast_style.bulk.output_names import OutputNames, picture_id
from fast_style.bulk.styles import LoadedStyle, load_styles
from fast_style.bulk.worker import BulkPicture, BulkResult, BulkWorker, BulkWorkerConfig
from fast_style.errors import MissingExtraError, UsageError
from fast_style.images.left_out import LeftOut
from fast_style.images.provenance import Provenance
from fast_style.inference.guides import ALPHA, check_mask_count, read_colors
from fast_style.inference.pipeline import pillow_format
from fast_style.storage.hardware import (
    gpu_count,
    installed,
    usable_cores,
)
from fast_style.storage.object_store import ObjectStore, absolute_location

_BLOCK = 256  # pictures after which the manifest is written to disk
_SUSPECTS = 64
"""Pictures that are processed one by one after a run that was killed. That is more than a process
has in flight, so that a picture that kills it is among them: the order is the same every time."""
_MANY_PICTURES = 1000
_MANY_CORES = 16
"""With so many pictures and cores, several processes are worth the seconds that Ray takes to start:
one process leaves most of the cores idle."""


class PendingPictures(Sequence[BulkPicture]):
    """The pictures that are still to do, ordered by style; each is made when it is indexed."""

    def __init__(
        self,
        listing: Listing,
        styles: Sequence[str],
        names: OutputNames,
        indices: Sequence[int],
    ) -> None:
        """Store the pictures.

        Args:
            listing: all pictures.
            styles: the label of each one's style.
            names: the name of each one's output.
            indices: which of them are to do.
        """
        self._listing, self._styles, self._names = listing, styles, names
        # Ordered by style, since a worker keeps few styles loaded.
        self._indices = array("q", sorted(indices, key=lambda index: styles[index]))

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> BulkPicture: ...
    @overload
    def __getitem__(self, index: slice) -> list[BulkPicture]: ...
    def __getitem__(self, index: int | slice) -> BulkPicture | list[BulkPicture]:
        if isinstance(index, slice):
            return [self._picture(i) for i in self._indices[index]]
        return self._picture(self._indices[index])

    def _picture(self, index: int) -> BulkPicture:
        return BulkPicture(self._listing.sources[index], self._names[index], self._styles[index])


@dataclass(slots=True)
class BulkRun:
    """A run that is prepared; iterate over `results` and then call `close`.

    Attributes:
        config: what to do.
        total: number of pictures of the input.
        done_before: number of them that earlier runs have done.
        failed_before: number of them that failed in earlier runs and are not tried again.
        pending: the pictures that are still to do.
        runner: `ray`, or `local` for this process alone.
        failures: the reason for each failed picture, by its path and style.
        left_out: counts the files of the input that are no readable pictures.
    """

    config: BulkConfig
    total: int
    done_before: int
    failed_before: int
    pending: PendingPictures
    runner: Literal["ray", "local"]
    failures: dict[tuple[str, str], str]
    left_out: LeftOut
    _manifest: Manifest
    _worker_config: BulkWorkerConfig
    _lock: ExitStack = field(default_factory=ExitStack)

    def results(self) -> Generator[list[BulkResult], None, None]:
        """Stylize the pending pictures, and yield results as they come, some at a time.

        Close the generator if you leave it early; pictures that are done remain done.

        Raises:
            FastStyleError: the run cannot continue.
        """
        blocks = self._run_on_ray() if self.runner == "ray" else self._run_here()
        with closing(blocks):
            for results in blocks:
                for result in results:
                    key = (result.source, result.style)
                    if result.error:
                        self.failures[key] = result.error
                    else:
                        self.failures.pop(key, None)
                yield results

    def close(self) -> str | None:
        """Write the table of failures and unlock the output.

        Returns:
            The table's path or URL; None if there are no failures.

        Raises:
            BulkError: it cannot be written.
        """
        with self._lock:
            with bulk_errors(self._manifest.store, "cannot be written"):
                self._manifest.clear_begun()
            return self._manifest.write_failures(
                (path, style, reason) for (path, style), reason in self.failures.items()
            )

    def _run_here(self) -> Generator[list[BulkResult], None, None]:
        worker = BulkWorker(self._worker_config)
        try:
            with bulk_errors(self._manifest.store, "cannot be written"):
                was_killed = self._manifest.mark_begun("here") > 0
            for block in self._blocks(worker, _SUSPECTS if was_killed else 0):
                with closing(block) as results:
                    for result in results:
                        yield [result]
        finally:
            with bulk_errors(self._manifest.store, "cannot be written"):
                worker.close()

    def _blocks(
        self, worker: BulkWorker, suspects: int
    ) -> Iterator[Generator[BulkResult, None, None]]:
        if suspects:
            yield worker.run_singly(self.pending[:suspects])
        for start in range(suspects, len(self.pending), _BLOCK):
            yield worker.run(self.pending[start : start + _BLOCK])

    def _run_on_ray(self) -> Generator[list[BulkResult], None, None]:
        from fast_style.bulk.ray_runner import run_on_ray

        options = self.config.bulk
        with bulk_errors(self._manifest.store, "cannot be written"):
            self._manifest.clear_begun()  # every run numbers its blocks from 0
        yield from run_on_ray(
            self._worker_config,
            self.pending,
            address=options.address,
            actors=options.actors,
            cores=options.cpus_per_actor,
            local_cores=usable_cores(),
        )


def prepare(config: BulkConfig) -> BulkRun:
    """Prepare a run: find and name its pictures, and compare it to earlier runs.

    Returns:
        The run, which locks the output until it is closed.

    Raises:
        UsageError: options that do not fit together or do not fit the input; an output that was
            started with other settings; an output that would overwrite an input.
        StyleNotFoundError: there is no such style.
        ModelFileError: its file is no sound model file.
        BulkError: input or output cannot be reached, or another run is writing to the output.
        MissingExtraError: a package of the extra `bulk` is needed and not installed.
    """
    # 1) List the pictures and load their styles.
    output, options = absolute_location(config.output), config.bulk
    _check_config(config)
    listing = list_pictures(
        config.source,
        output,
        column=options.column,
        name_column=options.name_column,
        style_column=options.style_column,
        videos=options.videos,
    )
    styles = load_styles(each_style(listing, config.style or ""))
    ids, labels = _remove_duplicates(listing, config, styles)

    manifest = Manifest(open_output(output))
    with ExitStack() as lock:
        # 2) Lock the output, and read what earlier runs have done.
        lock.enter_context(manifest.locked())
        settings = manifest.merge_settings(_settings(config, styles))
        history = manifest.read()
        # 3) Name the outputs, and select the pictures that are still to do.
        known = set(ids)
        taken = [key for identity, key in history.done.items() if identity not in known]
        format = pillow_format(config.output_options.format)
        names = OutputNames(listing, ids, format, taken=taken)
        todo = _select_pending(ids, history, retry=options.retry_failed)
        pending = PendingPictures(listing, labels, names, todo)
        _refuse_overwritten_inputs(listing, names, manifest.store)
        runner = _choose_runner(config, len(pending), output, listing)
        manifest.write_settings(settings)
        done = sum(identity in history.done for identity in ids)
        return BulkRun(
            config=config,
            total=len(ids),
            done_before=done,
            failed_before=len(ids) - done - len(pending),
            pending=pending,
            runner=runner,
            failures=_earlier_failures(history, known, listing),
            left_out=listing.left_out,
            _manifest=manifest,
            _worker_config=_make_worker_config(config, output, styles),
            _lock=lock.pop_all(),
        )


def _select_pending(ids: Sequence[bytes], history: History, *, retry: bool) -> list[int]:
    """Return the indices of the pictures that are not done, or did not fail before."""
    return [
        index
        for index, identity in enumerate(ids)
        if identity not in history.done and (retry or identity not in history.failed)
    ]


def _earlier_failures(
    history: History, known: Collection[bytes], listing: Listing
) -> dict[tuple[str, str], str]:
    """Return the reasons of earlier failures, and of folders that could not be searched."""
    failures = {
        (path, style): reason
        for identity, (path, style, reason) in history.failed.items()
        if identity in known
    }
    return failures | {(path, ""): sentence for path, sentence in listing.errors}


def _remove_duplicates(
    listing: Listing, config: BulkConfig, styles: dict[str, LoadedStyle]
) -> tuple[list[bytes], list[str]]:
    """Remove pictures that are listed twice; return each picture's id and its style's label."""
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


def _settings(config: BulkConfig, styles: dict[str, LoadedStyle]) -> dict[str, Any]:
    """Return the settings on which the pictures of an output depend."""
    default = styles.get(config.style or "")
    return {
        "input": absolute_location(config.source),
        "style": default.label if default else None,
        **config.look_settings(),
        **{k: v for k, v in asdict(config.output_options).items() if k != "note"},
        "format": pillow_format(config.output_options.format),
        "styles": {style.label: style.sha256 for style in styles.values()},
    }


def _make_worker_config(
    config: BulkConfig, output: str, styles: dict[str, LoadedStyle]
) -> BulkWorkerConfig:
    return BulkWorkerConfig(
        output=output,
        run=new_run(),
        styles={style.label: style.parts for style in styles.values()},
        style_options=config.style_options,
        output_options=config.output_options,
        engine_options=config.engine_options,
        pipeline_options=config.pipeline_options,
        provenances={
            style.label: Provenance.of_options(
                style.name,
                style.identity,
                config.style_options,
                config.output_options,
                masks=config.masks,
                colors_of=config.colors_of,
            )
            for style in styles.values()
        },
        masks=config.absolute_masks,
        colors_of=config.colors_of and os.path.abspath(config.colors_of),
        cores=config.bulk.cpus_per_actor or 0,
    )


def _check_config(config: BulkConfig) -> None:
    """Refuse options that do not fit together.

    Raises:
        UsageError: they do not.
        MissingExtraError: Ray is needed and not installed.
    """
    options = config.bulk
    check_mask_count(len(config.masks), 1)
    if config.colors_of is not None:
        if config.style_options.color_mode is not None:
            raise UsageError("--preserve-color and --colors-of are two choices: give one")
        read_colors(config.colors_of)  # a missing file is reported before anything is done
    for mask in config.masks:
        if mask != ALPHA and not os.path.exists(mask):
            raise UsageError(f"there is no mask {mask}: check the path")
    if absolute_location(config.source) == absolute_location(config.output):
        raise UsageError(
            f"the output {config.output} is the input: give another, or the photos are overwritten"
        )
    if options.runner == "local":
        for flag, value in (("--address", options.address), ("--actors", options.actors)):
            if value is not None:
                raise UsageError(f"{flag} is for Ray, and --runner local was given: leave out one")
        return
    if _ray_is_asked_for(config) and not installed("ray"):
        flag = "--address" if options.address else "--runner ray"
        raise MissingExtraError(flag, "ray", "bulk")


def _ray_is_asked_for(config: BulkConfig) -> bool:
    options = config.bulk
    return options.runner == "ray" or options.address is not None or options.actors is not None


def _choose_runner(
    config: BulkConfig, pictures: int, output: str, listing: Listing
) -> Literal["ray", "local"]:
    asked = _ray_is_asked_for(config)
    in_memory = [one for one in (output, *listing.sources[:1]) if one.startswith("memory://")]
    if asked and in_memory:
        raise UsageError(
            f"{in_memory[0]} is in this process only, and Ray's workers are other processes: give "
            "--runner local"
        )
    if asked or config.bulk.runner == "local" or in_memory:
        return "ray" if asked else "local"
    cores = usable_cores()
    is_worthwhile = pictures >= _MANY_PICTURES and (gpu_count() > 1 or cores >= _MANY_CORES)
    return "ray" if is_worthwhile and installed("ray") else "local"


def _refuse_overwritten_inputs(listing: Listing, names: OutputNames, store: ObjectStore) -> None:
    """Refuse outputs that are inputs.

    Raises:
        UsageError: an input would be overwritten.
    """
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
