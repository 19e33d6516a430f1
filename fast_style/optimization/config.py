"""The options of an optimisation, with help texts, defaults and checks; needs no torch.

`fast-style optimize` builds its command line from these fields.
"""

import os
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fast_style.errors import OptionError, UsageError
from fast_style.options import (
    VggChoice,
    check_options,
    loss_option,
    option,
    parse_layers,
)

OptimizerName = Literal["lbfgs", "adam"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]

SMALLEST = 32
"""The smallest side of a picture, in pixels: relu4_3 then has 4."""

LARGEST = 16384
"""The largest `size`."""

COARSEST = 256
"""Approximate long side, in pixels, of the first size of a coarse-to-fine optimisation."""

_GROWTH = 0.75  # see `painting_side`

_RATES = {"lbfgs": 1.0, "adam": 0.02}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeConfig:
    """The options of an optimisation; each field's metadata has its help text."""

    size: int = option(
        "Long side of the picture, in pixels; a smaller photo keeps its own size.",
        512,
        minimum=SMALLEST,
        maximum=LARGEST,
    )
    style_scale: float = option(
        "Long side of the paintings, as a multiple of the picture's: larger gives larger strokes.",
        1.0,
        minimum=0.1,
        maximum=8,
    )
    iterations: int = option(
        "Iterations at the first size; they are halved with each doubling of the size.",
        120,
        minimum=1,
    )
    scales: int = option(
        "Number of sizes, coarse to fine, each half of the next. 0 starts at about "
        f"{COARSEST} pixels, or at the full size if --init is a style.",
        0,
        minimum=0,
        maximum=8,
    )
    init: str = option(
        "Picture to start from: photo, painting, noise, a style's NAME (the photo stylized by its "
        "network), or the FILE of any picture.",
        "photo",
    )
    seed: int = option("Seed of the noise.", 0, minimum=0)
    optimizer: OptimizerName = option("Optimizer.", "lbfgs")
    learning_rate: float | None = option(
        "Learning rate.  [default: 1 for lbfgs, 0.02 for adam]", None, above=0
    )
    tolerance: float = option(
        "End a size early when ten iterations lower the loss by less than this fraction; 0 never "
        "does.",
        0.005,
        minimum=0,
        maximum=1,
    )
    content_weight: float = loss_option("content_weight", 1.0)
    style_weight: float = loss_option("style_weight", 40.0)
    tv_weight: float = loss_option("tv_weight", 0.0)
    content_layers: str = loss_option("content_layers", "relu4_2")
    style_layers: str = loss_option("style_layers", "relu1_2,relu2_2,relu3_3,relu4_3")
    vgg: VggChoice = loss_option("vgg", "bundled")
    preserve_color: bool = option(
        "Keep the photo's colours: only the brightness is optimised, with grey paintings.", False
    )
    device: DeviceChoice = option("Device to compute on; auto is a GPU if there is one.", "auto")
    precision: PrecisionChoice = option(
        "Precision of the VGG; auto is bf16 if the CPU or GPU computes it natively, else fp32.",
        "auto",
    )

    def __post_init__(self) -> None:
        """Check every value on its own.

        Raises:
            UsageError: a value is out of its range or cannot be parsed.
        """
        check_options(self)
        if not parse_layers(self.style_layers, "style_layers"):
            raise OptionError("style_layers", "is empty; expected LAYER[=WEIGHT],...")
        parse_layers(self.content_layers, "content_layers")
        if not self.init.strip():
            raise OptionError(
                "init", "is empty; expected photo, painting, noise, a style or a picture's file"
            )

    @property
    def rate(self) -> float:
        """The learning rate; the optimizer's default if none is given."""
        return _RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    def to_dict(self) -> dict[str, Any]:
        """Return all options as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PyramidLevel:
    """One size of a coarse-to-fine optimisation.

    Attributes:
        height: height of the picture, in pixels.
        width: width of the picture, in pixels.
        iterations: the largest number of iterations.
    """

    height: int
    width: int
    iterations: int


def plan_levels(
    height: int, width: int, config: OptimizeConfig, *, from_network: bool = False
) -> list[PyramidLevel]:
    """Plan the sizes of a coarse-to-fine optimisation.

    Args:
        height: height of the photo, in pixels.
        width: width of the photo, in pixels.
        config: the options; `size`, `scales` and `iterations` are used.
        from_network: whether the start is the picture of a style network. A coarse size would blur
            its strokes, so there is only the full size unless `scales` is given.

    Returns:
        The levels, the last one at full size.

    Raises:
        UsageError: the photo, or the smallest of the sizes, has a side below `SMALLEST`.
    """
    longest = max(height, width)
    full = min(config.size, longest)
    if min(height, width) * full / longest < SMALLEST:
        raise UsageError(
            f"a photo of {width}x{height} has a side below {SMALLEST} pixels at --size {full}: "
            "give a larger photo or size"
        )
    count = config.scales
    if count == 0:
        count = 1
        while not from_network and full / 2 ** (count - 1) > COARSEST * 2**0.5:
            count += 1
        while min(height, width) * full / 2 ** (count - 1) / longest < SMALLEST:
            count -= 1
    levels = []
    for halvings in reversed(range(count)):
        side = full / 2**halvings
        sides = [max(1, round(part * side / longest)) for part in (height, width)]
        if min(sides) < SMALLEST:
            raise UsageError(
                f"--scales {count} would begin at {sides[1]}x{sides[0]} pixels, and a side needs "
                f"at least {SMALLEST}: give fewer scales or a larger size"
            )
        done = count - 1 - halvings
        iterations = max(1, round(config.iterations / 2**done))
        levels.append(PyramidLevel(sides[0], sides[1], iterations))
    return levels


def painting_side(picture: int, painting: int, scale: float) -> float:
    """Return the long side to which a painting is resized for a picture.

    An enlarged painting has no fine strokes, and so gives none. But if a small painting kept its
    size beside a larger picture, its own pixels would be painted: at 2,000 pixels, the grain of a
    scan of 1,000 pixels. So beyond its own size (or `scale` times that, for larger strokes), the
    painting grows more slowly than the picture, by 1.68 with every doubling, which keeps strokes
    crisp.

    Args:
        picture: long side of the picture, in pixels.
        painting: long side of the painting, in pixels.
        scale: `OptimizeConfig.style_scale`.

    Returns:
        The long side, in pixels, not rounded.
    """
    wanted, unscaled = picture * scale, painting * max(1.0, scale)
    return wanted if wanted <= unscaled else unscaled * float((wanted / unscaled) ** _GROWTH)


def parse_painting(text: str) -> tuple[str, float]:
    """Parse `painting.jpg:0.6` as a painting and its weight; 1 if none is given.

    If there is a file of the whole name, it is the painting.

    Raises:
        UsageError: the weight is not a number above 0.
    """
    path, colon, weight = text.rpartition(":")
    if not path or not colon or os.path.isfile(text):
        return text, 1.0
    try:
        share = float(weight)
    except ValueError:  # the colon belongs to the path
        return text, 1.0
    if not 0 < share < float("inf"):
        raise UsageError(f"the weight in {text!r} is {share:g}; expected a number above 0")
    return path, share
