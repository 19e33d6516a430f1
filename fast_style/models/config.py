"""The configuration of the transformer network and the list of its layers.

The list is the one definition of the network: `models.network` (torch), `engines.onnx` (ONNX
graphs and their stages for large pictures), the model file and the exports all walk it. To add
another kind of network, give `NetworkConfig` a field and return other layers for it. This module
needs neither torch nor numpy.

The network is that of Johnson, Alahi and Fei-Fei 2016 (arXiv 1603.08155, supplementary material)
with the instance normalization of Ulyanov, Vedaldi and Lempitsky 2016 (1607.08022) and
nearest-neighbour upsampling (Odena, Dumoulin and Olah 2016) in place of fractionally strided
convolution: the same as `fast_neural_style` of pytorch/examples.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from math import prod
from typing import Any, ClassVar, Literal, get_args

from fast_style.errors import UsageError, shorten

Upsampling = Literal["nearest", "transposed"]

NORM_EPSILON = 1e-5
"""Added to the variance by every instance normalization, as in torch.nn.InstanceNorm2d."""

KERNEL_OUTER = 9
"""Kernel side of the first and of the last convolution; all others are 3."""

TANH_LIMIT = 1000
"""The largest `NetworkConfig.tanh`; white is 255."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The configuration of a transformer network.

    Attributes:
        width: filters of the first convolution; the trunk has four times as many.
        residual_blocks: residual blocks in the trunk.
        upsampling: `nearest` (nearest-neighbour upsampling, then a 3x3 convolution) or
            `transposed` (a 3x3 transposed convolution of stride 2, which is more prone to
            checkerboard patterns).
        tanh: factor on a tanh after the last convolution, in levels of 0-255 (150 in Johnson et
            al.'s released networks); 0 for networks without a tanh.

    Raises:
        UsageError: a value is out of range.
    """

    width: int = 16
    residual_blocks: int = 5
    upsampling: Upsampling = "nearest"
    tanh: float = 0.0

    def __post_init__(self) -> None:
        """Check the values, which may come from a model file."""
        for name, lowest, highest in (("width", 1, 512), ("residual_blocks", 0, 64)):
            value = getattr(self, name)
            if type(value) is not int or not lowest <= value <= highest:
                raise UsageError(
                    f"NetworkConfig.{name} is {shorten(repr(value))}; expected a whole number "
                    f"from {lowest} to {highest}"
                )
        if self.upsampling not in get_args(Upsampling):
            raise UsageError(
                f"NetworkConfig.upsampling is {shorten(repr(self.upsampling))}; "
                f"expected one of {', '.join(get_args(Upsampling))}"
            )
        if type(self.tanh) not in (int, float) or not 0 <= self.tanh <= TANH_LIMIT:
            raise UsageError(
                f"NetworkConfig.tanh is {shorten(repr(self.tanh))}; "
                f"expected a number from 0 to {TANH_LIMIT}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON values; without `tanh` if it is 0 (format version 1)."""
        values = asdict(self)
        if not self.tanh:
            del values["tanh"]
        return values

    def layers(self) -> tuple["Layer", ...]:
        """Return the layers of the network in the order of the forward pass.

        Pictures are RGB on 0-255 at both ends. Parameters and model files have the names that the
        layers give. Resolution falls by the strides, then rises by the upsampling layers to that of
        the picture again; a residual starts and ends at one resolution.
        """
        return johnson_layers(self)


SIZES: dict[str, NetworkConfig] = {
    "tiny": NetworkConfig(width=8),
    "standard": NetworkConfig(width=16),
    "full": NetworkConfig(width=32),
}
"""The named sizes. `full` is the 1,679,235-parameter network of pytorch/examples; `standard` halves
the filters, as Johnson et al.'s own released models do; `tiny` halves them again."""


def size_name(config: NetworkConfig) -> str:
    """Return the name of a size, or a description for a network that is none of `SIZES`."""
    for name, named in SIZES.items():
        if named == config:
            return name
    end = f", tanh {config.tanh:g}" if config.tanh else ""
    return f"width {config.width}, {config.residual_blocks} blocks, {config.upsampling}{end}"


@dataclass(frozen=True, slots=True)
class ConvolutionLayer:
    """A convolution with padding of `kernel // 2` by reflection.

    Attributes:
        name: of its parameters: `NAME.weight` of shape (n_out, n_in / groups, kernel, kernel) and
            `NAME.bias` of shape (n_out,).
        n_in: channels in.
        n_out: channels out.
        kernel: side of the kernel, odd.
        stride: step in rows and columns; a side of n pixels becomes ceil(n / stride).
        groups: groups of channels that are convolved separately; `n_in` is a depthwise convolution.
        uses_bias: whether `NAME.bias` is added. If not, the parameter exists all the same, for
            compatibility with the published networks: the instance normalization that follows
            subtracts the mean, and any constant with it.
    """

    name: str
    n_in: int
    n_out: int
    kernel: int
    stride: int = 1
    groups: int = 1
    uses_bias: bool = False

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of `NAME.weight`."""
        return self.n_out, self.n_in // self.groups, self.kernel, self.kernel


@dataclass(frozen=True, slots=True)
class UpsampleLayer:
    """Upsampling by 2 with a 3x3 convolution. Its bias is a parameter, but never used.

    Attributes:
        name: of its parameters, as in `ConvolutionLayer`.
        n_in: channels in.
        n_out: channels out.
        method: see `NetworkConfig.upsampling`.
    """

    name: str
    n_in: int
    n_out: int
    method: Upsampling

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of `NAME.weight`: (out, in, 3, 3), of a transposed convolution (in, out, 3, 3)."""
        if self.method == "transposed":
            return self.n_in, self.n_out, 3, 3
        return self.n_out, self.n_in, 3, 3


@dataclass(frozen=True, slots=True)
class OutputLayer:
    """The last convolution: padding by reflection, 3 channels out, and a bias that is used.

    It is computed at half resolution, so the sides of its input must be even.

    Attributes:
        name: of its parameters, as in `ConvolutionLayer`.
        n_in: channels in.
        kernel: side of the kernel, odd.
    """

    name: str
    n_in: int
    kernel: int
    n_out: ClassVar[int] = 3

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of `NAME.weight`."""
        return self.n_out, self.n_in, self.kernel, self.kernel


@dataclass(frozen=True, slots=True)
class NormLayer:
    """An instance normalization; the layer before it is a convolution.

    Attributes:
        name: of its parameters: `NAME.weight` (scale) and `NAME.bias` (shift), both (channels,).
        channels: channels in and out.
    """

    name: str
    channels: int


class ReluLayer:
    """max(x, 0)."""


class ResidualStart:
    """Keeps the features until the matching `ResidualEnd`."""


class ResidualEnd:
    """Adds the features that the last open `ResidualStart` kept (He et al. 2016)."""


@dataclass(frozen=True, slots=True)
class TanhLayer:
    """scale * tanh(x); only after the `OutputLayer`."""

    scale: float


Layer = (
    ConvolutionLayer
    | UpsampleLayer
    | OutputLayer
    | NormLayer
    | ReluLayer
    | ResidualStart
    | ResidualEnd
    | TanhLayer
)


@lru_cache(maxsize=64)
def johnson_layers(config: NetworkConfig) -> tuple[Layer, ...]:
    """List the layers of the network of Johnson et al. 2016; see `NetworkConfig.layers`."""
    width = config.width
    layers: list[Layer] = []

    def add_convolution(name: str, n_in: int, n_out: int, kernel: int, stride: int = 1) -> None:
        layers.append(ConvolutionLayer(f"{name}.conv", n_in, n_out, kernel, stride))
        layers.append(NormLayer(f"{name}.norm", n_out))

    # 1) The encoder, down to a quarter of the resolution
    add_convolution("encoder.0", 3, width, KERNEL_OUTER)
    layers.append(ReluLayer())
    for i in (1, 2):
        add_convolution(f"encoder.{i}", i * width, 2 * i * width, 3, stride=2)
        layers.append(ReluLayer())

    # 2) The trunk: residual blocks without an activation after the sum
    for i in range(config.residual_blocks):
        layers.append(ResidualStart())
        add_convolution(f"trunk.{i}.first", 4 * width, 4 * width, 3)
        layers.append(ReluLayer())
        add_convolution(f"trunk.{i}.second", 4 * width, 4 * width, 3)
        layers.append(ResidualEnd())

    # 3) The decoder, back to full resolution
    for i, n_out in enumerate((2 * width, width)):
        layers.append(UpsampleLayer(f"decoder.{i}.conv", 2 * n_out, n_out, config.upsampling))
        layers += [NormLayer(f"decoder.{i}.norm", n_out), ReluLayer()]
    layers.append(OutputLayer("output", width, KERNEL_OUTER))
    if config.tanh:
        layers.append(TanhLayer(config.tanh))
    return tuple(layers)


def parameter_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by its name, in the order of the forward pass."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in config.layers():
        if isinstance(layer, ConvolutionLayer | UpsampleLayer | OutputLayer):
            shapes[f"{layer.name}.weight"] = layer.weight_shape
            shapes[f"{layer.name}.bias"] = (layer.n_out,)
        elif isinstance(layer, NormLayer):
            shapes[f"{layer.name}.weight"] = (layer.channels,)
            shapes[f"{layer.name}.bias"] = (layer.channels,)
    return shapes


def parameter_count(config: NetworkConfig) -> int:
    """Count the parameters of the network."""
    return sum(prod(shape) for shape in parameter_shapes(config).values())


def norm_layers(config: NetworkConfig) -> dict[str, int]:
    """Return the channels of every instance normalization by its name, in forward order."""
    return {layer.name: layer.channels for layer in config.layers() if isinstance(layer, NormLayer)}


def norm_slices(config: NetworkConfig) -> dict[str, slice]:
    """Return where the channels of each norm lie in statistics of shape (2, C), by its name.

    Statistics hold the means (row 0) and biased variances (row 1) of what each norm sees, the norms
    one after the other in forward order.
    """
    slices: dict[str, slice] = {}
    start = 0
    for name, channels in norm_layers(config).items():
        slices[name] = slice(start, start + channels)
        start += channels
    return slices


def input_sides(config: NetworkConfig, side: int) -> list[int]:
    """Return the height of each layer's input for a picture of a height; widths are the same."""
    sides = []
    for layer in config.layers():
        sides.append(side)
        if isinstance(layer, ConvolutionLayer):
            side = -(-side // layer.stride)
        elif isinstance(layer, UpsampleLayer):
            side *= 2
    return sides


@lru_cache(maxsize=64)
def total_stride(config: NetworkConfig) -> int:
    """Return the factor between picture and trunk: output sides are multiples of it."""
    return prod(layer.stride for layer in config.layers() if isinstance(layer, ConvolutionLayer))


@lru_cache(maxsize=64)
def minimum_side(config: NetworkConfig) -> int:
    """Return the shortest side in pixels that the network's padding by reflection can work on."""
    side = 1
    while any(
        isinstance(layer, ConvolutionLayer | OutputLayer) and layer.kernel // 2 >= n
        for layer, n in zip(config.layers(), input_sides(config, side), strict=True)
    ):
        side += 1
    return side
