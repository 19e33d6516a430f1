"""The statistics that a style is predicted from as one ONNX graph: a painting in, statistics out.

The graph holds the bundled VGG-16 to relu4_3 and the statistics of its features;
`models.predictor` has the formulas, and does the rest in NumPy. Second moments are computed of
projected features, (R, H*W),
so that no Gram matrix of 512 channels is needed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.engines.onnx.writer import FLOAT, UINT8, Writer
from fast_style.models.predictor import STYLE_LAYERS, StylePredictor
from fast_style.models.vgg_weights import BGR_MEAN, STAGES

PAINTING, STATISTICS = "painting", "statistics"
"""Input: RGB uint8, (1, H, W, 3). Output: float32, (1, D), see `StylePredictor.predict`."""

GRAPH_VERSION = 2
"""To be raised with every change of the graph, which is cached compiled."""

MINIMUM_SIDE = 16
"""Shortest side of a painting in pixels: relu4_3 sees it at an eighth."""


def build_predictor_graph(
    predictor: StylePredictor, vgg: Mapping[str, NDArray[np.float16]]
) -> bytes:
    """Build the ONNX model.

    Args:
        predictor: the predictor.
        vgg: `models.vgg_weights.load_vgg_weights()`.

    Returns:
        A serialized ModelProto; height and width are free, `MINIMUM_SIDE` or more.
    """
    writer = Writer()
    statistics = _describe_layers(writer, predictor.constants, _add_vgg(writer, vgg))
    writer.op("Concat", *statistics, axis=1, output=STATISTICS)
    count = predictor.constants["descriptor.center"].size
    return writer.finish(
        [(PAINTING, UINT8, (1, "height", "width", 3))], [(STATISTICS, FLOAT, (1, count))]
    )


def _add_vgg(writer: Writer, vgg: Mapping[str, NDArray[np.float16]]) -> dict[str, str]:
    """Add the VGG; return the features of `STYLE_LAYERS` by layer."""
    planes = writer.op("Transpose", PAINTING, perm=(0, 3, 1, 2))
    values = writer.op("Cast", planes, to=FLOAT)
    bgr = writer.op("Gather", values, writer.constant(np.array([2, 1, 0])), axis=1)
    mean = writer.constant(np.array(BGR_MEAN, np.float32).reshape(1, 3, 1, 1))
    features = writer.op("Sub", bgr, mean)
    found: dict[str, str] = {}
    index = 0  # torchvision numbers convolutions, ReLUs and poolings alike
    for stage, (count, _) in enumerate(STAGES, 1):
        if stage > 1:
            features = writer.op("MaxPool", features, kernel_shape=(2, 2), strides=(2, 2))
            index += 1
        for number in range(count):
            name = f"features.{index}"
            index += 2
            # Stored as float16, which halves the graph; both engines fold the casts.
            parts = [
                writer.op("Cast", writer.constant(vgg[f"{name}.{part}"]), to=FLOAT)
                for part in ("weight", "bias")
            ]
            features = writer.op("Relu", writer.op("Conv", features, *parts, pads=(1, 1, 1, 1)))
            found[f"relu{stage}_{number + 1}"] = features
    return {layer: found[layer] for layer in STYLE_LAYERS}


def _describe_layers(
    writer: Writer, constants: Mapping[str, NDArray[Any]], features: Mapping[str, str]
) -> list[str]:
    """Add the statistics of the features; return their names in the descriptor's order.

    Means are poolings and projections convolutions, for which the engine need not move the features
    into another memory layout.
    """
    found: list[str] = []
    row = writer.constant(np.array([1, -1]))
    for layer, name in features.items():
        projection = constants[f"descriptor.projection_{layer}"]  # (C, R)
        rank = projection.shape[1]
        mean = writer.op("Reshape", writer.op("GlobalAveragePool", name), row)
        square = writer.op("GlobalAveragePool", writer.op("Mul", name, name))
        moment = writer.op("Reshape", square, row)
        found.append(writer.op("Sqrt", mean))
        found.append(writer.op("Sqrt", writer.op("Sqrt", moment)))
        kernel = writer.constant(projection.T[:, :, None, None])  # (R, C, 1, 1)
        shape = writer.constant(np.array([1, rank, -1]))
        projected = writer.op("Reshape", writer.op("Conv", name, kernel), shape)
        other = writer.op("Transpose", projected, perm=(0, 2, 1))
        pixels = writer.op("Gather", writer.op("Shape", projected), writer.constant(np.array([2])))
        moments = writer.op("MatMul", projected, other)
        moments = writer.op("Div", moments, writer.op("Cast", pixels, to=FLOAT))
        flat = writer.op("Reshape", moments, writer.constant(np.array([1, rank * rank])))
        rows, places = np.triu_indices(rank)
        low = writer.op("Gather", flat, writer.constant(rows * rank + places), axis=1)
        root = writer.op("Sqrt", writer.op("Abs", low))
        found.append(writer.op("Mul", writer.op("Sign", low), root))
    return found
