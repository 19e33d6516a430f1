"""The transformer network on paper: its configuration, its layers and their parameter shapes.

Kept apart from the torch modules of `networks`, so that a model file can be checked and an ONNX
graph built without torch. The network is that of Johnson, Alahi and Fei-Fei 2016
(arXiv 1603.08155, supplementary material) with the instance normalization of Ulyanov, Vedaldi and
Lempitsky 2016 (1607.08022) and nearest-neighbour upsampling (Odena, Dumoulin and Olah 2016) in
place of fractionally strided convolution: the same as `fast_neural_style` of pytorch/examples.
"""

from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal, get_args

from fast_style.errors import UsageError

Upsampling = Literal["nearest", "transposed"]

NORM_EPSILON = 1e-5
"""Added to the variance by every instance normalization; that of pytorch's InstanceNorm2d."""

KERNEL_OUTER = 9
"""Kernel side of the first and of the last convolution; all others are 3."""

MINIMUM_SIDE = 5
"""Shortest side in pixels that the network's reflection padding (4 pixels) can work on."""

TANH_LIMIT = 1000
"""The largest `NetworkConfig.tanh`: far above what reaches white."""

STRIDE = 4
"""The trunk works at a quarter of the resolution: sides become STRIDE * ceil(side / STRIDE)."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What is needed to build a transformer network.

    Attributes:
        width: filters of the first convolution; the trunk has four times as many.
        residual_blocks: residual blocks in the trunk.
        upsampling: `nearest` (nearest-neighbour upsampling, then a 3x3 convolution) or
            `transposed` (a 3x3 transposed convolution of stride 2; quicker to draw
            checkerboards).
        tanh: what the tanh after the last convolution is multiplied by, on 0-255, as in networks
            of Johnson et al.'s own kind (150); 0 for networks that end in the convolution.

    Raises:
        UsageError: a value is out of range.
    """

    width: int = 16
    residual_blocks: int = 5
    upsampling: Upsampling = "nearest"
    tanh: float = 0.0

    def __post_init__(self) -> None:
        """Check the values, which may come from a file."""
        for name, lowest, highest in (("width", 1, 512), ("residual_blocks", 0, 64)):
            value = getattr(self, name)
            if type(value) is not int or not lowest <= value <= highest:
                raise UsageError(
                    f"NetworkConfig.{name} is {value!r}; expected a whole number "
                    f"from {lowest} to {highest}"
                )
        if self.upsampling not in get_args(Upsampling):
            raise UsageError(
                f"NetworkConfig.upsampling is {self.upsampling!r}; "
                f"expected one of {', '.join(get_args(Upsampling))}"
            )
        if type(self.tanh) not in (int, float) or not 0 <= self.tanh <= TANH_LIMIT:
            raise UsageError(
                f"NetworkConfig.tanh is {self.tanh!r}; expected a number from 0 to {TANH_LIMIT}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON values; without `tanh`, which is newer, if it is 0."""
        values = asdict(self)
        if not self.tanh:
            del values["tanh"]
        return values


SIZES: dict[str, NetworkConfig] = {
    "tiny": NetworkConfig(width=8),
    "standard": NetworkConfig(width=16),
    "full": NetworkConfig(width=32),
}
"""The named sizes. `full` is the 1,679,235-parameter network of pytorch/examples; `standard` halves
the filters, as Johnson et al.'s own released models do; `tiny` halves them again."""


def size_name(config: NetworkConfig) -> str:
    """Give the name of a size, or a description such as `width 24` for one without a name."""
    for name, named in SIZES.items():
        if named == config:
            return name
    end = f", tanh {config.tanh:g}" if config.tanh else ""
    return f"width {config.width}, {config.residual_blocks} blocks, {config.upsampling}{end}"


def norm_layers(config: NetworkConfig) -> dict[str, int]:
    """Name every instance normalization, in the order of the forward pass, with its channels."""
    width = config.width
    layers = {f"encoder.{i}.norm": width * 2**i for i in range(3)}
    for i in range(config.residual_blocks):
        layers[f"trunk.{i}.first.norm"] = 4 * width
        layers[f"trunk.{i}.second.norm"] = 4 * width
    layers["decoder.0.norm"] = 2 * width
    layers["decoder.1.norm"] = width
    return layers


def parameter_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Name every parameter of the network with its shape, in the order of the forward pass.

    Convolution weights are (out, in, height, width), those of a transposed convolution
    (in, out, height, width). A convolution that instance normalization follows has no bias of its
    own: the normalization cancels it.
    """
    width = config.width
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, n_in: int, n_out: int, kernel: int, swap: bool = False) -> None:
        first_two = (n_in, n_out) if swap else (n_out, n_in)
        shapes[f"{name}.conv.weight"] = (*first_two, kernel, kernel)
        shapes[f"{name}.conv.bias"] = (n_out,)
        shapes[f"{name}.norm.weight"] = (n_out,)
        shapes[f"{name}.norm.bias"] = (n_out,)

    convolution("encoder.0", 3, width, KERNEL_OUTER)
    convolution("encoder.1", width, 2 * width, 3)
    convolution("encoder.2", 2 * width, 4 * width, 3)
    for i in range(config.residual_blocks):
        convolution(f"trunk.{i}.first", 4 * width, 4 * width, 3)
        convolution(f"trunk.{i}.second", 4 * width, 4 * width, 3)
    swap = config.upsampling == "transposed"
    convolution("decoder.0", 4 * width, 2 * width, 3, swap)
    convolution("decoder.1", 2 * width, width, 3, swap)
    shapes["output.weight"] = (3, width, KERNEL_OUTER, KERNEL_OUTER)
    shapes["output.bias"] = (3,)
    return shapes


def parameter_count(config: NetworkConfig) -> int:
    """Count the parameters of the network."""
    return sum(prod(shape) for shape in parameter_shapes(config).values())
