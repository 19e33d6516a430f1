"""Mixing styles: `starry-night:0.6,great-wave:0.4`.

Styles that grew from one base are mixed as networks: each weight is the mean of theirs, and a
picture takes one forward pass. Weights of networks that were trained apart mean different things in
the same place, and their mean is no network at all; there, the pictures are mixed instead, at one
forward pass a style. (Interpolated weights of one ancestry: Izmailov et al. 2018, arXiv 1803.05407;
Wortsman et al. 2022, 2203.05482.)
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import UsageError
from fast_style.images.color import blend
from fast_style.models.model_file import SUFFIX, ModelCard, StyleModel

MixedBy = Literal["weights", "pictures"]
"""How styles are mixed: into one network, or picture by picture."""

MOST_PARTS = 32

_FORM = "expected NAME:SHARE,NAME:SHARE such as starry-night:0.6,great-wave:0.4"


def looks_like_mixture(text: str) -> bool:
    r"""Tell whether a text names several styles, or one with a share.

    A Windows path such as `C:\styles\wave.safetensors` does not: what follows its colon is no
    number. Whether a file or a style of the very name is there, is for the caller to see first.
    """
    _, colon, number = text.rpartition(":")
    return "," in text or (bool(colon) and _share(number) is not None)


def parse_mixture(text: str) -> list[tuple[str, float]]:
    """Read a mixture of styles.

    Args:
        text: names or paths with their shares, `NAME:SHARE,NAME:SHARE`; with equal shares where
            none is given, `NAME,NAME`.

    Returns:
        Names and shares in their order; shares are 0 or more and sum to 1. Shares of one name that
        comes twice are added.

    Raises:
        UsageError: not of that form, a share that is no number of 0 or more, or none above 0.
    """
    shares: dict[str, float] = {}
    parts = text.split(",")
    if len(parts) > MOST_PARTS:
        raise UsageError(f"a mixture of {len(parts)} styles was given; at most {MOST_PARTS} fit")
    given = 0
    for part in parts:
        name, colon, number = part.strip().rpartition(":")
        share = _share(number) if colon else None
        if share is None:
            name, share = part.strip(), 1.0
        else:
            given += 1
        if not name.strip():
            raise UsageError(f"the mixture {text!r} has a part without a name: {_FORM}")
        if not 0 <= share < math.inf:
            raise UsageError(
                f"the share of {name.strip()} is {number}: expected a number of 0 or more"
            )
        shares[name.strip()] = shares.get(name.strip(), 0.0) + share
    if given not in (0, len(parts)):
        raise UsageError(
            f"in the mixture {text!r} only some styles have a share: give one to each, or to none "
            "for equal shares"
        )
    total = sum(shares.values())
    if not 0 < total < math.inf:
        raise UsageError(
            f"the shares of the mixture {text!r} sum to {total:g}: at least one must be above 0"
        )
    return [(name, share / total) for name, share in shares.items()]


def mixture_name(names: Sequence[str]) -> str:
    """Name a mixture, for cards and output files: `starry-night+great-wave`."""
    return "+".join(names)


def how_to_mix(cards: Sequence[ModelCard]) -> MixedBy:
    """Tell how styles can be mixed: by `weights` if all grew from one base, else by `pictures`."""
    first = cards[0]
    if any(card.network != first.network for card in cards):
        return "pictures"
    lines = [set(_ancestors(card.training)) for card in cards]
    # One of the styles may itself be what the others started from.
    own = [{card.name} for card in cards]
    for candidate in set.union(*lines):
        without = [name for line, name in zip(lines, own, strict=True) if candidate not in line]
        if all(candidate in name for name in without) and len(without) <= 1:
            return "weights"
    return "pictures"


def mix_models(parts: Sequence[tuple[StyleModel, float]]) -> StyleModel:
    """Mix styles into one network, by the mean of their weights.

    Args:
        parts: models and their shares, 0 or more; they need not sum to 1.

    Returns:
        A model in memory: weights in float32, the grain the rounded mean, and a card that names
        what is in it. With one share above 0 it is that very model.

    Raises:
        UsageError: the shares are not as described, or the styles cannot be mixed this way (see
            `how_to_mix`); `Stylizer` mixes their pictures then.
    """
    check_shares([share for _, share in parts])
    total = sum(share for _, share in parts)
    mixed = [(model, share / total) for model, share in parts if share > 0]
    if len(mixed) == 1:
        return mixed[0][0]
    cards = [model.card for model, _ in mixed]
    if how_to_mix(cards) != "weights":
        names = " and ".join(card.name for card in cards)
        sizes = len({card.network for card in cards}) > 1
        reason = "are networks of different sizes" if sizes else "did not grow from one base"
        raise UsageError(
            f"{names} {reason}, so their weights cannot be mixed into one network: give the "
            "mixture to Stylizer or `fast-style stylize`, which mix their pictures"
        )
    weights = {
        name: np.sum(
            [np.float64(share) * model.weights[name] for model, share in mixed], axis=0
        ).astype(np.float32)
        for name in mixed[0][0].weights
    }
    return StyleModel(
        mixed_card([(model.card, share) for model, share in mixed], "weights"), weights
    )


def mix_pictures(parts: Iterable[tuple[NDArray[np.uint8], float]]) -> NDArray[np.uint8]:
    """Mix pictures pixel by pixel, each as soon as it is there, so that two are held at most.

    Args:
        parts: pictures of one shape, (H, W, 3), values 0-255, and their shares, each above 0.

    Returns:
        Their mean by share, rounded as each picture is added.
    """
    mean: NDArray[np.uint8] | None = None
    total = 0.0
    for picture, share in parts:
        total += share
        mean = picture if mean is None else blend(picture, mean, share / total)
    if mean is None:
        raise UsageError("a mixture needs at least one picture")
    return mean


def mixed_card(parts: Sequence[tuple[ModelCard, float]], by: MixedBy) -> ModelCard:
    """Describe a mixture: who is in it and how much; its network and grain are those of `weights`.

    Args:
        parts: the cards and their shares, which sum to 1.
        by: how they are mixed.
    """
    cards = [card for card, _ in parts]

    def joined(field: str) -> str:
        return ", ".join(dict.fromkeys(filter(None, (getattr(card, field) for card in cards))))

    return ModelCard(
        name=mixture_name([card.name for card in cards]),
        network=cards[0].network,
        title=" + ".join(f"{share:.0%} {card.title or card.name}" for card, share in parts),
        artist=joined("artist"),
        year=joined("year"),
        licence=joined("licence"),
        grain=round(sum(share * card.grain for card, share in parts)),
        training={
            "mixed_by": by,
            "mixture": [
                {"name": card.name, "share": round(share, 6), "training": dict(card.training)}
                for card, share in parts
            ],
        },
    )


def check_shares(shares: Sequence[float]) -> None:
    """Refuse shares that are negative, not finite, or all 0.

    Raises:
        UsageError: they are; the message says which.
    """
    for share in shares:
        if not 0 <= share < math.inf:
            raise UsageError(f"a share is {share}: expected a number of 0 or more")
    if not 0 < sum(shares) < math.inf:
        raise UsageError(f"the shares sum to {sum(shares):g}: at least one must be above 0")


def _share(text: str) -> float | None:
    """Read a share; None if the text is no number (nobody would type `inf` or `1_0`)."""
    if not text.strip() or "_" in text or text.strip().lstrip("+-")[:1] not in set("0123456789."):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _ancestors(training: Mapping[str, Any]) -> list[str]:
    """Name the models that a style was started from, the nearest first."""
    names: list[str] = []
    here: Any = training
    while isinstance(here, Mapping) and len(names) < 100:
        parent = here.get("started_from")
        if isinstance(parent, Mapping) and isinstance(parent.get("name"), str):
            names.append(parent["name"])
        elif here.get("init") not in (None, "scratch"):  # a card that says no more than this
            names.append(str(here["init"]).removesuffix(SUFFIX))
        here = parent
    return names
