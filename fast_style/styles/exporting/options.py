"""Options of an exported model."""

from dataclasses import dataclass
from typing import Literal, get_args

from fast_style.errors import UsageError
from fast_style.models.card import ModelCard
from fast_style.models.config import NetworkConfig, minimum_side

Format = Literal["onnx", "torchscript", "pt2", "safetensors"]
FORMATS: tuple[Format, ...] = get_args(Format)

_LARGEST_SIDE = 1 << 15


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Options of an exported model.

    Attributes:
        format: kind of file.
        uint8: read and return pictures as uint8 of shape (B, H, W, 3), 0-255, as cameras, canvases
            and picture files have them; otherwise float32 of shape (B, 3, H, W), [0, 1].
        rgba: with `uint8`, four channels: the alpha is returned unchanged.
        float16: store and compute in half precision, except for the norms; pictures keep their
            type.
        size: the only height and width that the model accepts; None accepts any.
        grain: add the grain that the library adds to the picture, so that the app need not.

    Raises:
        UsageError: options that exclude each other, or a size out of range.
    """

    format: Format = "onnx"
    uint8: bool = False
    rgba: bool = False
    float16: bool = False
    size: tuple[int, int] | None = None
    grain: bool = True

    def __post_init__(self) -> None:
        """Check that the options fit each other."""
        if self.format not in FORMATS:
            raise UsageError(f"no such format: {self.format!r}; choose {' or '.join(FORMATS)}")
        if self.rgba and not self.uint8:
            raise UsageError("RGBA is for pictures as uint8: add --uint8")
        if self.size and not all(1 <= side <= _LARGEST_SIDE for side in self.size):
            raise UsageError(
                f"the size is {self.size[0]}x{self.size[1]} pixels; expected sides from 1 to "
                f"{_LARGEST_SIDE}"
            )
        if self.format == "safetensors" and (self.uint8 or self.size):
            raise UsageError("a safetensors file holds weights alone: no --uint8, no --fixed-size")
        if self.format == "torchscript" and self.size:
            raise UsageError("a TorchScript file takes every size: leave --fixed-size out")

    @property
    def channels(self) -> int:
        """Channels of the pictures."""
        return 4 if self.rgba else 3

    @property
    def sides(self) -> tuple[int | str, int | str, int | str]:
        """Batch, height and width; text stands for a free size."""
        return (1, *self.size) if self.size else ("batch", "height", "width")

    @property
    def shape(self) -> tuple[int | str, ...]:
        """Shape of the pictures; text stands for a free size."""
        batch, height, width = self.sides
        if self.uint8:
            return batch, height, width, self.channels
        return batch, self.channels, height, width

    def check_size(self, network: NetworkConfig) -> None:
        """Check that a network can work on pictures of `size`.

        Raises:
            UsageError: it is too small.
        """
        least = minimum_side(network)
        if self.size and min(self.size) < least:
            raise UsageError(
                f"the size is {self.size[0]}x{self.size[1]} pixels; the network takes sides from "
                f"{least} to {_LARGEST_SIDE}"
            )


def describe_model(card: ModelCard, options: ExportOptions, version: str) -> dict[str, str]:
    """Describe an exported model and its pictures for the metadata of its file."""
    shape = ", ".join(map(str, options.shape))
    colours = "RGBA" if options.rgba else "RGB"
    kind = "uint8" if options.uint8 else "float32"
    limits = "0-255" if options.uint8 else "range [0, 1]"
    picture = f"{kind} sRGB, {colours}, shape ({shape}), {limits}"
    about = {
        "name": card.name,
        "title": card.title,
        "artist": card.artist,
        "year": card.year,
        "licence": card.licence,
        "input": picture,
        "output": f"{picture}, of the input's size",
        "smallest_side": f"{minimum_side(card.network)} pixels",
        "grain": f"{card.grain if options.grain else 0} levels, added inside",
        "computed_in": "float16, norms in float32" if options.float16 else "float32",
        "made_by": f"fast-style {version}",
    }
    return {key: value for key, value in about.items() if value}
