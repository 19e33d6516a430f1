"""Style networks on CPUs by OpenVINO: the default where there is no GPU."""

import hashlib
import platform
import sys
import threading
from functools import cache
from typing import Any

import numpy as np

from fast_style.checkpoint import StyleModel
from fast_style.engines.blob_cache import load_blob, store_blob
from fast_style.engines.machine import core_limit, visible_cores
from fast_style.engines.protocol import (
    Device,
    EngineName,
    Pictures,
    Precision,
    Statistics,
    check_batch,
    choose_precision,
)
from fast_style.errors import EngineError
from fast_style.graph import (
    INPUT,
    MEASURED,
    OUTPUT,
    STATISTICS,
    build_graph,
    check_statistics,
    pad_short_sides,
)

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
    sys.modules[converter] = None  # type: ignore[assignment]  # makes its import fail, as documented
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
        openvino.__getattr__ = late  # type: ignore[attr-defined]
    return openvino


@cache
def _core() -> Any:
    return _import_openvino().Core()


class OpenVINOEngine:
    """One style, compiled by OpenVINO for every size of picture at once.

    The graph has free height and width: compiling it for each size would gain a few per cent and
    cost a tenth of a second and a file in the cache for each.
    """

    def __init__(
        self, model: StyleModel, precision: str = "auto", *, statistics: Statistics | None = None
    ) -> None:
        """Compile a model, or load what an earlier process compiled.

        Args:
            model: the style.
            precision: `auto` (bf16 where the processor has it natively, else fp32) or one of
                `PRECISIONS`.
            statistics: normalize with these, see `Engine.freeze`.

        Raises:
            EngineError: a precision that the processor has not, or OpenVINO failed.
        """
        self._model, self._statistics = model, statistics
        try:
            native = self._native_precisions()
            self._precision = choose_precision(
                precision, native, "bf16" if "bf16" in native else "fp32", "openvino on this CPU"
            )
            graph = build_graph(model.card.network, model.weights, statistics=statistics)
            # A frozen graph serves one picture: not worth a file.
            self._request = self._compile(graph, keep=statistics is None).create_infer_request()
        except RuntimeError as error:
            raise _failure(error) from error
        self._measuring: Any = None
        self._lock = threading.Lock()

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

    def predict(self, batch: Pictures) -> Pictures:
        """Stylize pictures; see `Engine.predict`."""
        check_batch(batch)
        return self._infer(self._request, {INPUT: batch}, batch.shape)[OUTPUT]

    def measure(self, batch: Pictures) -> Statistics:
        """Take the statistics of pictures; see `Engine.measure`."""
        check_batch(batch)
        frozen = self._statistics
        with self._lock:
            if self._measuring is None:
                graph = build_graph(
                    self._model.card.network,
                    self._model.weights,
                    statistics_input=frozen is not None,
                    measure=True,
                )
                try:
                    self._measuring = self._compile(graph, keep=True).create_infer_request()
                except RuntimeError as error:
                    raise _failure(error) from error
        inputs = {INPUT: batch}
        if frozen is not None:
            inputs[STATISTICS] = frozen[None]
        return self._infer(self._measuring, inputs, batch.shape)[MEASURED]
