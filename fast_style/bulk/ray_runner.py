"""A bulk run on Ray Data: a pool of actors on this machine or on a cluster.

Ray transports only names of pictures and results, a few kilobytes a block; the actors read and
write the pictures themselves. With reading and writing as operators of their own, every picture
would be copied into and out of the object store twice, decoded (36 MB at 12 megapixels) or at least
as a file, and spilled to disk if the network is slower than the readers. `benchmarks/bulk.py`
compares the two.
"""

import logging
import os
import secrets
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from fast_style.bulk.worker import BulkPicture, BulkResult, BulkWorker, BulkWorkerConfig
from fast_style.errors import BulkError, FastStyleError
from fast_style.storage.hardware import import_optional

_CORES_EACH = 4
"""Default cores of an actor: one network gains little from more."""

_MAX_BLOCK_SIZE = 32
_MAX_BLOCKS = 50_000
"""Each block takes some kilobytes in the driver until the run ends."""

_BLOCKS_AT_ONCE = 2
"""Blocks that an actor processes at once: while one ends, the network works on the next."""

_CONNECT_SECONDS = 10.0

_OBJECT_STORE_BYTES = 100 << 20
"""Size of Ray's object store, through which only names and messages go; the minimum is 75 MiB."""


@dataclass(frozen=True, slots=True)
class ActorPool:
    """The number of actors and the resources of each.

    Attributes:
        actors: number of actors at the start.
        fixed: whether the number is fixed, or may grow with the cluster.
        cores: cores of each actor.
        gpus: GPUs of each actor.
    """

    actors: int
    fixed: bool
    cores: int
    gpus: int


