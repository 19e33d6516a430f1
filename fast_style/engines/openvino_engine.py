"""The OpenVINO engine: the default on machines without a GPU."""

import hashlib
import platform
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.engines.base import (
    Device,
    EngineName,
    GraphFunction,
    NormStatistics,
    Pictures,
    Precision,
    check_batch,
    choose_precision,
)
from fast_style.engines.norm_template import fill, mark, shares_template
from fast_style.engines.onnx.banded_graph import build_banded_graph
from fast_style.engines.onnx.graph import (
    INPUT,
    MEASURED,
    OUTPUT,
    STATISTICS,
    build_graph,
    pad_short_sides,
)
from fast_style.models.model_file import StyleModel
from fast_style.storage.disk_cache import DiskCache
from fast_style.storage.hardware import core_limit, visible_cores

_LARGE_PIXELS = 4_000_000
"""Pictures of at least this many pixels get a graph of their own size, compiled in 0.1 s."""

_PROCESSOR = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}

CACHED_KERNELS = 64
"""Kernels that OpenVINO keeps prepared for sizes of pictures that come again.

Its default of 5000 lets memory grow with every new size: to 1 GB after 2,000. Preparing a kernel
again takes so little time that pictures of alternating sizes are not slower, see
`benchmarks.many_sizes`.
"""

COMPILED = DiskCache("compiled", limit=24)
"""Compiled networks; each file is about as large as the model file, and the predictor's 36 MB."""


def _import_openvino() -> Any:
    """Import openvino without its model converter.

    `import openvino` also imports the converter, which takes longer than everything else and sends
    usage data over the network (`openvino_telemetry`). Nothing here converts models. Afterwards
    `openvino.convert_model` still works: it imports the converter when it is first used.
    """
    converter = "openvino.tools.ovc"
    if "openvino" in sys.modules or converter in sys.modules:
        import openvino

        return openvino
    # With None here its import fails, which openvino tolerates.
    sys.modules[converter] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        del sys.modules[converter]

    def import_converter(name: str) -> Any:
        if name == "convert_model":
            from openvino.tools.ovc import convert_model

            return convert_model
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")

    if not hasattr(openvino, "convert_model"):
        openvino.__getattr__ = import_converter
    return openvino


@cache
def _core() -> Any:
    return _import_openvino().Core()


