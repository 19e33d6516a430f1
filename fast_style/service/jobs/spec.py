"""What a client may ask of a job: options with their help, default and check, and how it is kept.

The service reads these from the fields of a form and describes them in its OpenAPI document.
"""

import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from fast_style.errors import UsageError
from fast_style.images import format_from_suffix
from fast_style.optimization.config import OptimizeConfig
from fast_style.options import check_options, option
from fast_style.styles.mixing import parse_mixture

Kind = Literal["optimize", "batch"]

STARTS = ("photo", "painting", "noise")
"""What an optimisation may start from, beside styles by name; not the files of the server."""

_Order = TypeVar("_Order", "OptimizeOrder", "BatchOrder")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeOrder:
    """An optimisation; each field's metadata says what it means, as in `OptimizeConfig`."""

    size: int = option(
        "Long side of the picture, in pixels; a smaller photo keeps its own size.", 512, minimum=32
    )
    iterations: int = option(
        "Iterations at the first size; each doubling of the size halves them.", 120, minimum=1
    )
    init: str = option(
        "What to start from: photo, painting, noise, or a style's name (its network's picture).",
        "photo",
    )
    weights: str = option(
        "Weights of the paintings in their order, with commas; all alike if empty.", ""
    )
    style_weight: float = option("Weight of the style loss.", 40.0, minimum=0)
    content_weight: float = option("Weight of the content loss.", 1.0, minimum=0)
    tv_weight: float = option("Weight of the total variation.", 0.0, minimum=0)
    style_scale: float = option(
        "Long side of the paintings, as a multiple of the picture's.", 1.0, minimum=0.1, maximum=8
    )
    scales: int = option("How many sizes, coarse to fine; 0 chooses.", 0, minimum=0, maximum=8)
    preserve_color: bool = option("Keep the photo's colours.", False)
    seed: int = option("Seed of the noise.", 0, minimum=0, maximum=2**63 - 1)
    optimizer: Literal["lbfgs", "adam"] = option("What descends.", "lbfgs")
    learning_rate: float | None = option("Its learning rate.", None, above=0)
    tolerance: float = option(
        "Go on to the next size when ten iterations lower the loss by less than this share; 0 "
        "never does.",
        0.005,
        minimum=0,
        maximum=1,
    )
    preview_every: int = option(
        "Iterations from one intermediate picture to the next; 0 keeps none.",
        10,
        minimum=0,
        maximum=10_000,
    )
    format: Literal["png", "jpeg", "webp", "tiff"] = option("Format of the pictures.", "png")
    quality: int | None = option("Quality, for JPEG and WebP.", None, minimum=1, maximum=100)
    keep_metadata: bool = option("Put the photo's EXIF data into the result.", False)

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            UsageError: one that is out of its range, or of another form.
        """
        check_options(self)
        self.config()
        self.painting_weights(None)
        if self.init not in STARTS:
            check_style_name(self.init)

    def config(self) -> OptimizeConfig:
        """Give the options of the optimisation itself."""
        own = ("weights", "preview_every", "format", "quality", "keep_metadata")
        return OptimizeConfig(**{k: v for k, v in asdict(self).items() if k not in own})

    def painting_weights(self, count: int | None) -> list[float] | None:
        """Read the weights of the paintings; None if all are alike.

        Args:
            count: how many paintings there are; None does not compare.

        Raises:
            UsageError: a weight that is no number above 0, or not one for each painting.
        """
        if not self.weights.strip():
            return None
        try:
            weights = [float(part) for part in self.weights.split(",")]
        except ValueError:
            weights = [0.0]
        if not all(0 < weight < float("inf") for weight in weights):
            raise UsageError(f"weights is {self.weights!r}; expected numbers above 0, with commas")
        if count is not None and count != len(weights):
            raise UsageError(f"there are {len(weights)} weights for {count} paintings")
        return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOrder:
    """A style on all photos of an archive; each field's metadata says what it means."""

    style: str = option("A style's name, or a mixture such as starry-night:0.6,great-wave:0.4.")
    strength: float = option("0 gives the photo, 1 the full style.", 1.0, minimum=0, maximum=1)
    preserve_color: bool = option("Keep the photos' colours.", False)
    size: int | None = option(
        "The longest that a long side may be, in pixels; larger photos are made smaller first.",
        None,
        minimum=1,
    )
    stroke_size: float = option("Size of the strokes.", 1.0, minimum=0.25, maximum=16)
    format: Literal["same", "png", "jpeg", "webp", "tiff"] = option(
        "Format of the pictures; same is that of each photo.", "same"
    )
    quality: int | None = option("Quality, for JPEG and WebP.", None, minimum=1, maximum=100)
    keep_metadata: bool = option("Put the photos' EXIF data into the pictures.", False)

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            UsageError: one that is out of its range, or of another form.
        """
        check_options(self)
        for name, _ in parse_mixture(self.style):
            check_style_name(name)


ORDERS: dict[Kind, type[OptimizeOrder] | type[BatchOrder]] = {
    "optimize": OptimizeOrder,
    "batch": BatchOrder,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job as it is kept in the database: plain values, so that any release can read them.

    Attributes:
        kind: what is to be done.
        options: of `OptimizeOrder` or `BatchOrder`.
        inputs: the folder of the uploaded files, in the store.
        digest: of kind, options and files: two jobs with the same are the same.
        paintings: how many there are.
        photos: how many there are in a batch.
        limits: of `archives.Limits`, for a batch.
        max_megapixels: the largest photo that is read.
        expiry_seconds: how long files stay after the job's end.
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
        """Give it as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "JobSpec":
        """Read it back; what a newer release has added is passed over."""
        known = {spec.name for spec in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})

    def optimize_order(self) -> OptimizeOrder:
        """Give the options of an optimisation."""
        return _order_of(OptimizeOrder, self.options)

    def batch_order(self) -> BatchOrder:
        """Give the options of a batch."""
        return _order_of(BatchOrder, self.options)


