"""A style network as an ONNX graph, built straight from its weights: no torch, no exporter.

OpenVINO and ONNX Runtime read the same bytes, which `onnx_writer` writes. The graph holds the
network of `architecture` in its rewritten form (`upsample_kernel`, `output_kernel`), which computes
the same map in fewer operations.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.engines.onnx.writer import FLOAT, UINT8, Value, Writer
from fast_style.errors import ModelError, UsageError
from fast_style.models.config import (
    KERNEL_OUTER,
    MINIMUM_SIDE,
    NORM_EPSILON,
    NetworkConfig,
    norm_layers,
    parameter_shapes,
)

INPUT, OUTPUT, STATISTICS, MEASURED = "image", "stylized", "statistics", "measured"
"""Names of the graph's inputs and outputs; `STATISTICS` and `MEASURED` where asked for."""

Array = NDArray[Any]

_CANCELLED_BIAS = 2.0**-10


def statistics_shape(config: NetworkConfig) -> tuple[int, int]:
    """Give the shape (2, C) of one picture's statistics.

    Row 0 holds the means, row 1 the biased variances of what each instance norm sees, the layers
    one after the other in the order of `norm_layers`. The bias of the convolution before a norm is
    no part of it: that bias is never applied.
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
    height and width are free, but H and W must be at least `MINIMUM_SIDE` pixels (reflection needs
    them; `pad_short_sides` sees to it). The output is cropped to H and W inside the graph.

    Args:
        config: the network.
        weights: float32 arrays by the names of `architecture.parameter_shapes`.
        statistics: normalize with these, of shape `statistics_shape`, in place of the picture's
            own, so that tiles of one picture agree. They go into the convolutions as constants:
            the graph has no norm left and is the fastest of all.
        statistics_input: the same, but taken at run time from the input `statistics`, float32 of
            shape (B or 1, *statistics_shape). Slower than the graph without: OpenVINO leaves its
            fast memory layout around a scale that it does not know beforehand.
        measure: give the output `measured`, float32 of shape (B, *statistics_shape): what
            each norm saw in this picture. With `statistics_input` the norms before it worked on
            the given statistics.
        float_output: give the picture as float32 0-255, neither clamped nor rounded.

    Returns:
        The serialized ModelProto.

    Raises:
        ModelError: a weight is missing or has the wrong shape.
        UsageError: the statistics have the wrong shape, or options that exclude each other.
    """
    if statistics is not None:
        check_statistics(config, statistics)
        if statistics_input or measure:
            raise UsageError("a graph with constant statistics can neither take nor measure others")
    for name, shape in parameter_shapes(config).items():
        if name not in weights or weights[name].shape != shape:
            found = weights[name].shape if name in weights else "missing"
            raise ModelError(f"the graph needs {name} of shape {shape}; it is {found}")
    return GraphBuilder(config, weights, statistics, statistics_input, measure).build(float_output)


def check_statistics(config: NetworkConfig, statistics: NDArray[np.float32]) -> None:
    """Refuse statistics that are not one picture's for this network.

    Raises:
        UsageError: the shape is not `statistics_shape`, or a variance is negative or not a number.
    """
    expected = statistics_shape(config)
    if statistics.shape != expected:
        raise UsageError(f"statistics have shape {statistics.shape}; this network needs {expected}")
    if not np.isfinite(statistics).all() or (statistics[1] < 0).any():
        raise UsageError("statistics need finite means and variances of zero or more")


