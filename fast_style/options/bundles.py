"""The bundles of options that several commands share: one keyword-only dataclass each."""

from dataclasses import dataclass
from typing import Literal

from fast_style.options.fields import check_options, option

VggChoice = Literal["bundled", "vgg16", "vgg19"]
EngineChoice = Literal["auto", "openvino", "torch", "onnxruntime"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16"]
OutputFormat = Literal["jpeg", "jpg", "png", "webp", "tiff", "tif", "bmp", "avif", "heic"]
VideoCodec = Literal["auto", "h264", "h265", "av1", "vp9", "prores", "gif"]
StripChoice = Literal["location", "all"]
ColorMode = Literal["luminance", "histogram", "chroma"]
AudioChoice = Literal["copy", "none"]
Tile = Literal["auto", "off"] | int
"""How large pictures are processed on a CPU: see `EngineOptions.tile`."""

StrokeSize = Literal["auto"] | float
"""The size of the strokes: see `StyleOptions.stroke_size`."""

GRAIN_LIMIT = 64
"""The strongest grain that `images.grain` adds, in levels of 0-255."""

MIN_STROKE_SIZE, MAX_STROKE_SIZE = 0.25, 16
"""Bounds of `StyleOptions.stroke_size`. The cost of finer strokes grows with the square of their
inverse; coarser ones leave the network next to nothing to paint."""

MAX_STRENGTH = 1.5
"""Beyond it, most values are clipped."""

MAX_VARIANT = 2**31 - 1

MAX_FEATHER = 4096
"""The widest soft edge of a mask, in pixels."""

MASK_OPTIONS = ("feather", "invert_mask")
"""Fields of `StyleOptions` for masks, which videos do not have."""

MIN_STYLE_SIZE, MAX_STYLE_SIZE = 32, 2048
"""Bounds of `PredictionOptions.style_size`. Prediction costs as many pixels; at 2048 it takes some
seconds and 3 GB."""

MIN_SHEET_SIZE, MAX_SHEET_SIZE = 64, 2048
"""Bounds of the longest side of each picture on a contact sheet, in pixels."""

MIN_TILE = 64
"""The smallest `EngineOptions.tile`: strips of fewer pixels are nothing but overlap."""

DEFAULT_MAX_MEGAPIXELS = 250.0
"""Larger pictures are refused unless the caller raises the limit."""

MAX_WORKERS = 64
"""More threads than that read and write no faster."""


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
        "Stylization strength: 0 is the photo, 1 the full style, more is bolder.",
        1.0,
        minimum=0,
        maximum=MAX_STRENGTH,
        metavar="0..1.5",
    )
    color_strength: float | None = option(
        "Strength of the style's colours, apart from its strokes.  [default: --strength]",
        None,
        minimum=0,
        maximum=MAX_STRENGTH,
        metavar="0..1.5",
    )
    stroke_strength: float | None = option(
        "Strength of the style's strokes, apart from its colours.  [default: --strength]",
        None,
        minimum=0,
        maximum=MAX_STRENGTH,
        metavar="0..1.5",
    )
    preserve_color: ColorMode | bool = option(
        "Keep the photo's colours. luminance: the style changes brightness only; histogram: the "
        "style's colours are changed as a whole to the photo's; chroma: as luminance, in a space "
        "made for the eye.",
        False,
        flag_value="luminance",
        metavar="luminance|histogram|chroma",
    )
    color_share: float = option(
        "How much of the photo's colours --preserve-color keeps, and how much of a picture's "
        "--colors-of takes.",
        1.0,
        minimum=0,
        maximum=1,
        metavar="0..1",
    )
    variant: int = option(
        "Another, equally good picture for each number, from other noise.",
        0,
        minimum=0,
        maximum=MAX_VARIANT,
        metavar="N",
    )
    feather: float = option(
        "Width of the soft edge of masks, in pixels.",
        0,
        minimum=0,
        maximum=MAX_FEATHER,
        metavar="PIXELS",
    )
    invert_mask: bool = option("Swap black and white in masks.", False)
    stroke_size: StrokeSize = option(
        "Size of the brush strokes: auto fits them to the picture, so that a large photo looks as "
        "bold as a small one; a number is relative to what the style has learnt, 1 its own size. "
        "Above 1 is faster: the network works on a smaller picture, which is enlarged again with "
        "the edges of the photo. Below 1 is finer and slower.",
        "auto",
        minimum=MIN_STROKE_SIZE,
        maximum=MAX_STROKE_SIZE,
        metavar="auto|0.25..16",
    )

    def __post_init__(self) -> None:
        """Check every value."""
        check_options(self)

    @property
    def strengths(self) -> tuple[float, float]:
        """The strengths of colours and strokes."""
        color, strokes = self.color_strength, self.stroke_strength
        return (
            self.strength if color is None else color,
            self.strength if strokes is None else strokes,
        )

    @property
    def color_mode(self) -> ColorMode | None:
        """The way in which the photo's colours are kept; None if they are not."""
        if isinstance(self.preserve_color, bool):
            return "luminance" if self.preserve_color else None
        return self.preserve_color


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
class PredictionOptions:
    """How a style is predicted from a picture; each field's metadata says what it means.

    Raises:
        OptionError: a value has the wrong type or is out of its bounds.
    """

    style_size: int | None = option(
        "For a style that is a picture: long side to which it is resized, in pixels; larger gives "
        "larger strokes.  [default: what the predictor was trained on, 384]",
        None,
        minimum=MIN_STYLE_SIZE,
        maximum=MAX_STYLE_SIZE,
        metavar="PIXELS",
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
        "Quality of JPEG, WebP, AVIF and HEIC.  [default: 95, 90, 85, 85]",
        None,
        minimum=1,
        maximum=100,
        metavar="1..100",
    )
    strip: StripChoice | None = option(
        "Leave out metadata: location is where the photo was taken (GPS and the camera maker's "
        "own notes), all is all of EXIF. The colour profile is always kept.  [default: keep all]",
        None,
    )
    note: bool = option(
        "Write into the picture (EXIF, ImageHistory) how it was made: style, options, version. "
        "--skip-existing compares it.",
        True,
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
