"""Style networks on CPUs by OpenVINO: the default where there is no GPU."""

import hashlib
import platform
import queue
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.engines.base import (
    Device,
    EngineName,
    Pictures,
    Precision,
    Run,
    Statistics,
    check_batch,
    choose_precision,
)
from fast_style.engines.compile_cache import load_blob, store_blob
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
from fast_style.storage.hardware import core_limit, visible_cores

_LARGE_PIXELS = 4_000_000
"""From how many pixels on a graph for one size is worth its compilation, 0.1 s."""

_PROCESSOR = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


def _import_openvino() -> Any:
    """Import openvino without its model converter.

    `import openvino` imports the converter too, and the converter's import reports itself to the
    makers over the network (`openvino_telemetry`) and takes longer than all the rest. Nothing here
    converts models. Who asks openvino for `convert_model` still gets it.
    """
    converter = "openvino.tools.ovc"
    if "openvino" in sys.modules or converter in sys.modules:
        import openvino

        return openvino
    sys.modules[converter] = None  # type: ignore[assignment]  # its import fails, as allowed for
    try:
        import openvino
    finally:
        del sys.modules[converter]

    def late(name: str) -> Any:
        if name == "convert_model":
            from openvino.tools.ovc import convert_model

            return convert_model
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")

    if not hasattr(openvino, "convert_model"):
        openvino.__getattr__ = late
    return openvino


@cache
def _core() -> Any:
    return _import_openvino().Core()


class OpenVINOEngine:
    """One style, compiled by OpenVINO for every size of picture at once.

    The graph has free height and width: one compiled for each size is hardly quicker, and would
    cost a compilation and a file in the cache for each. Only large pictures get a graph of their
    own (`banded_graph`), which takes half the memory; the last one is kept.
    """

    def __init__(
        self,
        model: StyleModel,
        precision: str = "auto",
        *,
        statistics: Statistics | None = None,
        cache: bool = True,
        concurrency: int = 1,
    ) -> None:
        """Compile a model, or load what an earlier process compiled.

        Args:
            model: the style.
            precision: `auto` (bf16 where the processor has it natively, else fp32) or one of
                `PRECISIONS`.
            statistics: normalize with these, see `Engine.freeze`.
            cache: whether the compiled network may be kept on disk.
            concurrency: pictures in work at once, see `create_engine`.

        Raises:
            EngineError: a precision that the processor does not have.
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
        # A graph frozen to one picture will not be wanted again: not worth a file.
        compiled = _compile(graph, self._precision, keep=cache and statistics is None)
        self._request = compiled.create_infer_request()
        self._measuring: Any = None
        self._large: tuple[tuple[int, int], Any] | None = None  # its height and width, its request
        self._lock = threading.Lock()
        self._concurrency, self._callers = concurrency, 0
        self._counting = threading.Lock()
        self._streams: queue.SimpleQueue[Any] | None = None
        """Requests of a second copy, compiled when callers first meet."""

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
        """What it computes in."""
        return self._precision

    @property
    def bytes_per_filter(self) -> float:
        """See `GraphEngine`; the banded graph's."""
        return 8.0 if self._precision == "fp32" else 4.0

    def predict(self, batch: Pictures) -> Pictures:
        """Stylize pictures; see `Engine.predict`."""
        check_batch(batch)
        height, width = batch.shape[1:3]
        large = height * width >= _LARGE_PIXELS
        inputs = {INPUT: np.ascontiguousarray(pad_short_sides(batch))}
        with self._counted() as others:
            if others and self._concurrency > 1 and not large:
                result = self._predict_beside(inputs)
            else:
                with self._lock:
                    request = self._request
                    if self._statistics is None and len(batch) == 1 and large:
                        request = self._request_for(height, width)
                    result = request.infer(inputs, share_inputs=True)
        picture: Pictures = result[OUTPUT]
        return np.ascontiguousarray(picture[:, :height, :width])

    @contextmanager
    def _counted(self) -> Iterator[int]:
        """Be one of those who predict; gives how many others there are."""
        with self._counting:
            others = self._callers
            self._callers += 1
        try:
            yield others
        finally:
            with self._counting:
                self._callers -= 1

    def _predict_beside(self, inputs: dict[str, Any]) -> Any:
        """Take one of several requests, each of which has its share of the cores to itself.

        All cores on one picture wait for the slowest of them at every layer. Where others have
        work for them too, such as decoding and encoding, a millisecond of that costs a millisecond
        of every core.
        """
        with self._counting:
            if self._streams is None:
                graph = build_graph(
                    self._model.card.network, self._model.weights, statistics=self._statistics
                )
                keep = self._cache and self._statistics is None
                compiled = _compile(graph, self._precision, keep, streams=self._concurrency)
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
        """An inference request for large pictures of one size."""
        if self._large is None or self._large[0] != (height, width):
            self._large = None  # its memory goes before the next takes any
            graph = build_banded_graph(self._model.card.network, self._model.weights, height, width)
            compiled = _compile(graph, self._precision, keep=False)
            self._large = ((height, width), compiled.create_infer_request())
        return self._large[1]

    def measure(self, batch: Pictures) -> Statistics:
        """Take the statistics of pictures; see `Engine.measure`."""
        check_batch(batch)
        inputs: dict[str, Any] = {INPUT: np.ascontiguousarray(pad_short_sides(batch))}
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
                compiled = _compile(graph, self._precision, keep=self._cache)
                self._measuring = compiled.create_infer_request()
            result: Statistics = self._measuring.infer(inputs, share_inputs=True)[MEASURED]
        return result

    def freeze(self, statistics: Statistics) -> "OpenVINOEngine":
        """Give an engine with fixed statistics; see `Engine.freeze`."""
        return OpenVINOEngine(
            self._model, self._precision, statistics=statistics, cache=self._cache
        )

    def load_graph(self, graph: bytes) -> Run:
        """Load any graph; see `GraphEngine.load_graph`."""
        request = _compile(graph, self._precision, keep=False).create_infer_request()

        def run(inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, Any]:
            shared = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
            with self._lock:
                result = request.infer(shared, share_inputs=True)
            return {name: result[name] for name in outputs}

        return run


