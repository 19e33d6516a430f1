"""Layouts of other projects' checkpoints: their keys, value ranges and channel order."""

from collections.abc import Iterable
from dataclasses import dataclass

from fast_style.models.config import NetworkConfig, Upsampling, parameter_shapes

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB on [0, 1], as in torchvision."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one project's checkpoints.

    Attributes:
        name: its name for `--layout`.
        project: the project.
        keys: the project's name for each part of ours (see `parameter_shapes`); `{0}` stands for
            the number of a residual block, as the project counts.
        first_block: number of the first residual block.
        upsampling: method of its decoder.
        bgr: whether its pictures are BGR; otherwise RGB.
        imagenet: whether its pictures are normalized with ImageNet's mean and deviation; otherwise
            they are on 0-255.
        ends_in_tanh: whether the project has a variant, with the same keys, that ends in a tanh.
        stale: ends of keys that its checkpoints may have and its network does not use.
        forbidden: an end of keys that only another kind of network has, and the name of that kind.
    """

    name: str
    project: str
    keys: dict[str, str]
    first_block: int
    upsampling: Upsampling
    bgr: bool = False
    imagenet: bool = False
    ends_in_tanh: bool = False
    stale: tuple[str, ...] = (".running_mean", ".running_var")
    forbidden: tuple[str, str] | None = None

    def key(self, name: str) -> str:
        """Return the project's key for one of our parameters."""
        part, _, kind = name.rpartition(".")
        if part.startswith("trunk."):
            _, number, rest = part.split(".", 2)
            return f"{self.keys[f'trunk.{rest}'].format(int(number) + self.first_block)}.{kind}"
        return f"{self.keys[part]}.{kind}"

    def names(self, config: NetworkConfig) -> dict[str, str]:
        """Return the project's key for each parameter of a network."""
        return {name: self.key(name) for name in parameter_shapes(config)}

    def count_blocks(self, keys: Iterable[str]) -> int:
        """Return the number of residual blocks, counted from the first without gaps."""
        there = set(keys)
        count = 0
        while self.key(f"trunk.{count}.first.conv.weight") in there:
            count += 1
        return count

    def fits(self, keys: Iterable[str]) -> bool:
        """Return whether a checkpoint has the keys that differ between projects."""
        marks = ("encoder.0.conv.weight", "decoder.0.conv.weight", "output.weight")
        return {self.key(mark) for mark in marks} <= set(keys)


def _johnson(decoder: str, output: str) -> dict[str, str]:
    """Return the keys of pytorch/examples, which other projects kept."""
    return {
        **{f"encoder.{i}.conv": f"conv{i + 1}.conv2d" for i in range(3)},
        **{f"encoder.{i}.norm": f"in{i + 1}" for i in range(3)},
        "trunk.first.conv": "res{0}.conv1.conv2d",
        "trunk.first.norm": "res{0}.in1",
        "trunk.second.conv": "res{0}.conv2.conv2d",
        "trunk.second.norm": "res{0}.in2",
        **{f"decoder.{i}.conv": decoder.format(i + 1) for i in range(2)},
        **{f"decoder.{i}.norm": f"in{i + 4}" for i in range(2)},
        "output": output,
    }


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "pytorch-examples",
            "pytorch/examples (fast_neural_style)",
            _johnson("deconv{0}.conv2d", "deconv3.conv2d"),
            first_block=1,
            upsampling="nearest",
            # Instance norms of old torch versions stored statistics that were never used.
            stale=(".running_mean", ".running_var", ".num_batches_tracked"),
        ),
        Layout(
            "rrmina",
            "rrmina/fast-neural-style-pytorch",
            {
                **{f"encoder.{i}.conv": f"ConvBlock.{2 * i}.conv_layer" for i in range(3)},
                **{f"encoder.{i}.norm": f"ConvBlock.{2 * i}.norm_layer" for i in range(3)},
                "trunk.first.conv": "ResidualBlock.{0}.conv1.conv_layer",
                "trunk.first.norm": "ResidualBlock.{0}.conv1.norm_layer",
                "trunk.second.conv": "ResidualBlock.{0}.conv2.conv_layer",
                "trunk.second.norm": "ResidualBlock.{0}.conv2.norm_layer",
                **{f"decoder.{i}.conv": f"DeconvBlock.{2 * i}.conv_transpose" for i in range(2)},
                **{f"decoder.{i}.norm": f"DeconvBlock.{2 * i}.norm_layer" for i in range(2)},
                "output": "DeconvBlock.4.conv_layer",
            },
            first_block=0,
            upsampling="transposed",
            bgr=True,
            ends_in_tanh=True,
            forbidden=(".norm_layer.num_batches_tracked", "batch normalization"),
        ),
        Layout(
            "gordicaleksa",
            "gordicaleksa/pytorch-neural-style-transfer-johnson",
            _johnson("up{0}.conv2d.conv2d", "up3.conv2d"),
            first_block=1,
            upsampling="nearest",
            imagenet=True,
            stale=(".running_mean", ".running_var", ".num_batches_tracked"),
        ),
    )
}
"""All layouts that can be imported, by name."""
