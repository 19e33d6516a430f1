"""Options as dataclass fields, each with its help text, default and bounds; needs no torch.

An option is declared once, as a field made by `option`. The command line and the service build
their forms from the fields; `check_options` refuses a value with the same sentence everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fast_style.errors import OptionError

__all__ = [
    "DEFAULT_MAX_MEGAPIXELS",
    "GRAIN_LIMIT",
    "MAX_SHEET_SIZE",
    "MAX_STROKE_SIZE",
    "MIN_SHEET_SIZE",
    "MIN_STROKE_SIZE",
    "AudioChoice",
    "DeviceChoice",
    "EngineChoice",
    "EngineOptions",
    "OutputFormat",
    "OutputOptions",
    "PipelineOptions",
    "PrecisionChoice",
    "SheetOptions",
    "StyleOptions",
    "Tile",
    "VggChoice",
    "VideoCodec",
    "VideoOptions",
    "check_options",
    "loss_option",
    "option",
    "parse_layers",
    "select_options",
    "split_hint",
]

Bundle = TypeVar("Bundle")

VggChoice = Literal["bundled", "vgg16", "vgg19"]
EngineChoice = Literal["auto", "openvino", "torch", "onnxruntime"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16"]
OutputFormat = Literal["jpeg", "jpg", "png", "webp", "tiff", "tif", "bmp", "avif"]
VideoCodec = Literal["auto", "h264", "h265", "av1", "vp9", "prores", "gif"]
AudioChoice = Literal["copy", "none"]
Tile = Literal["auto", "off"] | int
"""How large pictures are processed on a CPU: see `EngineOptions.tile`."""

GRAIN_LIMIT = 64
"""The strongest grain that `images.grain` adds, in levels of 0-255."""

MIN_STROKE_SIZE, MAX_STROKE_SIZE = 0.25, 16
"""Bounds of `StyleOptions.stroke_size`. The cost of finer strokes grows with the square of their
inverse; coarser ones leave the network next to nothing to paint."""

MIN_SHEET_SIZE, MAX_SHEET_SIZE = 64, 2048
"""Bounds of the longest side of each picture on a contact sheet, in pixels."""

MIN_TILE = 64
"""The smallest `EngineOptions.tile`: strips of fewer pixels are nothing but overlap."""

DEFAULT_MAX_MEGAPIXELS = 250.0
"""Larger pictures are refused unless the caller raises the limit."""

MAX_WORKERS = 64
"""More threads than that read and write no faster."""


def option(help_text: str, default: Any = ..., *, cli: bool = True, **metadata: Any) -> Any:
    """Make a field that is an option; without a default it is required.

    Args:
        help_text: what it means, in a sentence.
        default: its default.
        cli: whether `cli.options.options_from` makes a command-line option of it.
        metadata: `minimum` and `maximum` (both allowed values), or `above` (not allowed itself);
            `metavar`, what `--help` shows for the value; `envvar`, an environment variable that
            sets it.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleOptions:
    """How a picture is stylized; each field's metadata says what it means.

    Raises:
        OptionError: a value has the wrong type or is out of its bounds (NaN included).
    """

    size: int | None = option(
        "Longest side to work at and to write, in pixels: larger pictures are resized first, "
        "smaller ones keep their size.  [default: the picture's own size]",
        None,
        minimum=1,
        metavar="PIXELS",
    )
    strength: float = option(
        "Stylization strength: 0 is the photo, 1 the full style.",
        1.0,
        minimum=0,
        maximum=1,
        metavar="0..1",
    )
    preserve_color: bool = option("Keep the photo's colours.", False)
    stroke_size: float = option(
        "Size of the brush strokes, relative to what the style has learnt; 2 or 4 suit a photo of "
        "12 megapixels. Above 1 is faster: the network works on a smaller picture, which is "
        "enlarged again with the edges of the photo. Below 1 is finer and slower.",
        1.0,
        minimum=MIN_STROKE_SIZE,
        maximum=MAX_STROKE_SIZE,
        metavar="0.25..16",
    )

    def __post_init__(self) -> None:
        """Check every value."""
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What runs the network, and where; each field's metadata says what it means.

    Raises:
        OptionError: a value has the wrong type, is no known name, or is out of its bounds.
    """

    engine: EngineChoice = option(
        "What runs the network; auto is the fastest that is installed.", "auto"
    )
    device: DeviceChoice = option("Where the network runs; auto prefers a GPU.", "auto")
    precision: PrecisionChoice = option(
        "Precision of the network; auto is bf16 where the processor computes it natively, else "
        "fp32.",
        "auto",
    )
    tile: Tile = option(
        "On a CPU, process large pictures in strips, which bounds the memory and gives the same "
        "picture: auto if memory is short, off never, N always, with about N*N pixels each.",
        "auto",
        minimum=MIN_TILE,
        metavar="auto|off|N",
    )
    cache: bool = option(
        "Keep the compiled network on disk, for a quicker start the next time.", True, cli=False
    )
    concurrency: int = option(
        "Pictures of several threads that may be in the network at once.", 1, minimum=1, cli=False
    )

    def __post_init__(self) -> None:
        """Check every value."""
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What kind of file is written; each field's metadata says what it means.

    Raises:
        OptionError: a value has the wrong type, is no known name, or is out of its bounds.
    """

    format: OutputFormat | None = option(
        "Format to write.  [default: that of the output's suffix, or else of the input; PNG where "
        "that cannot be written]",
        None,
    )
    quality: int | None = option(
        "Quality of JPEG, WebP and AVIF.  [default: 95, 90, 85]",
        None,
        minimum=1,
        maximum=100,
        metavar="1..100",
    )

    def __post_init__(self) -> None:
        """Check every value."""
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOptions:
    """How many pictures are read, stylized and written; each field's metadata says what it means.

    Raises:
        OptionError: a value has the wrong type or is out of its bounds (NaN included).
    """

    max_megapixels: float = option(
        "Refuse pictures that claim to be larger.", DEFAULT_MAX_MEGAPIXELS, above=0, metavar="N"
    )
    workers: int | None = option(
        "Threads that read and write pictures while the network works on another; 0 does one "
        "after the other.  [default: half the cores, at most 8; on a GPU, the cores, at most 16]",
        None,
        minimum=0,
        maximum=MAX_WORKERS,
        metavar="N",
    )

    def __post_init__(self) -> None:
        """Check every value."""
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOptions:
    """How a video is stylized and encoded; each field's metadata says what it means.

    Raises:
        OptionError: a value has the wrong type, is no known name, or is out of its bounds.
    """

    steady: float = option(
        "How still the strokes are held from frame to frame: 0 stylizes every frame on its own.",
        1.0,
        minimum=0,
        maximum=1,
        metavar="0..1",
    )
    codec: VideoCodec = option(
        "How the pictures are encoded; auto is the usual codec of the output's suffix.", "auto"
    )
    quality: int | None = option(
        "Quality of the encoding.  [default: 75]", None, minimum=1, maximum=100, metavar="1..100"
    )
    audio: AudioChoice = option("Whether the sound is kept.", "copy")

    def __post_init__(self) -> None:
        """Check every value."""
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetOptions:
    """How a contact sheet is laid out; each field's metadata says what it means.

    Raises:
        OptionError: a value has the wrong type or is out of its bounds.
    """

    size: int = option(
        "Longest side of each picture, in pixels.",
        384,
        minimum=MIN_SHEET_SIZE,
        maximum=MAX_SHEET_SIZE,
        metavar="PIXELS",
    )
    columns: int | None = option(
        "Number of columns.  [default: chosen such that the sheet is a little wider than high]",
        None,
        minimum=1,
        metavar="N",
    )

    def __post_init__(self) -> None:
        """Check every value."""
        check_options(self)