def read_order(kind: Kind, texts: Mapping[str, str]) -> OptimizeOrder | BatchOrder:
    """Make an order of the fields of a form.

    Args:
        kind: of the job.
        texts: the fields; one that is missing has its default.

    Raises:
        UsageError: a field that there is not, is missing, or is not of its type or out of range.
    """
    order = ORDERS[kind]
    hints = get_type_hints(order)
    names = [spec.name for spec in fields(order)]
    unknown = sorted(set(texts) - set(names))
    if unknown:
        raise UsageError(
            f"a job of kind {kind} has no field {unknown[0][:80]!r}; it has {', '.join(names)}"
        )
    for spec in fields(order):
        if spec.default is MISSING and not texts.get(spec.name, "").strip():
            raise UsageError(f"the field {spec.name} is missing: {spec.metadata['help']}")
    values = {name: _value(name, text.strip(), hints[name]) for name, text in texts.items()}
    try:
        return order(**values)
    except UsageError as error:
        # On the command line the same options have flags.
        raise UsageError(
            re.sub(r"--([a-z-]+)", lambda flag: flag[1].replace("-", "_"), str(error))
        ) from error


def picture_format(format: str) -> str | None:
    """Give Pillow's name of a format that an order names; None for `same`."""
    return None if format == "same" else format_from_suffix(f"picture.{format}")


def check_style_name(name: str) -> None:
    """Refuse what may be a path: a service knows styles by name only.

    Raises:
        UsageError: there are characters in it that no style's name has.
    """
    if not re.fullmatch(r"\w[\w. -]{0,99}(:[\d.]+)?(,\w[\w. -]{0,99}(:[\d.]+)?)*", name):
        raise UsageError(f"{name[:80]!r} is no name of a style: see GET /v1/styles")


def _order_of(order: type[_Order], options: Mapping[str, Any]) -> _Order:
    known = {spec.name for spec in fields(order)}
    return order(**{key: value for key, value in options.items() if key in known})


def _value(name: str, text: str, hint: Any) -> Any:
    if get_origin(hint) is UnionType:
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if hint is bool:
        known = {"true": True, "false": False}
        if text.lower() not in known:
            raise UsageError(f"{name} is {text[:80]!r}; expected true or false")
        return known[text.lower()]
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            what = "a whole number" if hint is int else "a number"
            raise UsageError(f"{name} is {text[:80]!r}; expected {what}") from None
    return text