def _native_precisions() -> list[Precision]:
    # Not what a compiled model says: OpenVINO takes bf16 on any processor with AVX-512 and emulates
    # it, and passes over it in silence on others. The capabilities list only what is native.
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [precision for precision in _HINTS if precision.upper() in capabilities]


def _compile(graph: bytes, precision: Precision, keep: bool, streams: int = 1) -> Any:
    """Compile an ONNX graph, or take it from the cache on disk if it is there.

    Args:
        graph: a serialized ONNX ModelProto.
        precision: what it is to compute in.
        keep: whether to look into the cache, and leave it there.
        streams: among how many requests the cores are shared out.
    """
    core = _core()
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
    }
    if streams > 1:
        options |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": streams}
    limit = core_limit()
    if limit is not None:
        options["INFERENCE_NUM_THREADS"] = limit
    if not keep:
        return core.compile_model(core.read_model(graph), "CPU", options)

    # What the compiled model depends on, beside the graph with its weights. OpenVINO's own cache
    # (CACHE_DIR) would leave half-written files, and needs the graph read before it is looked up.
    place = [_import_openvino().__version__, platform.machine(), visible_cores(), options]
    place += [core.get_property("CPU", about) for about in _PROCESSOR]
    key = hashlib.sha256(repr(place).encode() + graph).hexdigest()
    blob = load_blob(key)
    if blob is not None:
        # Sound, but it may still be refused: then it is compiled anew, as below.
        with suppress(Exception):
            return core.import_model(blob, "CPU", options)
    compiled = core.compile_model(core.read_model(graph), "CPU", options)
    with suppress(Exception):  # not every build can export
        exported = compiled.export_model()
        store_blob(key, exported if isinstance(exported, bytes) else exported.getvalue())
    return compiled
