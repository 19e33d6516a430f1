"""A style as a self-contained ONNX file for other programs: picture in, picture out.

The network is that of `engines.onnx.graph`, with the steps around it that an app would have to
write itself: the range of the values, the grain, the crop, the rounding. It uses only operators on
tensors of rank 4 that every runtime has.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style._version import __version__
from fast_style.engines.onnx.graph import INPUT, OUTPUT, GraphBuilder
from fast_style.engines.onnx.writer import FLOAT, FLOAT16, OPSET, UINT8, Value
from fast_style.errors import ExportError
from fast_style.images.grain import add_grain
from fast_style.models.config import NormLayer, OutputLayer, total_stride
from fast_style.models.model_file import StyleModel
from fast_style.styles.exporting.options import ExportOptions, describe_model

GRAIN_SIDE = 256
"""Side in pixels of the square of grain that is repeated, as in `images.grain`."""

_HALF_LIMIT = float(np.finfo(np.float16).max)


def build_onnx(model: StyleModel, options: ExportOptions) -> bytes:
    """Build the ONNX file of a style.

    Args:
        model: the style.
        options: type and shape of the pictures, precision, grain.

    Returns:
        The serialized ModelProto, of operator set `writer.OPSET`. Its input is `image`, its output
        `stylized`, both as `ExportOptions` describes.

    Raises:
        ExportError: weights that float16 cannot hold.
    """
    return _ExportBuilder(model, options).build_export()


def grain_tile(amplitude: int) -> NDArray[np.int16]:
    """Return the square of grain that `add_grain` repeats, (GRAIN_SIDE, GRAIN_SIDE, 3)."""
    grey = np.full((GRAIN_SIDE, GRAIN_SIDE, 3), 128, np.uint8)
    return add_grain(grey, amplitude).astype(np.int16) - np.int16(128)


class _ExportBuilder(GraphBuilder):
    """Writes the network and the steps before and after it."""

    def __init__(self, model: StyleModel, options: ExportOptions) -> None:
        super().__init__(model.card.network, model.weights)
        self.card, self.options = model.card, options
        self.biases_first = not options.float16

    def build_export(self) -> bytes:
        op, const = self.writer.op, self.writer.constant
        picture, alpha = self.read_input()
        features = op("Clip", self.add_grain(picture), const(np.float32(0)), const(np.float32(255)))
        if self.options.float16:
            features = op("Cast", features, to=FLOAT16)
        cells = self.write_layers(self.layers, features)
        # `output_kernel` orders the values of a cell as DepthToSpace expects them.
        whole = op("DepthToSpace", cells, blocksize=2, mode="DCR")
        self.write_result(self.crop_to_input(whole), alpha)

        kind = UINT8 if self.options.uint8 else FLOAT
        inputs: list[Value] = [(INPUT, kind, self.options.shape)]
        outputs: list[Value] = [(OUTPUT, kind, self.options.shape)]
        about = describe_model(self.card, self.options, __version__)
        return self.writer.finish(inputs, outputs, {**about, "opset": str(OPSET)})

    def read_input(self) -> tuple[str, str]:
        """Write the picture as float32 (B, 3, H, W) on 0-255, and its alpha or ""."""
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

    def add_grain(self, picture: str) -> str:
        """Write the sum of the picture and the repeated grain."""
        amplitude = self.card.grain
        if not amplitude or not self.options.grain:
            return picture
        op, const = self.writer.op, self.writer.constant
        # As uint8, the grain takes a quarter of the bytes in the file.
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
        """Write height and width of the picture, int64 (2,)."""
        const = self.writer.constant
        if self.options.size:
            return const(np.array(self.options.size))
        first = 1 if self.options.uint8 else 2
        shape = self.writer.op("Shape", INPUT)
        return self.writer.op(
            "Slice", shape, const(np.array([first])), const(np.array([first + 2]))
        )

    def crop_to_input(self, picture: str) -> str:
        """Crop the picture, whose sides are multiples of the total stride, to the input's."""
        stride = total_stride(self.config)
        if self.options.size and not any(side % stride for side in self.options.size):
            return picture
        const = self.writer.constant
        starts, axes = const(np.array([0, 0])), const(np.array([2, 3]))
        return self.writer.op("Slice", picture, starts, self.sides(), axes)

    def write_result(self, picture: str, alpha: str) -> None:
        """Clamp the picture and write it as the output, in the type and shape of the input."""
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

    def add_parameter(self, values: NDArray[Any], name: str) -> str:
        """Add a kernel or bias, in float16 if asked for."""
        if not self.options.float16:
            return super().add_parameter(values, name)
        if np.abs(values).max(initial=0) > _HALF_LIMIT:
            raise ExportError(f"{name} holds values that float16 cannot; leave --float16 out")
        return super().add_parameter(values.astype(np.float16), name)

    def normalize(self, norm: NormLayer, features: str) -> str:
        """Write a norm, always in float32.

        Runtimes differ in the type that they sum a norm's squares in, and float16 ends at 65504.
        """
        if not self.options.float16:
            return super().normalize(norm, features)
        normalized = super().normalize(norm, self.writer.op("Cast", features, to=FLOAT))
        return self.writer.op("Cast", normalized, to=FLOAT16)

    def convolve_output(self, layer: OutputLayer, features: str) -> str:
        """Write the last convolution; its result is float32."""
        cells = super().convolve_output(layer, features)
        return self.writer.op("Cast", cells, to=FLOAT) if self.options.float16 else cells
