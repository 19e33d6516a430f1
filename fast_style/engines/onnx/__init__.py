"""The network as ONNX graphs, written without the package `onnx`."""
