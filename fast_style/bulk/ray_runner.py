"""A bulk run on Ray Data: a pool of actors, on this machine or on a cluster.

Through Ray go the names of pictures and what became of them, a few kilobytes a block; the pictures
themselves are read and written inside the actor. As operators of their own, reading and writing
would put every picture into the object store twice, decoded (36 MB at 12 megapixels) or at least as
its file, to be copied out again, and spilled to disk where the network is slower than the readers.
`benchmarks/bulk.py` compares the two.
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

from fast_style.bulk.worker import Order, Picture, Result, Worker
from fast_style.errors import BulkError, FastStyleError
from fast_style.storage.hardware import import_optional

_CORES_EACH = 4
"""Cores of an actor where nothing else is asked for: one network gains little by more."""

_MOST_IN_BLOCK = 32
_MOST_BLOCKS = 50_000
"""Each block costs the driver some kilobytes as long as the run lasts."""

_AT_ONCE = 2
"""Blocks that an actor is at: while one ends, the network has the next one's pictures to do."""

_SECONDS_TO_ANSWER = 10.0

_OBJECT_STORE = 100 << 20
"""Bytes; names and sentences only go through it. Ray takes no less than 75 MiB."""


@dataclass(frozen=True, slots=True)
class Pool:
    """How many actors, and how large.

    Attributes:
        actors: how many to begin with.
        fixed: whether it stays so; else there may be more as the cluster grows.
        cores: of each.
        gpus: of each.
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
) -> Pool:
    """Settle how many actors there are and what each has.

    Args:
        resources: `CPU` and `GPU` of the cluster.
        actors: how many are asked for; None lets the resources say.
        cores: for each; None chooses.
        device: as for `Stylizer`; with `cpu`, GPUs are left alone.
        local: whether this machine is all there is.

    Raises:
        BulkError: there is less than one actor needs.
    """
    there = int(resources.get("CPU", 0))
    gpus = int(resources.get("GPU", 0)) if device in ("auto", "cuda") else 0
    each = 1 if gpus else 0
    if device == "cuda" and not gpus:
        raise BulkError("no GPU is registered with Ray: check `ray status`, or leave out --device")
    if cores is None:
        cores = max(1, min(_CORES_EACH, there // max(1, actors or gpus or 1)))
    fit = gpus or there // cores
    if gpus:
        fit = min(fit, there // cores)
    if fit < 1 or (actors or 0) > fit:
        raise BulkError(
            f"{actors or 1} actors of {cores} cores were asked for, and Ray has {there} cores"
            + (f" and {gpus} GPUs" if gpus else "")
            + ": give fewer --actors, or fewer --cpus-per-actor"
        )
    return Pool(actors or fit, local or actors is not None, cores, each)


def run_on_ray(
    order: Order,
    pictures: Sequence[Picture],
    *,
    address: str | None = None,
    actors: int | None = None,
    cores: int | None = None,
    local_cores: int,
) -> Iterator[list[Result]]:
    """Stylize pictures on Ray, telling block by block what became of them.

    To be closed if it is not gone through: Ray, if it was started for this run, ends with it.

    Args:
        order: what the workers have to know.
        pictures: all that are to be done; indexed once each, in blocks.
        address: of a cluster, as for `ray.init`; None starts Ray on this machine alone.
        actors: how many; None lets the cluster's resources say.
        cores: of each actor; None chooses.
        local_cores: how many cores this machine is to give.

    Raises:
        MissingExtraError: Ray is not installed.
        BulkError: the cluster cannot be reached, or a worker could not go on.
        FastStyleError: a worker's own.
    """
    _settle_environment(local=address is None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are of Ray's own code, nobody here can mend it
        ray, data = (import_optional(name, "--runner ray", "bulk") for name in ("ray", "ray.data"))
        with _own_output_only(), _started(ray, address, local_cores):
            pool = choose_pool(
                ray.cluster_resources(),
                actors=actors,
                cores=cores,
                device=order.device,
                local=address is None,
            )
            yield from _results(data, replace(order, cores=pool.cores), pictures, pool)


def _settle_environment(*, local: bool) -> None:
    """Set what Ray reads when it is imported, unless the user has."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no report to its makers
    # It calls errors what are none: every actor with large arguments "will fail" to come back.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if local and not any(name.startswith("RAY_AUTH_") for name in os.environ):
        # Ray's own default is a token too, but one that it leaves in the user's home.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _results(
    data: Any, order: Order, pictures: Sequence[Picture], pool: Pool
) -> Iterator[list[Result]]:
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    number = {"size": pool.actors} if pool.fixed else {"initial_size": pool.actors}
    strategy = data.ActorPoolStrategy(
        **number, max_concurrent_calls_per_actor=_AT_ONCE, enable_true_multi_threading=True
    )
    blocks = _blocks(pictures, pool.actors)
    results = data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
        _Actor,
        fn_constructor_args=(order,),
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
            columns = (batch[name].tolist() for name in Result._fields)
            yield [Result(*row) for row in zip(*columns, strict=True)]
    except Exception as error:  # a worker's, in Ray's wrapping, or Ray's own
        raise _own_error(error) from error


