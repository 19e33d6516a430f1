"""Options as the fields of a dataclass: each with its help, default and bounds; needs no torch.

`cli/options.py` makes command-line options of such fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

from fast_style.errors import UsageError

__all__ = [
    "GRAIN_LIMIT",
    "EngineOptions",
    "StyleOptions",
    "VggChoice",
    "check_options",
    "loss_option",
    "option",
    "parse_layers",
]

VggChoice = Literal["bundled", "vgg16", "vgg19"]
EngineChoice = Literal["auto", "openvino", "torch", "onnxruntime"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16"]
Tile = Literal["auto", "off"] | int
"""How large pictures are processed on a CPU: see `EngineOptions.tile`."""

GRAIN_LIMIT = 64
"""The strongest grain that `images.grain` adds, in levels of 0-255."""


def option(help_text: str, default: Any = ..., **bounds: Any) -> Any:
    """Make a field that is an option; without a default it is required.

    Args:
        help_text: what it means, in a sentence.
        default: its default.
        bounds: `minimum` and `maximum` (both allowed values), or `above` (not allowed itself).
    """
    metadata = {"help": help_text, **bounds}
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def loss_option(name: str, default: Any) -> Any:
    """Make a field that is an option of the perceptual loss, alike for all that minimize it.

    Args:
        name: which one; `perceptual.LossConfig.from_options` reads fields of these names.
        default: its default.
    """
    help_text, bounds = _LOSS_OPTIONS[name]
    return option(help_text, default, **bounds)


_LOSS_OPTIONS: dict[str, tuple[str, dict[str, float]]] = {
    "content_weight": ("Weight of the content loss.", {"minimum": 0}),
    "style_weight": (
        "Weight of the style loss, on a scale that suits every painting alike.",
        {"minimum": 0},
    ),
    "tv_weight": ("Weight of the total variation.", {"minimum": 0}),
    "content_layers": ("VGG layers for the content loss, as LAYER[=WEIGHT],...", {}),
    "style_layers": ("VGG layers for the style loss, as LAYER[=WEIGHT],...", {}),
    "vgg": (
        "The loss network: bundled (VGG-16 to relu4_3), or torchvision's, fetched on first use.",
        {},
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleOptions:
    """How a picture is stylized; each field's metadata says what it means."""

    size: int | None = option(
        "Longest long side to work at and to write, in pixels: larger pictures are made smaller "
        "first, smaller ones stay as they are. [default: the picture's own size]",
        None,
        minimum=1,
    )
    strength: float = option(
        "Stylization strength: 0 is the photo, 1 the full style.", 1.0, minimum=0, maximum=1
    )
    preserve_color: bool = option("Keep the photo's colours.", False)
    stroke_size: float = option(
        "Size of the strokes, relative to what the style has learnt. Above 1 is bolder and "
        "quicker: the style is applied to a smaller picture and brought back to full size with "
        "the photo's own edges. Below 1 is finer and slower.",
        1.0,
        minimum=0.25,
        maximum=16,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What runs the network, and where; each field's metadata says what it means."""

    engine: EngineChoice = option(
        "What runs the network; auto takes the fastest that is installed.", "auto"
    )
    device: DeviceChoice = option("Where it runs; auto takes a GPU that can be used.", "auto")
    precision: PrecisionChoice = option("auto takes bf16 where the processor has it.", "auto")
    tile: Tile = option(
        "On a CPU, process large pictures in strips, which bounds the memory and gives the same "
        "picture: auto where the memory asks for it, off never, N always, about N*N pixels each.",
        "auto",
    )
    cache: bool = option(
        "Keep the compiled network on disk, for a quicker start the next time.", True
    )
    concurrency: int = option("Pictures that may be in work at once.", 1, minimum=1)


def check_options(config: Any) -> None:
    """Check every option of a configuration on its own.

    Raises:
        UsageError: a value that is none of the choices, or out of its bounds.
    """
    hints = get_type_hints(type(config))
    for spec in fields(config):
        value = getattr(config, spec.name)
        flag = f"--{spec.name.replace('_', '-')}"
        choices = get_args(hints[spec.name])
        named = choices and all(isinstance(choice, str) for choice in choices)
        if named and value not in choices:
            raise UsageError(f"{flag} is {value!r}; expected one of {', '.join(choices)}")
        if value is None:
            continue
        lowest, above = spec.metadata.get("minimum"), spec.metadata.get("above")
        if lowest is not None and not (lowest <= value < float("inf")):
            raise UsageError(f"{flag} is {value}; expected {lowest} or more")
        highest = spec.metadata.get("maximum")
        if highest is not None and value > highest:
            raise UsageError(f"{flag} is {value}; expected {highest} or less")
        if above is not None and not (above < value < float("inf")):
            raise UsageError(f"{flag} is {value}; expected more than {above}")


def parse_layers(text: str, flag: str) -> Mapping[str, float]:
    """Read `relu1_2,relu2_2=0.5` as a weight for each layer; 1 where none is given.

    Raises:
        UsageError: not of that form, or a layer twice.
    """
    layers: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, weight = part.partition("=")
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            value = -1.0
        if name in layers or not 0 <= value < float("inf"):
            raise UsageError(
                f"{flag} is {text!r}; expected LAYER[=WEIGHT],... with each layer once, "
                "such as relu1_2,relu2_2=0.5"
            )
        layers[name] = value
    return layers
