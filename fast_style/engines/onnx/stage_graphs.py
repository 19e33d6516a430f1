"""The network cut into stages that end at its instance norms, each an ONNX graph of its own.

A norm needs the statistics of the whole picture before anything after it can be computed. A stage
reads a strip of rows of what earlier stages stored, applies the norms whose statistics are known as
constants, and returns for each row the statistics of the next norm's input;
`inference.strips.sweep` leaves out the rows of the halo and joins the strips. Between stages only
features at the trunk's resolution are stored; what lies before and after them at higher resolution
is computed again where it is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fast_style.engines.onnx.graph import OUTPUT, GraphBuilder, check_statistics
from fast_style.engines.onnx.writer import FLOAT, FLOAT16, UINT8, Value
from fast_style.models.config import (
    ConvolutionLayer,
    Layer,
    NetworkConfig,
    NormLayer,
    OutputLayer,
    ResidualEnd,
    ResidualStart,
    UpsampleLayer,
    input_sides,
    total_stride,
)

IMAGE, RAW, BASE = "image", "raw", "base"
"""Names of a stage's inputs. `IMAGE`: uint8 (1, H, W, 3). `RAW`: what a norm reads. `BASE`: the
features that an open residual keeps, or those at the end of the trunk. `RAW` and `BASE` are float16
(1, C, H, W), at the trunk's resolution."""

NEXT_RAW, NEXT_BASE, MEASURED = "next_raw", "next_base", "measured"
"""Names of a stage's outputs: `RAW` and `BASE` for the next stage, and for each row of what the
stage's norm reads the mean and the Euclidean norm, float32 (1, C, H, 2)."""


@dataclass(frozen=True, slots=True)
class GraphStage:
    """One stage of a network.

    Attributes:
        first: number of its first layer in `NetworkConfig.layers`.
        last: number after its last layer: that of the norm whose input it measures, or the number
            of layers for the last stage, which returns the picture.
        norm: name of that norm; "" for the last stage.
        inputs: channels of what it reads: `IMAGE`, or `RAW` and perhaps `BASE`, or `BASE` alone.
        outputs: channels of what it returns: `MEASURED`, `NEXT_RAW`, `NEXT_BASE` in the order
            given, or the graph's picture.
        kept_at: number of the layer whose input is `NEXT_BASE`.
        rows_in: input rows for each row of the trunk's features.
        halo: rows of the trunk's features that it needs above and below a strip.
        rows_out: output rows for each row of the trunk's features.
    """

    first: int
    last: int
    norm: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    kept_at: int
    rows_in: int
    halo: int
    rows_out: int


