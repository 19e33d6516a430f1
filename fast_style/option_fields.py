"""Options as the fields of a dataclass: each with its help, default and bounds; needs no torch.

`cli/options.py` makes command-line options of such fields.
"""

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, get_args, get_type_hints

from fast_style.errors import UsageError

__all__ = ["check_options", "option", "parse_layers"]


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
