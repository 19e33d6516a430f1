"""The ONNX Runtime engine: an optional extra, for CPUs that OpenVINO does not support."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
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
from fast_style.engines.onnx.graph import (
    INPUT,
    MEASURED,
    OUTPUT,
    STATISTICS,
    build_graph,
    pad_short_sides,
)
from fast_style.models.model_file import StyleModel
from fast_style.storage.hardware import usable_cores


class OnnxRuntimeEngine:
    """One style network in ONNX Runtime, in fp32 on the CPU."""

    def __init__(
        self,
        model: StyleModel,
        precision: str = "auto",
        *,
        statistics: NormStatistics | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: the style.
            precision: `auto` or `fp32`.
            statistics: normalize with these, see `Engine.freeze`.

        Raises:
            EngineError: another precision.
            UsageError: the statistics do not fit the network.
        """
        self._precision = choose_precision(precision, ["fp32"], "fp32", "onnxruntime on the CPU")
        self._model, self._statistics = model, statistics
        self._session = _session(
            build_graph(model.card.network, model.weights, statistics=statistics)
        )
        self._measuring: Any = None
        self._lock = threading.Lock()

    @property
    def name(self) -> EngineName:
        """Always `onnxruntime`."""
        return "onnxruntime"

    @property
    def device(self) -> Device:
        """Always `cpu`."""
        return "cpu"

    @property
    def precision(self) -> Precision:
        """Precision that it computes in; always `fp32`."""
        return self._precision

    @property
    def bytes_per_filter(self) -> float:
        """See `GraphEngine`: about three copies of the features in float32."""
        return 13.0

    def predict(self, batch: Pictures) -> Pictures:
        """Stylize pictures; see `Engine.predict`."""
        check_batch(batch)
        height, width = batch.shape[1:3]
        inputs = {INPUT: np.ascontiguousarray(pad_short_sides(batch, self._model.card.network))}
        with self._lock:  # a session is thread-safe, but concurrent calls would compete for cores
            picture: Pictures = self._session.run([OUTPUT], inputs)[0]
        return np.ascontiguousarray(picture[:, :height, :width])

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
                self._measuring = _session(graph)
            result: NormStatistics = self._measuring.run([MEASURED], inputs)[0]
        return result

    def freeze(self, statistics: NormStatistics) -> "OnnxRuntimeEngine":
        """Return an engine with fixed statistics; see `Engine.freeze`."""
        return OnnxRuntimeEngine(self._model, self._precision, statistics=statistics)

    def load_graph(self, graph: bytes) -> GraphFunction:
        """Load any graph; see `GraphEngine.load_graph`."""
        return _load_graph(graph, self._lock)


def load_graph(graph: bytes) -> GraphFunction:
    """Load any graph, without a style network; see `engines.cpu_graph.load_cpu_graph`."""
    return _load_graph(graph, threading.Lock())


def _load_graph(graph: bytes, lock: threading.Lock) -> GraphFunction:
    session = _session(graph)

    def run(inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, Any]:
        whole = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        with lock:
            return dict(zip(outputs, session.run(list(outputs), whole), strict=True))

    return run


def _session(graph: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    # Without a number, it pins its threads to cores, and logs errors where that is forbidden.
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
