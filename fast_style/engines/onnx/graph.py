"""A style network as an ONNX graph, built from its weights without torch and without an exporter.

OpenVINO and ONNX Runtime read the same bytes. `GraphBuilder` walks the layers of `models.config`
and writes them in the rewritten form of `upsample_kernel` and `output_kernel`, which computes the
same function in fewer operations.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.engines.onnx.kernels import output_kernel, upsample_kernel
from fast_style.engines.onnx.writer import FLOAT, UINT8, Value, Writer
from fast_style.errors import ModelError, UsageError
from fast_style.models.config import (
    NORM_EPSILON,
    ConvolutionLayer,
    Layer,
    NetworkConfig,
    NormLayer,
    OutputLayer,
    ReluLayer,
    ResidualEnd,
    ResidualStart,
    TanhLayer,
    UpsampleLayer,
    minimum_side,
    norm_layers,
    norm_slices,
    parameter_shapes,
)

INPUT, OUTPUT, STATISTICS, MEASURED = "image", "stylized", "statistics", "measured"
"""Names of the graph's inputs and outputs; `STATISTICS` and `MEASURED` where asked for."""

Array = NDArray[Any]

_CANCELLED_BIAS = 2.0**-10


def statistics_shape(config: NetworkConfig) -> tuple[int, int]:
    """Return the shape (2, C) of one picture's statistics, which `norm_slices` describes.

    The unused bias of the convolution before a norm is not part of the means.
    """
    return 2, sum(norm_layers(config).values())


def build_graph(
    config: NetworkConfig,
    weights: Mapping[str, NDArray[np.float32]],
    *,
    statistics: NDArray[np.float32] | None = None,
    statistics_input: bool = False,
    measure: bool = False,
    float_output: bool = False,
) -> bytes:
    """Build the ONNX model of a network.

    Its input `image` is uint8 RGB of shape (B, H, W, 3), its output `stylized` the same; batch,
    height and width are free, but H and W must be at least `minimum_side(config)` pixels, which
    `pad_short_sides` ensures. The output is cropped to H and W inside the graph.

    Args:
        config: the network.
        weights: float32 arrays by the names of `parameter_shapes`.
        statistics: normalize with these, of shape `statistics_shape`, instead of the picture's own,
            so that tiles of one picture agree. They are folded into the convolutions as constants:
            the graph has no norms and is the fastest of all.
        statistics_input: the same, but read at run time from the input `statistics`, float32 of
            shape (B or 1, *statistics_shape). Slower than a graph without: OpenVINO leaves its
            fast memory layout around a scale that is not constant.
        measure: add the output `measured`, float32 of shape (B, *statistics_shape): what each norm
            sees in this picture. With `statistics_input`, the norms before it use the given
            statistics.
        float_output: return the picture as float32 0-255, neither clamped nor rounded.

    Returns:
        The serialized ModelProto.

    Raises:
        ModelError: a weight is missing or has the wrong shape.
        UsageError: the statistics have the wrong shape, or options exclude each other.
    """
    if statistics is not None:
        check_statistics(config, statistics)
        if statistics_input or measure:
            raise UsageError("a graph with constant statistics can neither take nor measure others")
    for name, shape in parameter_shapes(config).items():
        if name not in weights or weights[name].shape != shape:
            found = weights[name].shape if name in weights else "missing"
            raise ModelError(f"the graph needs {name} of shape {shape}; it is {found}")
    builder = GraphBuilder(
        config, weights, statistics, statistics_input=statistics_input, measure=measure
    )
    return builder.build(float_output)


def check_statistics(config: NetworkConfig, statistics: NDArray[np.float32]) -> None:
    """Check that statistics are those of one picture for this network.

    Raises:
        UsageError: the shape is not `statistics_shape`, or a variance is negative or not a number.
    """
    expected = statistics_shape(config)
    if statistics.shape != expected:
        raise UsageError(f"statistics have shape {statistics.shape}; this network needs {expected}")
    if not np.isfinite(statistics).all() or (statistics[1] < 0).any():
        raise UsageError("statistics need finite means and variances of zero or more")


def pad_short_sides(batch: NDArray[np.uint8], config: NetworkConfig) -> NDArray[np.uint8]:
    """Repeat the last row and column until both sides are long enough for the network's padding.

    Crop the network's output to the sides of `batch` afterwards.

    Args:
        batch: shape (B, H, W, 3).
        config: the network.
    """
    least = minimum_side(config)
    short = [max(0, least - side) for side in batch.shape[1:3]]
    if not any(short):
        return batch
    return np.pad(batch, ((0, 0), (0, short[0]), (0, short[1]), (0, 0)), mode="edge")


