"""Run any ONNX graph on the CPU, without a style network and without torch."""

from fast_style.engines.base import GraphFunction
from fast_style.errors import MissingExtraError
from fast_style.storage.hardware import installed


def load_cpu_graph(graph: bytes) -> GraphFunction:
    """Load a graph into OpenVINO, or into ONNX Runtime where OpenVINO is not installed.

    Args:
        graph: a serialized ONNX ModelProto.

    Raises:
        MissingExtraError: neither is installed.
        RuntimeError: the engine rejects the graph.
    """
    if installed("openvino"):
        from fast_style.engines.openvino_engine import load_graph

        return load_graph(graph)
    if installed("onnxruntime"):
        from fast_style.engines.onnxruntime_engine import load_graph as load_onnxruntime_graph

        return load_onnxruntime_graph(graph)
    raise MissingExtraError("predicting a style from a painting", "onnxruntime", "onnxruntime")
