"""The options of an optimisation, each with its meaning, default and check; needs no torch.

`fast-style optimize` builds its command line from these fields.
"""

import os
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fast_style.errors import UsageError
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
"""The shortest side, in pixels, of a picture that is worked on: relu4_3 has 4 pixels of it."""

LARGEST = 16384
"""The largest `size`."""

COARSEST = 256
"""Long side, in pixels, that a series of sizes starts at, or somewhat less."""

_GROWTH = 0.75  # see `painting_side`

_RATES = {"lbfgs": 1.0, "adam": 0.02}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeConfig:
    """How a picture is optimised; each field's metadata says what it means."""

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
        "Iterations at the first size; each doubling of the size halves them.", 120, minimum=1
    )
    scales: int = option(
        "How many sizes to go through, coarse to fine, each half of the next; 0 chooses: from "
        f"about {COARSEST} pixels, or the full size only where the start is a style's picture.",
        0,
        minimum=0,
        maximum=8,
    )
    init: str = option(
        "What to start from: photo, painting, noise, a style's NAME (its network's picture), or "
        "the FILE of any picture.",
        "photo",
    )
    seed: int = option("Seed of the noise.", 0, minimum=0)
    optimizer: OptimizerName = option("What descends.", "lbfgs")
    learning_rate: float | None = option(
        "Its learning rate.  [default: 1 for lbfgs, 0.02 for adam]", None, above=0
    )
    tolerance: float = option(
        "Stop, or go on to the next size, when ten iterations lower the loss by less than this "
        "share of it; 0 never does.",
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
        "Keep the photo's colours: only brightness is optimised, against paintings in grey.", False
    )
    device: DeviceChoice = option("Where it computes; auto takes a GPU that can be used.", "auto")
    precision: PrecisionChoice = option(
        "What the VGG computes in; auto takes bf16 where the processor or GPU has it natively.",
        "auto",
    )

    def __post_init__(self) -> None:
        """Check every value on its own.

        Raises:
            UsageError: one that is out of its range, or of another form.
        """
        check_options(self)
        if not parse_layers(self.style_layers, "--style-layers"):
            raise UsageError("--style-layers is empty; expected LAYER[=WEIGHT],...")
        parse_layers(self.content_layers, "--content-layers")
        if not self.init.strip():
            raise UsageError(
                "--init is empty; expected photo, painting, noise, a style or a picture's file"
            )

    @property
    def rate(self) -> float:
        """The learning rate, chosen by the optimizer where none is given."""
        return _RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    def to_dict(self) -> dict[str, Any]:
        """All options as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Stage:
    """One size of a coarse-to-fine series.

    Attributes:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        iterations: at most so many.
    """

    height: int
    width: int
    iterations: int


def plan_stages(
    height: int, width: int, config: OptimizeConfig, *, from_network: bool = False
) -> list[Stage]:
    """Choose the sizes to go through.

    Args:
        height: of the photo, in pixels.
        width: of the photo, in pixels.
        config: `size`, `scales` and `iterations` are looked at.
        from_network: whether the start has its strokes already. They would be blurred by a coarse
            start, so the full size is then the only one unless `scales` says otherwise.

    Returns:
        The stages, the last one at full size.

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
    stages = []
    for halvings in reversed(range(count)):
        side = full / 2**halvings
        sides = [max(1, round(part * side / longest)) for part in (height, width)]
        if min(sides) < SMALLEST:
            raise UsageError(
                f"--scales {count} would begin at {sides[1]}x{sides[0]} pixels, and a side needs "
                f"at least {SMALLEST}: give fewer scales or a larger size"
            )
        done = count - 1 - halvings
        stages.append(Stage(sides[0], sides[1], max(1, round(config.iterations / 2**done))))
    return stages


def painting_side(picture: int, painting: int, scale: float) -> float:
    """Choose the long side that a painting is looked at with.

    A painting that is enlarged has no fine strokes left and gives none; but beside a picture that
    is larger, its own pixels would be what is painted: at 2,000 pixels, the grain of a scan of
    1,000. So beyond its own size, or `scale` times that where larger strokes are asked for, it
    grows more slowly than the picture: with every doubling by 1.68, which keeps strokes crisp.

    Args:
        picture: long side of the picture, in pixels.
        painting: long side of the painting as it is, in pixels.
        scale: `OptimizeConfig.style_scale`.

    Returns:
        The long side, in pixels, not rounded.
    """
    wanted, free = picture * scale, painting * max(1.0, scale)
    return wanted if wanted <= free else free * float((wanted / free) ** _GROWTH)


def parse_painting(text: str) -> tuple[str, float]:
    """Read `painting.jpg:0.6` as a painting and its weight; 1 where none is given.

    A file of that very name comes first.

    Raises:
        UsageError: a weight that is no number above 0.
    """
    path, colon, weight = text.rpartition(":")
    if not path or not colon or os.path.isfile(text):
        return text, 1.0
    try:
        share = float(weight)
    except ValueError:  # a path with a colon in it, or none
        return text, 1.0
    if not 0 < share < float("inf"):
        raise UsageError(f"the weight in {text!r} is {share:g}; expected a number above 0")
    return path, share
