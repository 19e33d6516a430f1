"""Mixing styles: `starry-night:0.6,great-wave:0.4`.

Styles that were trained from one base are mixed as networks: each weight is the mean of theirs, and
a picture takes one forward pass. In networks that were trained independently, the same weight has
different meanings, and the mean of the networks computes nothing useful. Their pictures are mixed
instead, with one forward pass for each style. (Means of weights with a common ancestor: Izmailov et
al. 2018, arXiv 1803.05407; Wortsman et al. 2022, 2203.05482.)
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import UsageError
from fast_style.images.color import blend
from fast_style.models.card import DEFAULT_BEST_SIZE, ModelCard
from fast_style.models.model_file import SUFFIX, StyleModel

MixedBy = Literal["weights", "pictures"]
"""Whether the weights of styles are mixed, into one network, or their pictures."""

MOST_PARTS = 32

_FORM = "expected NAME:SHARE,NAME:SHARE such as starry-night:0.6,great-wave:0.4"


def looks_like_mixture(text: str) -> bool:
    r"""Return whether a text names several styles, or one with a share.

    A Windows path such as `C:\styles\wave.safetensors` does not, as no number follows its colon.
    The caller checks first whether a file or a style has exactly this name.
    """
    _, colon, number = text.rpartition(":")
    return "," in text or (bool(colon) and _share(number) is not None)


def parse_mixture(text: str) -> list[tuple[str, float]]:
    """Parse a mixture of styles.

    Args:
        text: names or paths with their shares, `NAME:SHARE,NAME:SHARE`, or `NAME,NAME` for equal
            shares.

    Returns:
        Names and shares in their order; shares are 0 or more and sum to 1. If a name is repeated,
        its shares are added.

    Raises:
        UsageError: the text has another form, a share is not a number of 0 or more, or all are 0.
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
    """Return the name of a mixture for cards and output files: `starry-night+great-wave`."""
    return "+".join(names)


def how_to_mix(cards: Sequence[ModelCard]) -> MixedBy:
    """Return `weights` if all styles were trained from one base, otherwise `pictures`."""
    first = cards[0]
    if any(card.network != first.network for card in cards):
        return "pictures"
    lines = [set(_ancestors(card.training)) for card in cards]
    # One of the styles may itself be the base of the others.
    own = [{card.name} for card in cards]
    for candidate in set.union(*lines):
        without = [name for line, name in zip(lines, own, strict=True) if candidate not in line]
        if all(candidate in name for name in without) and len(without) <= 1:
            return "weights"
    return "pictures"


def mix_models(parts: Sequence[tuple[StyleModel, float]]) -> StyleModel:
    """Mix styles into one network by the mean of their weights.

    Args:
        parts: models and their shares, 0 or more; they need not sum to 1.

    Returns:
        A model in memory: the weights in float32, the rounded mean of the grains, and a card that
        lists the parts. If only one share is above 0, that model itself.

    Raises:
        UsageError: the shares are not as described, or the styles cannot be mixed this way (see
            `how_to_mix`); `Stylizer` mixes their pictures instead.
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
        reason = "are networks of different sizes" if sizes else "were not trained from one base"
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
    """Mix pictures pixel by pixel, one after the other, so that at most two are in memory.

    Args:
        parts: pictures of one shape, (H, W, 3), values 0-255, and their shares, each above 0.

    Returns:
        Their mean weighted by share, rounded after each picture.
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
    """Create the card of a mixture, with the first part's network and mean grain and size.

    Args:
        parts: the cards and their shares, which sum to 1.
        by: whether weights or pictures are mixed.
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
        best_size=round(
            sum(share * (card.best_size or DEFAULT_BEST_SIZE) for card, share in parts)
        ),
        training={
            "mixed_by": by,
            "mixture": [
                {"name": card.name, "share": round(share, 6), "training": dict(card.training)}
                for card, share in parts
            ],
        },
    )


def check_shares(shares: Sequence[float]) -> None:
    """Check that shares are finite numbers of 0 or more, and not all 0.

    Raises:
        UsageError: they are not; the message names the share.
    """
    for share in shares:
        if not 0 <= share < math.inf:
            raise UsageError(f"a share is {share}: expected a number of 0 or more")
    if not 0 < sum(shares) < math.inf:
        raise UsageError(f"the shares sum to {sum(shares):g}: at least one must be above 0")


def _share(text: str) -> float | None:
    """Parse a share; None if the text is not a number (`inf` and `1_0` are not accepted)."""
    if not text.strip() or "_" in text or text.strip().lstrip("+-")[:1] not in set("0123456789."):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _ancestors(training: Mapping[str, Any]) -> list[str]:
    """Return the names of the models that a style was trained from, the nearest first."""
    names: list[str] = []
    here: Any = training
    while isinstance(here, Mapping) and len(names) < 100:
        parent = here.get("started_from")
        if isinstance(parent, Mapping) and isinstance(parent.get("name"), str):
            names.append(parent["name"])
        elif here.get("init") not in (None, "scratch"):  # a card with less information
            names.append(str(here["init"]).removesuffix(SUFFIX))
        here = parent
    return names
