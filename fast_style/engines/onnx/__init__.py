"""The network as ONNX graphs, written without the `onnx` package."""