class OpenVINOEngine:
    """One style network, compiled by OpenVINO.

    One graph with dynamic height and width serves all sizes: a graph for each size would hardly be
    faster, and would cost a compilation and a cache file each. Only large pictures get a graph of
    their own size (`banded_graph`), which needs half the memory; the last one is kept.

    With `concurrency` above 1, pictures of concurrent callers are computed by a second compiled
    copy with a pool of requests. `openvino.AsyncInferQueue` was measured in place of the pool (two
    cores, `starry-night`, bf16; milliseconds a picture, mean of three runs): 42.3 against 42.6 for
    two callers at 512 pixels, 2.9 against 2.9 for four callers at 128, 56.6 against 53.7 for a
    single caller, and the same memory. It was not adopted: an exception in its callback (such as
    MemoryError) aborts the process, two of nine processes aborted at exit, and `start_async` must
    not be called from several threads at once.
    """

    def __init__(
        self,
        model: StyleModel,
        precision: str = "auto",
        *,
        statistics: NormStatistics | None = None,
        cache: bool = True,
        concurrency: int = 1,
    ) -> None:
        """Compile a model, or load it from the cache on disk.

        Args:
            model: the style.
            precision: `auto` (bf16 where the processor has it natively, else fp32) or one of
                `PRECISIONS`.
            statistics: normalize with these, see `Engine.freeze`.
            cache: whether to cache the compiled network on disk.
            concurrency: how many pictures are computed at once, see `create_engine`.

        Raises:
            EngineError: the processor does not have the precision.
            UsageError: the statistics do not fit the network.
            RuntimeError: OpenVINO failed.
        """
        self._model, self._statistics, self._cache = model, statistics, cache
        graph = build_graph(model.card.network, model.weights, statistics=statistics)
        native = _native_precisions()
        automatic: Precision = "bf16" if "bf16" in native else "fp32"
        self._precision = choose_precision(
            precision, native, automatic, "openvino on this processor"
        )
        compiled = None
        # A graph frozen to one picture's statistics is used once, so it is not cached.
        self._keep = cache and statistics is None
        if self._keep and shares_template(model):
            compiled = _compile_from_template(model, self._precision)
            self._keep = compiled is None  # the template stands for all of them on disk
        if compiled is None:
            compiled = _compile(graph, self._precision, _identity(graph, self._keep))
        self._request = compiled.create_infer_request()
        self._measuring: Any = None
        self._large: tuple[tuple[int, int], Any] | None = None  # (height, width), request
        self._lock = threading.Lock()
        self._concurrency, self._callers = concurrency, 0
        self._counting = threading.Lock()
        self._streams: queue.SimpleQueue[Any] | None = None
        """Idle requests of the second copy, which is compiled when callers first overlap."""

    @property
    def name(self) -> EngineName:
        """Always `openvino`."""
        return "openvino"

    @property
    def device(self) -> Device:
        """Always `cpu`."""
        return "cpu"

    @property
    def precision(self) -> Precision:
        """Precision that it computes in."""
        return self._precision

    @property
    def bytes_per_filter(self) -> float:
        """See `GraphEngine`; that of the banded graph."""
        return 8.0 if self._precision == "fp32" else 4.0

    def predict(self, batch: Pictures) -> Pictures:
        """Stylize pictures; see `Engine.predict`."""
        check_batch(batch)
        height, width = batch.shape[1:3]
        large = height * width >= _LARGE_PIXELS
        inputs = {INPUT: np.ascontiguousarray(pad_short_sides(batch, self._model.card.network))}
        with self._count_callers() as others:
            if others and self._concurrency > 1 and not large:
                result = self._infer_concurrently(inputs)
            else:
                with self._lock:
                    request = self._request
                    if self._statistics is None and len(batch) == 1 and large:
                        request = self._request_for(height, width)
                    result = request.infer(inputs, share_inputs=True)
        picture: Pictures = result[OUTPUT]
        return np.ascontiguousarray(picture[:, :height, :width])

    @contextmanager
    def _count_callers(self) -> Iterator[int]:
        """Count concurrent callers; yields how many others there are."""
        with self._counting:
            others = self._callers
            self._callers += 1
        try:
            yield others
        finally:
            with self._counting:
                self._callers -= 1

    def _infer_concurrently(self, inputs: dict[str, Any]) -> Any:
        """Run one of several requests, each of which has its own share of the cores.

        With all cores on one picture, each layer takes as long as its slowest core. Where other
        threads use the cores too (decoding, encoding), every core would wait for them.
        """
        with self._counting:
            if self._streams is None:
                graph = build_graph(
                    self._model.card.network, self._model.weights, statistics=self._statistics
                )
                compiled = _compile(
                    graph,
                    self._precision,
                    _identity(graph, self._keep),
                    streams=self._concurrency,
                )
                requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
                for _ in range(self._concurrency):
                    requests.put(compiled.create_infer_request())
                self._streams = requests
            streams = self._streams
        request = streams.get()
        try:
            return request.infer(inputs, share_inputs=True)
        finally:
            streams.put(request)

    def _request_for(self, height: int, width: int) -> Any:
        """Return an inference request for large pictures of one size."""
        if self._large is None or self._large[0] != (height, width):
            self._large = None  # free its memory before the next graph is compiled
            graph = build_banded_graph(self._model.card.network, self._model.weights, height, width)
            compiled = _compile(graph, self._precision)
            self._large = ((height, width), compiled.create_infer_request())
        return self._large[1]

    def measure(self, batch: Pictures) -> NormStatistics:
        """Compute the norms' statistics of pictures; see `Engine.measure`."""
        check_batch(batch)
        inputs: dict[str, Any] = {
            INPUT: np.ascontiguousarray(pad_short_sides(batch, self._model.card.network))
        }
        if self._statistics is not None:
            inputs[STATISTICS] = self._statistics[None]
        with self._lock:
            if self._measuring is None:
                graph = build_graph(
                    self._model.card.network,
                    self._model.weights,
                    statistics_input=self._statistics is not None,
                    measure=True,
                )
                compiled = _compile(graph, self._precision, _identity(graph, self._cache))
                self._measuring = compiled.create_infer_request()
            result: NormStatistics = self._measuring.infer(inputs, share_inputs=True)[MEASURED]
        return result

    def freeze(self, statistics: NormStatistics) -> "OpenVINOEngine":
        """Return an engine with fixed statistics; see `Engine.freeze`."""
        return OpenVINOEngine(
            self._model, self._precision, statistics=statistics, cache=self._cache
        )

    def load_graph(self, graph: bytes) -> GraphFunction:
        """Load any graph; see `GraphEngine.load_graph`."""
        return _load_graph(graph, self._precision, self._lock)