def _blocks(pictures: Sequence[Picture], actors: int) -> list[dict[str, Any]]:
    """Put pictures into blocks: large enough for the overhead, small enough for the end.

    A block is one row of Ray's, with the pictures in lists: Ray would cut rows anew as it likes.
    """
    size = min(_MOST_IN_BLOCK, len(pictures) // (actors * 8))
    size = max(1, size, len(pictures) // _MOST_BLOCKS)
    blocks = []
    for start in range(0, len(pictures), size):
        columns = map(list, zip(*pictures[start : start + size], strict=True))
        blocks.append({"block": str(start), **dict(zip(Picture._fields, columns, strict=True))})
    return blocks


class _Actor:
    """A `Worker` as Ray Data wants it."""

    def __init__(self, order: Order) -> None:
        self._worker = Worker(order)

    def __call__(self, rows: Any) -> dict[str, list[Any]]:
        results = []
        for row in rows.to_pylist():
            columns = (row[name] for name in Picture._fields)
            pictures = [Picture(*values) for values in zip(*columns, strict=True)]
            results += self._worker.run_guarded(row["block"], pictures)
        return {name: [getattr(one, name) for one in results] for name in Result._fields}


@contextmanager
def _started(ray: Any, address: str | None, cores: int) -> Iterator[None]:
    """Start Ray, or join a cluster; and leave signals as they were."""
    main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in signals} if main else {}
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        settings |= {
            "address": "local",
            "num_cpus": cores,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
        }
    else:
        settings["address"] = address
    try:
        try:
            if address is not None:
                _knock(address)
            with _silenced():
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


def _knock(address: str) -> None:
    """Look whether anybody listens at `HOST:PORT`; Ray itself would try for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep back what Ray's C++ part writes to stderr as it starts, the level of its log above all.

    What goes wrong comes as an exception.
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
def _own_output_only() -> Iterator[None]:
    """Keep Ray from stdout, which is for data.

    A thread of its prints there that a worker has died, whatever Ray is told of logging.
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


def _own_error(error: BaseException) -> FastStyleError:
    """Find our own error in what Ray has wrapped it in, else tell what there is."""
    seen: BaseException | None = error
    while seen is not None:
        inner = getattr(seen, "cause", None) or seen.__cause__
        # Ray's wrapping is of the wrapped error's class too, but its text is a traceback.
        if isinstance(seen, FastStyleError) and inner is None:
            return seen
        seen = inner
    lines = [line for line in str(error).splitlines() if line.strip()]
    return BulkError(f"Ray could not go on: {lines[-1].strip() if lines else type(error).__name__}")
