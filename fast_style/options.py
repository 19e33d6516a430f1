"""Options as the fields of a dataclass: each with its help, default and bounds; needs no torch.

`cli/options.py` makes command-line options of such fields.
"""

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, Literal, get_args, get_type_hints

from fast_style.errors import UsageError

__all__ = ["VggChoice", "check_options", "loss_option", "option", "parse_layers"]

VggChoice = Literal["bundled", "vgg16", "vgg19"]


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
