"""A style as an ONNX file for other programs: picture in, picture out, nothing left to do outside.

The network is that of `graph`, laid between what an app would have to write itself: the range of
the values, the grain, the crop, the rounding. Only operators of rank 4 that every runtime has.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style._version import __version__
from fast_style.engines.onnx.graph import INPUT, OUTPUT, GraphBuilder, output_kernel
from fast_style.engines.onnx.writer import FLOAT, FLOAT16, OPSET, UINT8, Value
from fast_style.errors import ExportError
from fast_style.images.grain import add_grain
from fast_style.models.config import KERNEL_OUTER, NORM_EPSILON, STRIDE
from fast_style.models.model_file import StyleModel
from fast_style.styles.exporting.options import ExportOptions, describe_model

GRAIN_SIDE = 256
"""Side of the square of grain that repeats, as in `grain`."""

_HALF_LIMIT = float(np.finfo(np.float16).max)


def build_onnx(model: StyleModel, options: ExportOptions) -> bytes:
    """Build the ONNX file of a style.

    Args:
        model: the style.
        options: what the file is to be like.

    Returns:
        The serialized ModelProto, of operator set `onnx_writer.OPSET`. Its input is `image`, its
        output `stylized`, both as `ExportOptions` says.

    Raises:
        ExportError: weights that float16 cannot hold.
    """
    return _ExportBuilder(model, options).build_export()


def grain_tile(amplitude: int) -> NDArray[np.int16]:
    """Give the square of grain that `grain.add_grain` repeats, (GRAIN_SIDE, GRAIN_SIDE, 3)."""
    grey = np.full((GRAIN_SIDE, GRAIN_SIDE, 3), 128, np.uint8)
    return add_grain(grey, amplitude).astype(np.int16) - np.int16(128)


class _ExportBuilder(GraphBuilder):
    """The network between a picture and a picture."""

    def __init__(self, model: StyleModel, options: ExportOptions) -> None:
        super().__init__(model.card.network, model.weights, None, False, False)
        self.card, self.options = model.card, options

    def build_export(self) -> bytes:
        op, const = self.writer.op, self.writer.constant
        picture, alpha = self.load()
        features = op("Clip", self.grain(picture), const(np.float32(0)), const(np.float32(255)))
        if self.options.float16:
            features = op("Cast", features, to=FLOAT16)
        for i in range(3):
            features = op("Relu", self.convolve(f"encoder.{i}", features, 1 if i == 0 else 2))
        for i in range(self.config.residual_blocks):
            inner = op("Relu", self.convolve(f"trunk.{i}.first", features))
            features = op("Add", features, self.convolve(f"trunk.{i}.second", inner))
        for i in range(2):
            features = op("Relu", self.upsample(f"decoder.{i}", features))
        # `output_kernel` orders the cells' values as DepthToSpace takes them.
        whole = op("DepthToSpace", self.picture(features), blocksize=2, mode="DCR")
        self.give(self.cropped(whole), alpha)

        kind = UINT8 if self.options.uint8 else FLOAT
        inputs: list[Value] = [(INPUT, kind, self.options.shape)]
        outputs: list[Value] = [(OUTPUT, kind, self.options.shape)]
        about = describe_model(self.card, self.options, __version__)
        return self.writer.finish(inputs, outputs, {**about, "opset": str(OPSET)})

    def load(self) -> tuple[str, str]:
        """The picture as float32 (B, 3, H, W) on 0-255, and its alpha if it has one."""
        op, const = self.writer.op, self.writer.constant
        if not self.options.uint8:
            return op("Mul", INPUT, const(np.float32(255))), ""
        colours, alpha = INPUT, ""
        if self.options.rgba:
            bounds = [const(np.array([bound])) for bound in (0, 3, 4)]
            last = const(np.array([3]))
            colours = op("Slice", INPUT, bounds[0], bounds[1], last)
            alpha = op("Slice", INPUT, bounds[1], bounds[2], last)
        return op("Transpose", op("Cast", colours, to=FLOAT), perm=(0, 3, 1, 2)), alpha

    def grain(self, picture: str) -> str:
        """Add the grain, repeated over the picture."""
        amplitude = self.card.grain
        if not amplitude or not self.options.grain:
            return picture
        op, const = self.writer.op, self.writer.constant
        # Whole levels from 0 on take a quarter of the bytes.
        levels = (grain_tile(amplitude) + amplitude).astype(np.uint8).transpose(2, 0, 1)
        tile = op("Cast", const(levels[None], "grain"), to=FLOAT)
        sides = self.sides()
        up, side = const(np.array([GRAIN_SIDE - 1])), const(np.array([GRAIN_SIDE]))
        repeats = op(
            "Concat", const(np.array([1, 1])), op("Div", op("Add", sides, up), side), axis=0
        )
        starts, axes = const(np.array([0, 0])), const(np.array([2, 3]))
        whole = op("Slice", op("Tile", tile, repeats), starts, sides, axes)
        return op("Add", picture, op("Sub", whole, const(np.float32(amplitude))))

    def sides(self) -> str:
        """Height and width of the picture, int64 (2,)."""
        const = self.writer.constant
        if self.options.size:
            return const(np.array(self.options.size))
        first = 1 if self.options.uint8 else 2
        shape = self.writer.op("Shape", INPUT)
        return self.writer.op(
            "Slice", shape, const(np.array([first])), const(np.array([first + 2]))
        )

    def cropped(self, picture: str) -> str:
        """Cut the picture, whose sides are multiples of four, to its own."""
        if self.options.size and not any(side % STRIDE for side in self.options.size):
            return picture
        const = self.writer.constant
        starts, axes = const(np.array([0, 0])), const(np.array([2, 3]))
        return self.writer.op("Slice", picture, starts, self.sides(), axes)

    def give(self, picture: str, alpha: str) -> None:
        """Clamp the picture and give it in the form that it came in."""
        op, const = self.writer.op, self.writer.constant
        clamped = op("Clip", picture, const(np.float32(0)), const(np.float32(255)))
        if not self.options.uint8:
            op("Div", clamped, const(np.float32(255)), output=OUTPUT)
            return
        whole = op("Cast", op("Round", clamped), to=UINT8)
        if not alpha:
            op("Transpose", whole, perm=(0, 2, 3, 1), output=OUTPUT)
            return
        moved = op("Transpose", whole, perm=(0, 2, 3, 1))
        op("Concat", moved, alpha, axis=3, output=OUTPUT)

    def normalized(
        self, name: str, kind: str, features: str, weight: NDArray[Any], **options: Any
    ) -> str:
        """A convolution and its norm; in float16 the norm alone in float32.

        Runtimes differ in what they sum a norm's squares in, and float16 ends at 65504.
        """
        if not self.options.float16:
            return super().normalized(name, kind, features, weight, **options)
        op, const = self.writer.op, self.writer.constant
        kernel = const(self.half(weight, name), f"{name}.conv.weight")
        convolved = op(kind, features, kernel, kernel_shape=weight.shape[2:], **options)
        normalized = op(
            "InstanceNormalization",
            op("Cast", convolved, to=FLOAT),
            const(self.weights[f"{name}.norm.weight"], f"{name}.norm.weight"),
            const(self.weights[f"{name}.norm.bias"], f"{name}.norm.bias"),
            epsilon=NORM_EPSILON,
        )
        return op("Cast", normalized, to=FLOAT16)

    def picture(self, features: str) -> str:
        """The last convolution, (B, 12, H / 2, W / 2) on 0-255, in float32 from here on."""
        if not self.options.float16:
            return super().picture(features)
        op, const = self.writer.op, self.writer.constant
        kernel = output_kernel(self.weights["output.weight"])
        convolved = op(
            "Conv",
            self.pad(features, KERNEL_OUTER // 2, "reflect"),
            const(self.half(kernel, "output"), "output.weight"),
            const(self.half(np.tile(self.weights["output.bias"], 4), "output"), "output.bias"),
            kernel_shape=kernel.shape[2:],
            strides=(2, 2),
        )
        picture = op("Cast", convolved, to=FLOAT)
        if not self.config.tanh:
            return picture
        return op("Mul", op("Tanh", picture), const(np.float32(self.config.tanh)))

    @staticmethod
    def half(weight: NDArray[Any], name: str) -> NDArray[np.float16]:
        if np.abs(weight).max(initial=0) > _HALF_LIMIT:
            raise ExportError(f"{name} holds values that float16 cannot; leave --float16 out")
        return weight.astype(np.float16)