def check_options(config: Any) -> None:
    """Check the type and the bounds of every field of a dataclass made with `option`.

    Numbers, flags and choices are checked; fields of other types are left to the caller.

    Raises:
        OptionError: a value has the wrong type, is none of the choices, or is out of its bounds.
    """
    hints = type_hints(config.__class__)
    for spec in fields(config):
        _check_option(spec.name, getattr(config, spec.name), hints[spec.name], spec.metadata)


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


def _check_option(name: str, value: Any, hint: Any, bounds: Mapping[str, Any]) -> None:
    choices, types = split_hint(hint)
    if (isinstance(value, str) and value in choices) or (value is None and NoneType in types):
        return
    wanted = next((kind for kind in types if kind is not NoneType), None)
    if wanted is None:
        raise _option_error(name, value, f"one of {', '.join(choices)}")
    if wanted is bool and not isinstance(value, bool):
        raise _option_error(name, value, "True or False")
    if wanted not in (int, float):
        return
    number = "a whole number" if wanted is int else "a number"
    is_number = isinstance(value, int if wanted is int else Real) and not isinstance(value, bool)
    if not choices:
        if not is_number:
            raise _option_error(name, value, number)
        _check_bounds(name, value, bounds)
    elif not (is_number and bounds["minimum"] <= value <= bounds.get("maximum", value)):
        most = f" to {bounds['maximum']}" if "maximum" in bounds else " or more"
        number += f" of {bounds['minimum']}{most}"
        raise _option_error(name, value, f"{', '.join(choices)} or {number}")


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