def choose_pool(
    resources: Mapping[str, float],
    *,
    actors: int | None,
    cores: int | None,
    device: str,
    local: bool,
) -> ActorPool:
    """Choose the number of actors and the resources of each.

    Args:
        resources: `CPU` and `GPU` of the cluster.
        actors: number of actors that the user wants; None chooses it by the resources.
        cores: cores of each actor; None chooses.
        device: as for `Stylizer`; with `cpu`, GPUs are not used.
        local: whether there is no cluster but this machine.

    Raises:
        BulkError: the resources do not suffice.
    """
    available = int(resources.get("CPU", 0))
    gpus = int(resources.get("GPU", 0)) if device in ("auto", "cuda") else 0
    each = 1 if gpus else 0
    if device == "cuda" and not gpus:
        raise BulkError("no GPU is registered with Ray: check `ray status`, or leave out --device")
    if cores is None:
        cores = max(1, min(_CORES_EACH, available // max(1, actors or gpus or 1)))
    fit = gpus or available // cores
    if gpus:
        fit = min(fit, available // cores)
    if fit < 1 or (actors or 0) > fit:
        raise BulkError(
            f"{actors or 1} actors of {cores} cores were asked for, and Ray has {available} cores"
            + (f" and {gpus} GPUs" if gpus else "")
            + ": give fewer --actors, or fewer --cpus-per-actor"
        )
    return ActorPool(actors or fit, local or actors is not None, cores, each)


def run_on_ray(
    config: BulkWorkerConfig,
    pictures: Sequence[BulkPicture],
    *,
    address: str | None = None,
    actors: int | None = None,
    cores: int | None = None,
    local_cores: int,
) -> Iterator[list[BulkResult]]:
    """Stylize pictures on Ray, and yield the results block by block.

    Close the iterator if you leave it early: a Ray that was started for this run is stopped then.

    Args:
        config: what the workers need to know.
        pictures: the pictures to do; each is indexed once, in blocks.
        address: address of a cluster, as for `ray.init`; None starts Ray on this machine.
        actors: number of actors; None chooses it by the cluster's resources.
        cores: cores of each actor; None chooses.
        local_cores: number of cores of this machine that a local Ray may use.

    Raises:
        MissingExtraError: Ray is not installed.
        BulkError: the cluster cannot be reached, or Ray failed.
        FastStyleError: an error that a worker raised.
    """
    _set_environment(local=address is None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they concern Ray's own code
        ray, data = (import_optional(name, "--runner ray", "bulk") for name in ("ray", "ray.data"))
        with _ray_output_suppressed(), _started(ray, address, local_cores):
            pool = choose_pool(
                ray.cluster_resources(),
                actors=actors,
                cores=cores,
                device=config.engine_options.device,
                local=address is None,
            )
            yield from _results(data, replace(config, cores=pool.cores), pictures, pool)


def _set_environment(*, local: bool) -> None:
    """Set the environment variables that Ray reads on import, unless the user has set them."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports
    # Ray logs harmless things as errors, such as that an actor with large arguments "will fail".
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if local and not any(name.startswith("RAY_AUTH_") for name in os.environ):
        # Ray's default is a token as well, but it is left in the user's home folder.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _results(
    data: Any, config: BulkWorkerConfig, pictures: Sequence[BulkPicture], pool: ActorPool
) -> Iterator[list[BulkResult]]:
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    number = {"size": pool.actors} if pool.fixed else {"initial_size": pool.actors}
    strategy = data.ActorPoolStrategy(
        **number, max_concurrent_calls_per_actor=_BLOCKS_AT_ONCE, enable_true_multi_threading=True
    )
    blocks = _make_blocks(pictures, pool.actors)
    results = data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
        _Actor,
        fn_constructor_args=(config,),
        batch_size=None,  # a block is a batch
        batch_format="pyarrow",
        num_cpus=pool.cores,
        num_gpus=pool.gpus or None,
        compute=strategy,
    )
    try:
        for batch in results.iter_batches(
            batch_size=None, batch_format="numpy", prefetch_batches=0
        ):
            columns = (batch[name].tolist() for name in BulkResult._fields)
            yield [BulkResult(*row) for row in zip(*columns, strict=True)]
    except Exception as error:  # of a worker, wrapped by Ray, or of Ray itself
        raise _unwrap_error(error) from error


def _make_blocks(pictures: Sequence[BulkPicture], actors: int) -> list[dict[str, Any]]:
    """Group pictures into blocks: large for little overhead, small so that all actors end together.

    A block is one row for Ray, with the pictures in lists, since Ray regroups rows as it likes.
    """
    size = min(_MAX_BLOCK_SIZE, len(pictures) // (actors * 8))
    size = max(1, size, len(pictures) // _MAX_BLOCKS)
    blocks = []
    for start in range(0, len(pictures), size):
        columns = map(list, zip(*pictures[start : start + size], strict=True))
        blocks.append({"block": str(start), **dict(zip(BulkPicture._fields, columns, strict=True))})
    return blocks


class _Actor:
    """A `BulkWorker` with the interface that Ray Data needs."""

    def __init__(self, config: BulkWorkerConfig) -> None:
        self._worker = BulkWorker(config)

    def __call__(self, rows: Any) -> dict[str, list[Any]]:
        results = []
        for row in rows.to_pylist():
            columns = (row[name] for name in BulkPicture._fields)
            pictures = [BulkPicture(*values) for values in zip(*columns, strict=True)]
            results += self._worker.run_guarded(row["block"], pictures)
        return {name: [getattr(one, name) for one in results] for name in BulkResult._fields}


@contextmanager
def _started(ray: Any, address: str | None, cores: int) -> Iterator[None]:
    """Start Ray or connect to a cluster during the block; keep the signal handlers as they were."""
    main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in signals} if main else {}
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        settings |= {
            "address": "local",
            "num_cpus": cores,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    else:
        settings["address"] = address
    try:
        try:
            if address is not None:
                _check_connection(address)
            with _stderr_suppressed():
                ray.init(**settings)
        except Exception as error:  # ConnectionError, ValueError, RuntimeError, ...
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            if address is None:
                raise BulkError(f"Ray cannot be started on this machine: {first}") from error
            raise BulkError(
                f"Ray cannot be reached at {address} ({first}): is it up, and does it want a token "
                "(RAY_AUTH_MODE, RAY_AUTH_TOKEN)?"
            ) from error
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield
    finally:
        with suppress(Exception):
            ray.shutdown()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _check_connection(address: str) -> None:
    """Check that a server listens at `HOST:PORT`; Ray itself would try for minutes.

    Raises:
        OSError: none does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


@contextmanager
def _stderr_suppressed() -> Iterator[None]:
    """Discard what Ray's C++ code writes to stderr while it starts, such as its log level.

    Errors are raised as exceptions.
    """
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _ray_output_suppressed() -> Iterator[None]:
    """Keep Ray from printing to stdout, which is for data.

    One of its threads prints there when a worker has died, whatever the logging options are.
    """
    from ray._private import worker as ray_worker

    name = "print_to_stdstream"
    printing = getattr(ray_worker, name, None)
    if printing is None:  # another release
        yield
        return
    setattr(ray_worker, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(ray_worker, name, printing)


def _unwrap_error(error: BaseException) -> FastStyleError:
    """Return the `FastStyleError` that Ray has wrapped, else a `BulkError` with Ray's message."""
    seen: BaseException | None = error
    while seen is not None:
        inner = getattr(seen, "cause", None) or seen.__cause__
        # Ray's wrapper is an instance of the wrapped error's class too, but contains a traceback.
        if isinstance(seen, FastStyleError) and inner is None:
            return seen
        seen = inner
    lines = [line for line in str(error).splitlines() if line.strip()]
    return BulkError(f"Ray failed: {lines[-1].strip() if lines else type(error).__name__}")
