"""Options as dataclass fields, each with its help text, default and bounds.

An option is declared once, as a field made by `option`. The command line and the service build
their forms from the fields; `check_options` refuses a value with the same sentence everywhere.
"""

from collections.abc import Mapping
from dataclasses import field, fields
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fast_style.errors import OptionError

__all__ = [
    "check_options",
    "loss_option",
    "option",
    "parse_layers",
    "select_options",
    "split_hint",
    "type_hints",
]

Bundle = TypeVar("Bundle")


def option(help_text: str, default: Any = ..., *, cli: bool = True, **metadata: Any) -> Any:
    """Make a field that is an option; without a default it is required.

    Args:
        help_text: what it means, in a sentence.
        default: its default.
        cli: whether `cli.options.options_from` makes a command-line option of it.
        metadata: `minimum` and `maximum` (both allowed values), or `above` (not allowed itself);
            `metavar`, what `--help` shows for the value; `envvar`, an environment variable that
            sets it; `flag_value`, what the flag stands for without a value.
    """
    metadata = {"help": help_text, "cli": cli, **metadata}
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def loss_option(name: str, default: Any) -> Any:
    """Make a field that is an option of the perceptual loss, for training and optimising alike.

    Args:
        name: which one; `models.perceptual_loss.LossConfig.from_options` reads fields of these
            names.
        default: its default.
    """
    help_text, bounds = _LOSS_OPTIONS[name]
    return option(help_text, default, **bounds)


_LOSS_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
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
    """Check the type and the bounds of every field of a dataclass made with `option`.

    Numbers, flags and choices are checked; fields of other types are left to the caller. Numbers
    and flags of numpy become Python's, which JSON can hold.

    Raises:
        OptionError: a value has the wrong type, is none of the choices, or is out of its bounds.
    """
    hints = type_hints(config.__class__)
    for spec in fields(config):
        given = getattr(config, spec.name)
        plain = _check_option(spec.name, given, hints[spec.name], spec.metadata)
        if plain is not given:
            object.__setattr__(config, spec.name, plain)  # a frozen dataclass, while it is made


def select_options(options: Any, bundle: type[Bundle]) -> Bundle:
    """Return a bundle, such as `StyleOptions`, from a dataclass that has all of its fields."""
    return bundle(**{spec.name: getattr(options, spec.name) for spec in fields(bundle)})  # type: ignore[arg-type]


def split_hint(hint: Any) -> tuple[tuple[str, ...], tuple[type, ...]]:
    """Split the type of an option into the names and the other types that it allows.

    Example:
        >>> split_hint(Literal["auto", "off"] | int)
        (('auto', 'off'), (<class 'int'>,))
    """
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    choices = [name for part in parts if get_origin(part) is Literal for name in get_args(part)]
    return tuple(choices), tuple(part for part in parts if get_origin(part) is not Literal)


@cache
def type_hints(config: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields, evaluated once for each class."""
    return get_type_hints(config)


def _check_option(name: str, value: Any, hint: Any, bounds: Mapping[str, Any]) -> Any:
    """Check a value, and return it as one of Python's own types."""
    choices, types = split_hint(hint)
    if (isinstance(value, str) and value in choices) or (value is None and NoneType in types):
        return value
    wanted = next((kind for kind in types if kind is not NoneType), None)
    if wanted is None:
        raise _option_error(name, value, f"one of {', '.join(choices)}")
    if wanted is bool:
        if isinstance(value, bool):
            return value
        if str(getattr(value, "dtype", "")) == "bool" and not getattr(value, "shape", ()):
            return bool(value)
        names = f"{', '.join(choices)}, " if choices else ""
        raise _option_error(name, value, f"{names}True or False")
    if wanted not in (int, float):
        return value
    number = "a whole number" if wanted is int else "a number"
    kind = Integral if wanted is int else Real
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if not choices:
        if not is_number:
            raise _option_error(name, value, number)
        _check_bounds(name, value, bounds)
    elif not (is_number and bounds["minimum"] <= value <= bounds.get("maximum", value)):
        most = f" to {bounds['maximum']}" if "maximum" in bounds else " or more"
        number += f" of {bounds['minimum']}{most}"
        raise _option_error(name, value, f"{', '.join(choices)} or {number}")
    return value if isinstance(value, int | float) else wanted(value)


def _check_bounds(name: str, value: Any, bounds: Mapping[str, Any]) -> None:
    """Check a number; the comparisons are such that NaN and infinity fail."""
    lowest, highest, above = (bounds.get(bound) for bound in ("minimum", "maximum", "above"))
    if lowest is not None and not lowest <= value < float("inf"):
        raise _option_error(name, value, f"{lowest} or more")
    if above is not None and not above < value < float("inf"):
        raise _option_error(name, value, f"more than {above}")
    if highest is not None and not value <= highest:
        raise _option_error(name, value, f"{highest} or less")


def _option_error(name: str, value: Any, expected: str) -> OptionError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return OptionError(name, f"is {shown}; expected {expected}")


def parse_layers(text: str, name: str) -> Mapping[str, float]:
    """Parse `relu1_2,relu2_2=0.5` into a weight for each layer; 1 where none is given.

    Args:
        text: the layers.
        name: of the option, for the message.

    Raises:
        OptionError: the text has another form, or a layer twice.
    """
    layers: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        layer, _, weight = part.partition("=")
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            value = -1.0
        if layer in layers or not 0 <= value < float("inf"):
            form = "LAYER[=WEIGHT],... with each layer once, such as relu1_2,relu2_2=0.5"
            raise _option_error(name, text, form)
        layers[layer] = value
    return layers