def load_graph(build: Callable[[], bytes], identity: str = "") -> GraphFunction:
    """Load any graph, without a style network; see `engines.cpu_graph.load_cpu_graph`."""
    native = _native_precisions()
    precision: Precision = "bf16" if "bf16" in native else "fp32"
    return _load_graph(build, precision, threading.Lock(), identity.encode())


def _load_graph(
    graph: bytes | Callable[[], bytes],
    precision: Precision,
    lock: threading.Lock,
    identity: bytes = b"",
) -> GraphFunction:
    request = _compile(graph, precision, identity).create_infer_request()

    def run(inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, Any]:
        shared = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        with lock:
            result = request.infer(shared, share_inputs=True)
        return {name: result[name] for name in outputs}

    return run


def _native_precisions() -> list[Precision]:
    # A compiled model's own property is of no use here: OpenVINO accepts bf16 on any processor with
    # AVX-512 and emulates it, and ignores it on others. The capabilities list only native types.
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [precision for precision in _HINTS if precision.upper() in capabilities]


def _identity(graph: bytes, keep: bool) -> bytes:
    """Return what `_compile` keeps a graph under: the graph itself, or nothing."""
    return graph if keep else b""


def _compile(
    graph: bytes | Callable[[], bytes],
    precision: Precision,
    identity: bytes = b"",
    *,
    streams: int = 1,
) -> Any:
    """Compile an ONNX graph, or load it from the cache on disk.

    Args:
        graph: a serialized ONNX ModelProto, or a function that builds it where it is not cached.
        precision: the precision to compute in.
        identity: what stands for the graph in the cache on disk; if empty, it is not cached.
        streams: the number of requests that share the cores.
    """
    core, options = _core(), _options(precision, streams)
    if identity:
        key = _key(identity, options)
        blob = COMPILED.load(key)
        if blob is not None:
            # The file is undamaged, but OpenVINO may still reject it: then the graph is compiled.
            with suppress(Exception):
                return core.import_model(blob, "CPU", options)
    compiled = core.compile_model(core.read_model(_built(graph)), "CPU", options)
    if identity:
        with suppress(Exception):  # not every build of OpenVINO can export
            COMPILED.store(key, _export(compiled))
    return compiled


def _compile_from_template(model: StyleModel, precision: Precision) -> Any:
    """Compile a style by `norm_template`; None if this build of OpenVINO does not allow it."""
    network, core, options = model.card.network, _core(), _options(precision)
    marked = mark(network, model.weights)
    graph = build_graph(network, marked)
    key = _key(graph, options)
    with suppress(Exception):
        blob = COMPILED.load(key)
        if blob is None:
            blob = _export(core.compile_model(core.read_model(graph), "CPU", options))
            COMPILED.store(key, blob)
        filled = fill(blob, network, marked, model.weights)
        return None if filled is None else core.import_model(filled, "CPU", options)
    return None


def _options(precision: Precision, streams: int = 1) -> dict[str, Any]:
    """Return OpenVINO's options for a network."""
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "CPU_RUNTIME_CACHE_CAPACITY": CACHED_KERNELS,
    }
    if streams > 1:
        options |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": streams}
    limit = core_limit()
    if limit is not None:
        options["INFERENCE_NUM_THREADS"] = limit
    return options


def _key(identity: bytes, options: dict[str, Any]) -> str:
    """Return the key in the cache on disk: a hash of all that a compiled network depends on.

    OpenVINO's own cache (CACHE_DIR) leaves half-written files behind, and must parse the graph
    before it can look it up.
    """
    environment = [_import_openvino().__version__, platform.machine(), visible_cores(), options]
    environment += [_core().get_property("CPU", about) for about in _PROCESSOR]
    return hashlib.sha256(repr(environment).encode() + identity).hexdigest()


def _export(compiled: Any) -> bytes:
    exported = compiled.export_model()
    return exported if isinstance(exported, bytes) else exported.getvalue()


def _built(graph: bytes | Callable[[], bytes]) -> bytes:
    return graph if isinstance(graph, bytes) else graph()