def pair_norms(layers: Iterable[Layer]) -> Iterator[tuple[Layer, NormLayer | None]]:
    """Join each convolution with the norm that follows it; other layers have None."""
    before: Layer | None = None
    for layer in layers:
        if isinstance(layer, NormLayer) and isinstance(before, ConvolutionLayer | UpsampleLayer):
            yield before, layer
            before = None
            continue
        if before is not None:
            yield before, None
        before = layer
    if before is not None:
        yield before, None


class GraphBuilder:
    """Writes the layers of a network as ONNX nodes.

    Its methods take the names of the values that they read and return the name of their result.
    Other graphs of the same network override what differs in them.
    """

    picture_sides: tuple[str | int, ...] = ("batch", "height", "width", 3)
    """Shape of the input and output pictures; text stands for a free size."""

    def __init__(
        self,
        config: NetworkConfig,
        weights: Mapping[str, Array],
        statistics: Array | None = None,
        *,
        statistics_input: bool = False,
        measure: bool = False,
    ) -> None:
        """See `build_graph` for the arguments."""
        self.config, self.weights = config, weights
        self.statistics, self.statistics_input, self.measure = statistics, statistics_input, measure
        self.writer = Writer()
        self.layers = config.layers()
        self.slices = norm_slices(config)
        self.measured: list[str] = []  # for each norm its mean and variance, (B, 2, C)
        # OpenVINO computes the norm after the graph's first convolution in float32, unfused, unless
        # that convolution has a bias: 5 % of the whole network's time. The norm cancels it, and
        # OpenVINO would remove a bias of zero.
        self.biases_first = not (measure or statistics_input)

    def build(self, float_output: bool) -> bytes:
        """Write the whole network; see `build_graph`."""
        op = self.writer.op
        picture = op("Cast", INPUT, to=FLOAT)
        features = op("Transpose", picture, perm=(0, 3, 1, 2))
        self.crop(self.write_picture(features, float_output))

        n_statistics = statistics_shape(self.config)
        sides = self.picture_sides
        inputs: list[Value] = [(INPUT, UINT8, sides)]
        if self.statistics_input:
            inputs.append((STATISTICS, FLOAT, ("statistics_batch", *n_statistics)))
        outputs: list[Value] = [(OUTPUT, FLOAT if float_output else UINT8, sides)]
        if self.measure:
            op("Concat", *self.measured, axis=2, output=MEASURED)
            outputs.append((MEASURED, FLOAT, ("batch", *n_statistics)))
        return self.writer.finish(inputs, outputs)

    def write_picture(self, features: str, float_output: bool = False, first: int = 0) -> str:
        """Write the layers from number `first` on: features to a picture, (B, H, W, 3)."""
        last = next(i for i, layer in enumerate(self.layers) if isinstance(layer, OutputLayer))
        features = self.write_layers(self.layers[first:last], features)
        return self.write_output(self.layers[last:], features, float_output)

    def write_output(self, layers: Sequence[Layer], features: str, float_output: bool) -> str:
        """Write the `OutputLayer` and what follows it, and bring the result to (B, H, W, 3)."""
        cells = self.write_layers(layers, features)
        return self.interleave(cells if float_output else self.round(cells))

    def write_layers(self, layers: Iterable[Layer], features: str, kept: Iterable[str] = ()) -> str:
        """Write layers one after the other.

        Args:
            layers: in forward order.
            features: what the first one reads.
            kept: what the residuals that are already open have kept.
        """
        op, stack = self.writer.op, list(kept)
        for layer, norm in pair_norms(layers):
            match layer:
                case ConvolutionLayer():
                    features = self.convolve(layer, norm, features)
                case UpsampleLayer():
                    features = self.upsample(layer, norm, features)
                case NormLayer():
                    features = self.normalize_stored(layer, features)
                case ReluLayer():
                    features = op("Relu", features)
                case ResidualStart():
                    stack.append(features)
                case ResidualEnd():
                    features = op("Add", stack.pop(), features)
                case OutputLayer():
                    features = self.convolve_output(layer, features)
                case TanhLayer():
                    scale = self.writer.constant(np.float32(layer.scale), "output.tanh")
                    features = op("Mul", op("Tanh", features), scale)
        return features

    def pad(self, features: str, amount: int, mode: str) -> str:
        """Pad height and width by `amount` on every side."""
        pads = np.array([0, 0, amount, amount] * 2)
        return self.writer.op("Pad", features, self.writer.constant(pads), mode=mode)

    def convolve(self, layer: ConvolutionLayer, norm: NormLayer | None, features: str) -> str:
        """Write padding by reflection, a convolution, and its norm if it has one."""
        padded = self.pad(features, layer.kernel // 2, "reflect")
        return self.convolve_padded(layer, norm, padded)

    def convolve_padded(self, layer: ConvolutionLayer, norm: NormLayer | None, padded: str) -> str:
        """Write a convolution of padded features, and its norm if it has one."""
        options: dict[str, Any] = {"strides": (layer.stride,) * 2}
        if layer.groups > 1:
            options["group"] = layer.groups
        weight = self.weights[f"{layer.name}.weight"]
        return self.apply_kernel(layer, norm, "Conv", padded, weight, **options)

    def upsample(self, layer: UpsampleLayer, norm: NormLayer | None, features: str) -> str:
        """Write upsampling by 2 with a convolution, and its norm if it has one."""
        weight = self.weights[f"{layer.name}.weight"]
        if layer.method == "transposed":
            pads, extra = (1, 1, 1, 1), (1, 1)
        else:
            weight, features = upsample_kernel(weight), self.pad(features, 1, "edge")
            pads, extra = (3, 3, 3, 3), (0, 0)
        options = {"strides": (2, 2), "pads": pads, "output_padding": extra}
        return self.apply_kernel(layer, norm, "ConvTranspose", features, weight, **options)

    def apply_kernel(
        self,
        layer: ConvolutionLayer | UpsampleLayer,
        norm: NormLayer | None,
        kind: str,
        features: str,
        weight: Array,
        **options: Any,
    ) -> str:
        """Write a `Conv` or `ConvTranspose` and its norm if it has one."""
        bias, bias_name = None, f"{layer.name}.bias"
        if isinstance(layer, ConvolutionLayer) and layer.uses_bias:
            bias = self.weights[f"{layer.name}.bias"]
        if norm is not None and self.statistics is not None:
            factor, offset = self.fold_norm(norm)
            norm = None
            column = (-1, 1, 1, 1) if kind == "Conv" else (1, -1, 1, 1)
            weight = (weight * factor.reshape(column)).astype(np.float32)
            bias = (offset if bias is None else offset + factor * bias).astype(np.float32)
        elif norm is not None and layer is self.layers[0] and self.biases_first:
            bias, bias_name = np.full(layer.n_out, _CANCELLED_BIAS, np.float32), ""
        operands = [features, self.add_parameter(weight, f"{layer.name}.weight")]
        if bias is not None:
            operands.append(self.add_parameter(bias, bias_name))
        convolved = self.writer.op(kind, *operands, **options, kernel_shape=weight.shape[2:])
        return convolved if norm is None else self.normalize(norm, convolved)

    def add_parameter(self, values: Array, name: str) -> str:
        """Add the kernel or bias of a convolution as a constant."""
        return self.writer.constant(values, name)

    def normalize(self, norm: NormLayer, features: str) -> str:
        """Write an instance norm of what a convolution gives."""
        if self.measure:
            self.measured.append(self.measure_channels(features, norm.channels))
        if self.statistics_input:
            return self.normalize_given(norm, features)
        return self.normalize_own(norm, features)

    def normalize_own(self, norm: NormLayer, features: str) -> str:
        """Write an instance norm on the statistics of the features themselves."""
        scale, shift = f"{norm.name}.weight", f"{norm.name}.bias"
        return self.writer.op(
            "InstanceNormalization",
            features,
            self.writer.constant(self.weights[scale], scale),
            self.writer.constant(self.weights[shift], shift),
            epsilon=NORM_EPSILON,
        )

    def normalize_stored(self, norm: NormLayer, features: str) -> str:
        """Write an instance norm whose convolution lies in another graph, with known statistics."""
        op, const, column = self.writer.op, self.writer.constant, (1, -1, 1, 1)
        factor, offset = (part.astype(np.float32).reshape(column) for part in self.fold_norm(norm))
        return op("Add", op("Mul", features, const(factor)), const(offset))

    def fold_norm(self, norm: NormLayer) -> tuple[Array, Array]:
        """Return a norm on known statistics as factor and offset of each channel, in float64."""
        assert self.statistics is not None
        scale, shift = (self.weights[f"{norm.name}.{part}"] for part in ("weight", "bias"))
        mean, variance = self.statistics[:, self.slices[norm.name]].astype(np.float64)
        factor = scale / np.sqrt(variance + NORM_EPSILON)
        return factor, shift - mean * factor

    def measure_channels(self, features: str, channels: int) -> str:
        """Write mean and variance of each picture's channels, (B, 2, channels)."""
        op, shape = self.writer.op, self.writer.constant(np.array([0, 1, channels]))
        mean = op("ReduceMean", features, axes=(2, 3), keepdims=1)
        centred = op("Sub", features, mean)
        variance = op("ReduceMean", op("Mul", centred, centred), axes=(2, 3), keepdims=1)
        return op("Concat", op("Reshape", mean, shape), op("Reshape", variance, shape), axis=1)

    def normalize_given(self, norm: NormLayer, features: str) -> str:
        """Write an instance norm on the statistics of the graph's input."""
        op, const = self.writer.op, self.writer.constant
        mean, variance = (self.slice_statistics(norm, row) for row in range(2))
        column = (1, norm.channels, 1, 1)
        root = op("Sqrt", op("Add", variance, const(np.float32(NORM_EPSILON))))
        scale = const(self.weights[f"{norm.name}.weight"].reshape(column), f"{norm.name}.weight")
        shift = const(self.weights[f"{norm.name}.bias"].reshape(column), f"{norm.name}.bias")
        factor = op("Div", scale, root)
        offset = op("Sub", shift, op("Mul", mean, factor))
        return op("Add", op("Mul", features, factor), offset)

    def slice_statistics(self, norm: NormLayer, row: int) -> str:
        """Write a norm's means (row 0) or variances (row 1) from the input, (B or 1, C, 1, 1)."""
        op, const, part = self.writer.op, self.writer.constant, self.slices[norm.name]
        starts, ends = const(np.array([row, part.start])), const(np.array([row + 1, part.stop]))
        values = op("Slice", STATISTICS, starts, ends, const(np.array([1, 2])))
        return op("Reshape", values, const(np.array([0, norm.channels, 1, 1])))

    def convolve_output(self, layer: OutputLayer, features: str) -> str:
        """Write the last convolution, (B, 12, H / 2, W / 2); see `output_kernel`."""
        return self.convolve_cells(layer, self.pad(features, layer.kernel // 2, "reflect"))

    def convolve_cells(self, layer: OutputLayer, padded: str) -> str:
        """Write the last convolution of padded features; see `output_kernel`."""
        weight = output_kernel(self.weights[f"{layer.name}.weight"])
        bias = np.tile(self.weights[f"{layer.name}.bias"], 4)
        return self.writer.op(
            "Conv",
            padded,
            self.add_parameter(weight, f"{layer.name}.weight"),
            self.add_parameter(bias, f"{layer.name}.bias"),
            kernel_shape=weight.shape[2:],
            strides=(2, 2),
        )

    def round(self, picture: str) -> str:
        """Clamp to 0-255 and round to uint8."""
        op, const = self.writer.op, self.writer.constant
        clamped = op("Clip", picture, const(np.float32(0)), const(np.float32(255)))
        return op("Cast", op("Round", clamped), to=UINT8)

    def interleave(self, cells: str) -> str:
        """Write cells as a picture: (B, 12, h, w) to (B, 2h, 2w, 3), in one transposition."""
        op, const = self.writer.op, self.writer.constant
        shape = op("Shape", cells)
        batch = op("Slice", shape, const(np.array([0])), const(np.array([1])))
        sides = op("Slice", shape, const(np.array([2])), const(np.array([4])))
        split = op("Concat", batch, const(np.array([2, 2, 3])), sides, axis=0)
        doubled = op("Mul", sides, const(np.array([2])))
        merged = op("Concat", batch, doubled, const(np.array([3])), axis=0)
        moved = op("Transpose", op("Reshape", cells, split), perm=(0, 4, 1, 5, 2, 3))
        return op("Reshape", moved, merged)

    def crop(self, picture: str) -> str:
        """Crop the picture, whose sides are multiples of the total stride, to the input's."""
        op, const = self.writer.op, self.writer.constant
        ends = op("Slice", op("Shape", INPUT), const(np.array([1])), const(np.array([3])))
        starts, axes = const(np.array([0, 0])), const(np.array([1, 2]))
        return op("Slice", picture, starts, ends, axes, output=OUTPUT)
