"""Run any ONNX graph on the CPU, without a style network and without torch."""

from collections.abc import Callable

from fast_style.engines.base import GraphFunction
from fast_style.errors import MissingExtraError
from fast_style.storage.hardware import installed


def load_cpu_graph(build: Callable[[], bytes], identity: str = "") -> GraphFunction:
    """Load a graph into OpenVINO, or into ONNX Runtime where OpenVINO is not installed.

    Args:
        build: returns the serialized ONNX ModelProto.
        identity: text that changes whenever the graph does: OpenVINO then keeps the compiled graph
            on disk, and the next time it is not built. If empty, nothing is kept.

    Raises:
        MissingExtraError: neither is installed.
        RuntimeError: the engine rejects the graph.
    """
    if installed("openvino"):
        from fast_style.engines.openvino_engine import load_graph

        return load_graph(build, identity)
    if installed("onnxruntime"):
        from fast_style.engines.onnxruntime_engine import load_graph as load_onnxruntime_graph

        return load_onnxruntime_graph(build())
    raise MissingExtraError("predicting a style from a painting", "onnxruntime", "onnxruntime")