def plan_graph_stages(config: NetworkConfig) -> list[GraphStage]:
    """List the stages of a network in their order.

    Raises:
        ValueError: a residual that is open at a norm of the trunk begins outside of the trunk or
            within another residual.
    """
    layers = config.layers()
    rows, channels = input_sides(config, total_stride(config)), _input_channels(config)
    trunk_end = next(i for i, layer in enumerate(layers) if isinstance(layer, UpsampleLayer))
    stages: list[GraphStage] = []
    first = 0
    for last in (*(i for i, x in enumerate(layers) if isinstance(x, NormLayer)), len(layers)):
        # 1) What the stage reads: the picture, what the last norm reads, or the end of the trunk
        inputs = {IMAGE: 3}
        if first == trunk_end:
            inputs = {BASE: channels[first]}
        elif first:
            inputs = {RAW: channels[first]}
            start = _open_residual(config, first)
            if start is not None and _open_residual(config, last) != start:
                inputs[BASE] = channels[start]

        # 2) What it returns, and where the next one begins
        outputs, kept_at, next_first = {}, 0, first
        if last == len(layers):
            outputs[OUTPUT] = 3
        else:
            outputs[MEASURED] = channels[last]
            if last < trunk_end and rows[last] == 1:
                next_first = last
                outputs[NEXT_RAW] = channels[last]
                kept_at = _open_residual(config, last) or 0
            elif last > trunk_end:
                kept_at = next_first = trunk_end
            if kept_at > first:
                outputs[NEXT_BASE] = channels[kept_at]

        norm = layers[last] if last < len(layers) else None
        stages.append(
            GraphStage(
                first,
                last,
                norm.name if isinstance(norm, NormLayer) else "",
                inputs,
                outputs,
                kept_at,
                rows_in=rows[first],
                halo=-(-_reach(layers[first:last]) // rows[first]),
                rows_out=rows[last] if norm is not None else rows[0],
            )
        )
        first = next_first
    return stages


def _input_channels(config: NetworkConfig) -> list[int]:
    """Return the channels of each layer's input."""
    found, channels = [], 3
    for layer in config.layers():
        found.append(channels)
        if isinstance(layer, ConvolutionLayer | UpsampleLayer | OutputLayer):
            channels = layer.n_out
    return found


def _open_residual(config: NetworkConfig, position: int) -> int | None:
    """Return where the residual begins that is open before a layer of the trunk; None if none is.

    Raises:
        ValueError: there are several, or it begins at a higher resolution.
    """
    starts: list[int] = []
    for i, layer in enumerate(config.layers()[:position]):
        if isinstance(layer, ResidualStart):
            starts.append(i)
        elif isinstance(layer, ResidualEnd):
            starts.pop()
    if not starts:
        return None
    if len(starts) > 1 or input_sides(config, total_stride(config))[starts[0]] > 1:
        raise ValueError(f"a stage of {config} cannot keep the residuals from layers {starts}")
    return starts[0]


def _reach(layers: Sequence[Layer]) -> int:
    """Return how many rows of the first layer's input, above and below, an output row depends on.

    Relative to the rows of the same place, rounded up to whole strides.
    """
    reach = 0
    for layer in reversed(layers):
        if isinstance(layer, ConvolutionLayer):
            reach = reach * layer.stride + layer.kernel // 2
        elif isinstance(layer, UpsampleLayer):
            reach = -(-(reach + 1) // 2)
        elif isinstance(layer, OutputLayer):
            reach += layer.kernel // 2
    return reach


def build_stage_graph(
    config: NetworkConfig,
    weights: Mapping[str, NDArray[np.float32]],
    stage: GraphStage,
    statistics: NDArray[np.float32],
) -> bytes:
    """Build the ONNX model of a stage.

    Args:
        config: the network.
        weights: float32 arrays by the names of `parameter_shapes`.
        stage: one of `plan_graph_stages(config)`.
        statistics: shape `graph.statistics_shape`. Only those of the norms before the stage's own
            are used.

    Raises:
        UsageError: the statistics have the wrong shape.
    """
    check_statistics(config, statistics)
    return _StageBuilder(config, weights, statistics).build_stage(stage)


class _StageBuilder(GraphBuilder):
    """Writes the layers of one stage."""

    def build_stage(self, stage: GraphStage) -> bytes:
        op = self.writer.op
        inputs = [self.describe_value(name, n) for name, n in stage.inputs.items()]
        outputs = [self.describe_value(name, n) for name, n in stage.outputs.items()]

        # 1) Load what earlier stages stored
        kept: list[str] = []
        if IMAGE in stage.inputs:
            features = op("Transpose", op("Cast", IMAGE, to=FLOAT), perm=(0, 3, 1, 2))
        else:
            features, *kept = (op("Cast", name, to=FLOAT) for name in stage.inputs)

        # 2) The last stage: the picture
        if OUTPUT in stage.outputs:
            op("Identity", self.write_picture(features, first=stage.first), output=OUTPUT)
            return self.writer.finish(inputs, outputs)

        # 3) The others: the layers up to the norm, and what the next stage needs
        first, base = stage.first, ""
        if NEXT_BASE in stage.outputs:
            base = features = self.write_layers(self.layers[first : stage.kept_at], features, kept)
            first, kept = stage.kept_at, []
        features = self.write_layers(self.layers[first : stage.last], features, kept)
        self.measure_rows(features, self.layers[stage.last - 1], stage.outputs[MEASURED])
        if NEXT_RAW in stage.outputs:
            op("Cast", features, to=FLOAT16, output=NEXT_RAW)
        if base:
            op("Cast", base, to=FLOAT16, output=NEXT_BASE)
        return self.writer.finish(inputs, outputs)

    def describe_value(self, name: str, channels: int) -> Value:
        """Return type and shape of an input or output."""
        if name in (IMAGE, OUTPUT):
            return name, UINT8, ("batch", "height", "width", channels)
        if name == MEASURED:
            return name, FLOAT, ("batch", channels, "rows", 2)
        return name, FLOAT16, ("batch", channels, "height", "width")

    def measure_rows(self, features: str, layer: Layer, channels: int) -> None:
        """Return the mean and the Euclidean norm of each row of what a layer gives.

        Mean and variance over any rows follow from them, and the rows of a halo need not be cut off
        first, which would copy the features.
        """
        op = self.writer.op
        if isinstance(layer, UpsampleLayer):
            # With bf16, OpenVINO computes everything after the last `Conv` in float32, transposed
            # convolutions included, which takes twice as long. Hence a `Conv` by the identity.
            one = np.ones((channels, 1, 1, 1), np.float32)
            features = op(
                "Conv", features, self.writer.constant(one), group=channels, kernel_shape=(1, 1)
            )
        mean = op("ReduceMean", features, axes=(3,), keepdims=1)
        norm = op("ReduceL2", features, axes=(3,), keepdims=1)
        op("Concat", mean, norm, axis=3, output=MEASURED)