def pad_short_sides(batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row and column until both sides have `MINIMUM_SIDE` pixels.

    The network's reflection needs them. Crop the result to the sides of `batch` afterwards.

    Args:
        batch: shape (B, H, W, 3).
    """
    short = [max(0, MINIMUM_SIDE - side) for side in batch.shape[1:3]]
    if not any(short):
        return batch
    return np.pad(batch, ((0, 0), (0, short[0]), (0, short[1]), (0, 0)), mode="edge")


def upsample_kernel(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Merge nearest upsampling by 2 and a 3x3 convolution into one kernel.

    Each output pixel sees a 2x2 neighbourhood of the small picture, so upsampling, reflection
    padding by 1 and convolution equal a transposed convolution (kernel 4, stride 2, padding 3) of
    the input padded by replication.

    Args:
        weight: the convolution's, shape (N, C, 3, 3).

    Returns:
        The transposed convolution's, shape (C, N, 4, 4).
    """
    n_out, n_in = weight.shape[:2]
    kernel = np.zeros((n_in, n_out, 4, 4))  # float64: the sums of up to four taps are rounded once
    mirrored = weight[..., ::-1, ::-1].swapaxes(0, 1)
    for y in range(2):
        for x in range(2):
            kernel[:, :, y : y + 3, x : x + 3] += mirrored
    return kernel.astype(np.float32)


def output_kernel(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Spread a convolution over the four pixels of a 2x2 cell.

    Three output channels leave most vector lanes idle. A convolution with stride 2 and a kernel one
    larger gives all twelve values of a cell at once.

    Args:
        weight: shape (3, C, k, k), k odd.

    Returns:
        Shape (12, C, k + 1, k + 1); channel 6 * y + 3 * x + c is colour c of the cell's pixel
        (y, x), the order in which they lie in a picture of shape (H, W, 3).
    """
    n_out, n_in, side, _ = weight.shape
    kernel = np.zeros((2, 2, n_out, n_in, side + 1, side + 1), np.float32)
    for y in range(2):
        for x in range(2):
            kernel[y, x, :, :, y : y + side, x : x + side] = weight
    return kernel.reshape(4 * n_out, n_in, side + 1, side + 1)


class GraphBuilder:
    """Puts the layers together."""

    def __init__(
        self,
        config: NetworkConfig,
        weights: Mapping[str, Array],
        statistics: Array | None,
        statistics_input: bool,
        measure: bool,
    ) -> None:
        self.config, self.weights = config, weights
        self.statistics, self.statistics_input, self.measure = statistics, statistics_input, measure
        self.writer = Writer()
        self.seen: list[str] = []  # for each norm, its mean and variance, (B, 2, C)
        self.starts: dict[str, int] = {}  # of each norm's channels within the statistics
        self.picture_sides: tuple[str | int, ...] = ("batch", "height", "width", 3)
        total = 0
        for name, channels in norm_layers(config).items():
            self.starts[name.removesuffix(".norm")] = total
            total += channels

    def build(self, float_output: bool) -> bytes:
        """Put the whole network together; see `build_graph`."""
        op = self.writer.op
        picture = op("Cast", INPUT, to=FLOAT)
        features = op("Transpose", picture, perm=(0, 3, 1, 2))
        for i in range(3):
            features = self.convolve(f"encoder.{i}", features, stride=1 if i == 0 else 2)
            features = op("Relu", features)
        features = self.residual_blocks(features)
        for i in range(2):
            features = op("Relu", self.upsample(f"decoder.{i}", features))
        self.crop(self.draw(features, float_output))

        n_statistics = statistics_shape(self.config)
        sides = self.picture_sides
        inputs: list[Value] = [(INPUT, UINT8, sides)]
        if self.statistics_input:
            inputs.append((STATISTICS, FLOAT, ("statistics_batch", *n_statistics)))
        outputs: list[Value] = [(OUTPUT, FLOAT if float_output else UINT8, sides)]
        if self.measure:
            op("Concat", *self.seen, axis=2, output=MEASURED)
            outputs.append((MEASURED, FLOAT, ("batch", *n_statistics)))
        return self.writer.finish(inputs, outputs)

    def residual_blocks(self, features: str) -> str:
        """The trunk."""
        op = self.writer.op
        for i in range(self.config.residual_blocks):
            inner = op("Relu", self.convolve(f"trunk.{i}.first", features))
            features = op("Add", features, self.convolve(f"trunk.{i}.second", inner))
        return features

    def pad(self, features: str, amount: int, mode: str) -> str:
        """Pad height and width by `amount` on every side."""
        pads = np.array([0, 0, amount, amount] * 2)
        return self.writer.op("Pad", features, self.writer.constant(pads), mode=mode)

    def convolve(self, name: str, features: str, stride: int = 1) -> str:
        """Reflection padding, the convolution `name` and its norm."""
        weight = self.weights[f"{name}.conv.weight"]
        padded = self.pad(features, weight.shape[-1] // 2, "reflect")
        return self.normalized(name, "Conv", padded, weight, strides=(stride, stride))

    def upsample(self, name: str, features: str) -> str:
        """Twofold upsampling with the convolution `name`, and its norm."""
        weight = self.weights[f"{name}.conv.weight"]
        if self.config.upsampling == "transposed":
            pads, extra = (1, 1, 1, 1), (1, 1)
        else:
            weight, features = upsample_kernel(weight), self.pad(features, 1, "edge")
            pads, extra = (3, 3, 3, 3), (0, 0)
        return self.normalized(
            name,
            "ConvTranspose",
            features,
            weight,
            strides=(2, 2),
            pads=pads,
            output_padding=extra,
        )

    def normalized(self, name: str, kind: str, features: str, weight: Array, **options: Any) -> str:
        """A convolution and its instance norm. The convolution's bias would cancel: left out."""
        op, const = self.writer.op, self.writer.constant
        channels = self.weights[f"{name}.norm.weight"].shape[0]
        start = self.starts[name]
        options["kernel_shape"] = weight.shape[2:]
        if self.statistics is not None:
            factor, offset = self.constant_norm(name)
            column = (-1, 1, 1, 1) if kind == "Conv" else (1, -1, 1, 1)
            kernel = const((weight * factor.reshape(column)).astype(np.float32), f"{name}.weight")
            bias = const(offset.astype(np.float32), f"{name}.bias")
            return op(kind, features, kernel, bias, **options)
        operands = [features, const(weight, f"{name}.conv.weight")]
        if name == "encoder.0" and not (self.measure or self.statistics_input):
            # OpenVINO computes the norm after the graph's first convolution in float32, unfused,
            # unless that convolution has a bias: 5 % of the whole network's time. The norm cancels
            # it, and one of zero would be optimized away.
            operands.append(const(np.full(channels, _CANCELLED_BIAS, np.float32)))
        convolved = op(kind, *operands, **options)
        if self.measure:
            self.seen.append(self.measured(convolved, channels))
        if self.statistics_input:
            return self.normalize_given(name, convolved, start, channels)
        return self.norm(name, convolved)

    def norm(self, name: str, features: str) -> str:
        """The instance norm after the convolution `name`, on the features' own statistics."""
        scale, shift = (f"{name}.norm.{part}" for part in ("weight", "bias"))
        return self.writer.op(
            "InstanceNormalization",
            features,
            self.writer.constant(self.weights[scale], scale),
            self.writer.constant(self.weights[shift], shift),
            epsilon=NORM_EPSILON,
        )

    def constant_norm(self, name: str) -> tuple[Array, Array]:
        """A norm on the given statistics as factor and offset for each channel, in float64."""
        assert self.statistics is not None
        scale, shift = self.weights[f"{name}.norm.weight"], self.weights[f"{name}.norm.bias"]
        start = self.starts[name]
        mean, variance = self.statistics[:, start : start + len(scale)].astype(np.float64)
        factor = scale / np.sqrt(variance + NORM_EPSILON)
        return factor, shift - mean * factor

    def measured(self, features: str, channels: int) -> str:
        """Mean and variance of each picture's channels, (B, 2, channels)."""
        op, shape = self.writer.op, self.writer.constant(np.array([0, 1, channels]))
        mean = op("ReduceMean", features, axes=(2, 3), keepdims=1)
        centred = op("Sub", features, mean)
        variance = op("ReduceMean", op("Mul", centred, centred), axes=(2, 3), keepdims=1)
        return op("Concat", op("Reshape", mean, shape), op("Reshape", variance, shape), axis=1)

    def normalize_given(self, name: str, features: str, start: int, channels: int) -> str:
        """Normalize with the statistics input's channels from `start` on."""
        op, const = self.writer.op, self.writer.constant
        mean, variance = (self.given(row, start, channels) for row in range(2))
        column = (1, channels, 1, 1)
        root = op("Sqrt", op("Add", variance, const(np.float32(NORM_EPSILON))))
        scale = const(self.weights[f"{name}.norm.weight"].reshape(column), f"{name}.norm.weight")
        shift = const(self.weights[f"{name}.norm.bias"].reshape(column), f"{name}.norm.bias")
        factor = op("Div", scale, root)
        offset = op("Sub", shift, op("Mul", mean, factor))
        return op("Add", op("Mul", features, factor), offset)

    def given(self, row: int, start: int, channels: int) -> str:
        """One norm's means (row 0) or variances (row 1) from the input, (B or 1, C, 1, 1)."""
        op, const = self.writer.op, self.writer.constant
        starts, ends = const(np.array([row, start])), const(np.array([row + 1, start + channels]))
        part = op("Slice", STATISTICS, starts, ends, const(np.array([1, 2])))
        return op("Reshape", part, const(np.array([0, channels, 1, 1])))

    def draw(self, features: str, float_output: bool = False) -> str:
        """From the decoder's features to the picture, (B, H, W, 3), rounded where wanted."""
        picture = self.picture(features)
        return self.interleave(picture if float_output else self.rounded(picture))

    def picture(self, features: str) -> str:
        """The decoder's features to (B, 12, H / 2, W / 2), see `output_kernel`."""
        return self.last_convolution(self.pad(features, KERNEL_OUTER // 2, "reflect"))

    def last_convolution(self, padded: str) -> str:
        """The last convolution on padded features, with what may follow it."""
        weight = output_kernel(self.weights["output.weight"])
        picture = self.writer.op(
            "Conv",
            padded,
            self.writer.constant(weight, "output.weight"),
            self.writer.constant(np.tile(self.weights["output.bias"], 4), "output.bias"),
            kernel_shape=weight.shape[2:],
            strides=(2, 2),
        )
        if not self.config.tanh:
            return picture
        amplitude = self.writer.constant(np.float32(self.config.tanh), "output.tanh")
        return self.writer.op("Mul", self.writer.op("Tanh", picture), amplitude)

    def rounded(self, picture: str) -> str:
        """Clamp to 0-255 and round to uint8."""
        op, const = self.writer.op, self.writer.constant
        clamped = op("Clip", picture, const(np.float32(0)), const(np.float32(255)))
        return op("Cast", op("Round", clamped), to=UINT8)

    def interleave(self, cells: str) -> str:
        """Lay the cells out as a picture: (B, 12, h, w) to (B, 2h, 2w, 3), in one movement."""
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
        """Take the input's height and width: the network gives multiples of four."""
        op, const = self.writer.op, self.writer.constant
        ends = op("Slice", op("Shape", INPUT), const(np.array([1])), const(np.array([3])))
        starts, axes = const(np.array([0, 0])), const(np.array([1, 2]))
        return op("Slice", picture, starts, ends, axes, output=OUTPUT)
