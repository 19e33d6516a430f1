"""What a client may ask of a job: its options, and the form in which a job is stored."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, Union

from fast_style.errors import OptionError, UsageError
from fast_style.images import format_from_suffix
from fast_style.optimization.config import OptimizeConfig
from fast_style.options import (
    AudioChoice,
    StyleOptions,
    VideoCodec,
    VideoOptions,
    option,
    select_options,
)
from fast_style.styles.mixing import parse_mixture

Kind = Literal["optimize", "batch", "video"]

START_PICTURES = ("photo", "painting", "noise")
"""What an optimisation may start from, beside styles by name; not the files of the server."""

SERVER_OPTIONS = ("content_layers", "style_layers", "vgg", "device", "precision")
"""Options of `OptimizeConfig` that clients cannot choose."""

_STYLE_NAME = r"\w[\w. -]{0,99}(:[\d.]+)?"

JobOptions = Union["OptimizeJobOptions", "BatchJobOptions", "VideoJobOptions"]

_Options = TypeVar("_Options", "OptimizeJobOptions", "BatchJobOptions", "VideoJobOptions")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeJobOptions(OptimizeConfig):
    """The options of an optimisation, and those of its pictures.

    Raises:
        UsageError: a value is out of its range, or of another form.
    """

    # Not the name of a file, unlike on the command line.
    init: str = option(
        "Picture to start from: photo, painting, noise, or a style's name (the photo stylized by "
        "its network).",
        "photo",
    )
    seed: int = option("Seed of the noise.", 0, minimum=0, maximum=2**63 - 1)
    weights: str = option(
        "Weights of the paintings in their order, with commas; equal weights if empty.", ""
    )
    preview_every: int = option(
        "Iterations from one intermediate picture to the next; 0 keeps none.",
        10,
        minimum=0,
        maximum=10_000,
    )
    format: Literal["png", "jpeg", "webp", "tiff"] = option("Format of the pictures.", "png")
    quality: int | None = option("Quality of JPEG and WebP.", None, minimum=1, maximum=100)
    keep_metadata: bool = option("Put the photo's EXIF data into the result.", False)

    def __post_init__(self) -> None:
        """Check every value."""
        OptimizeConfig.__post_init__(self)
        self.painting_weights(None)
        if self.init not in START_PICTURES:
            check_style_name(self.init)

    def config(self) -> OptimizeConfig:
        """Return the options of the optimisation itself."""
        return select_options(self, OptimizeConfig)

    def painting_weights(self, count: int | None) -> list[float] | None:
        """Parse the weights of the paintings; None if all are equal.

        Args:
            count: the number of paintings; None does not compare.

        Raises:
            UsageError: a weight is not a number above 0, or there is not one for each painting.
        """
        if not self.weights.strip():
            return None
        try:
            weights = [float(part) for part in self.weights.split(",")]
        except ValueError:
            weights = [0.0]
        if not all(0 < weight < float("inf") for weight in weights):
            raise OptionError(
                "weights", f"is {self.weights[:60]!r}; expected numbers above 0, with commas"
            )
        if count is not None and count != len(weights):
            raise UsageError(
                f"there are {len(weights)} weights for {count} paintings; expected one for each"
            )
        return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJobOptions(StyleOptions):
    """The options of a style on all photos of an archive, and those of the pictures.

    Raises:
        UsageError: a value is out of its range, or of another form.
    """

    style: str = option("A style's name, or a mixture such as starry-night:0.6,great-wave:0.4.")
    format: Literal["same", "png", "jpeg", "webp", "tiff"] = option(
        "Format of the pictures; same is that of each photo.", "same"
    )
    quality: int | None = option("Quality of JPEG and WebP.", None, minimum=1, maximum=100)
    keep_metadata: bool = option("Put the photos' EXIF data into the pictures.", False)

    def __post_init__(self) -> None:
        """Check every value."""
        StyleOptions.__post_init__(self)
        for name, _ in parse_mixture(self.style):
            check_style_name(name)


def _video_option(name: str) -> Any:
    """Return an option of `VideoOptions` as a field of another class."""
    (spec,) = (spec for spec in fields(VideoOptions) if spec.name == name)
    return field(default=spec.default, metadata=spec.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoJobOptions(StyleOptions):
    """The options of a style on a video, and those of the file.

    Raises:
        UsageError: a value is out of its range, or of another form.
    """

    style: str = option("A style's name, or a mixture such as starry-night:0.6,great-wave:0.4.")
    format: Literal["mp4", "webm", "mkv", "mov", "gif", "webp"] = option("Kind of file.", "mp4")
    steady: float = _video_option("steady")
    codec: VideoCodec = _video_option("codec")  # noqa: RUF009
    quality: int | None = _video_option("quality")
    audio: AudioChoice = _video_option("audio")  # noqa: RUF009

    def __post_init__(self) -> None:
        """Check every value."""
        StyleOptions.__post_init__(self)
        for name, _ in parse_mixture(self.style):
            check_style_name(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job as it is stored in the database: JSON values, which any release can read.

    Attributes:
        kind: what is to be done.
        options: of `OptimizeJobOptions`, `BatchJobOptions` or `VideoJobOptions`, see
            `stored_options`.
        inputs: the folder of the uploaded files, in the store.
        digest: of kind, options and files: two jobs with the same digest are the same.
        paintings: their number.
        photos: their number in a batch.
        limits: of `archives.Limits`, for a batch; `seconds` of a video.
        max_megapixels: the largest photo that is read.
        expiry_seconds: how long files are kept after the job's end.
    """

    kind: Kind
    options: dict[str, Any]
    inputs: str
    digest: str
    paintings: int = 0
    photos: int = 0
    limits: dict[str, int]
    max_megapixels: float
    expiry_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the job as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "JobSpec":
        """Read a job back; fields that a newer release has added are ignored."""
        known = {spec.name for spec in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})

    def optimize_options(self) -> OptimizeJobOptions:
        """Return the options of an optimisation."""
        return _read_options(OptimizeJobOptions, self.options)

    def batch_options(self) -> BatchJobOptions:
        """Return the options of a batch."""
        return _read_options(BatchJobOptions, self.options)

    def video_options(self) -> VideoJobOptions:
        """Return the options of a video."""
        return _read_options(VideoJobOptions, self.options)


def stored_options(options: JobOptions) -> dict[str, Any]:
    """Return the options that a client can choose, as JSON values."""
    return {key: value for key, value in asdict(options).items() if key not in SERVER_OPTIONS}


def picture_format(format: str) -> str | None:
    """Return Pillow's name of a format of the options; None for `same`."""
    return None if format == "same" else format_from_suffix(f"picture.{format}")


def check_style_name(name: str) -> None:
    """Refuse what may be a path: clients know styles by name only.

    Raises:
        UsageError: it has characters that no style's name has.
    """
    if not re.fullmatch(rf"{_STYLE_NAME}(,{_STYLE_NAME})*", name):
        raise UsageError(f"{name[:80]!r} is not the name of a style: GET /v1/styles lists them")


def _read_options(options: type[_Options], values: Mapping[str, Any]) -> _Options:
    known = {spec.name for spec in fields(options)}
    return options(**{key: value for key, value in values.items() if key in known})
