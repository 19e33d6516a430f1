"""Which iteration of L-BFGS a network equals, and that said in tables and cards."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.lbfgs_curves import Curve, Start, best_so_far
from benchmarks.objective import TRAINED, UNSEEN, VGG19, Terms

_STARTS: Mapping[Start, str] = {"photo": "the photo", "noise": "white noise"}


@dataclass(frozen=True, slots=True)
class Equal:
    """Where a network's picture stands beside a descent, under one measure.

    Attributes:
        iteration: at which the descent reaches the network's objective; 0 if its start is as good,
            infinity if the descent that was computed never is.
        network: the network's terms.
        rival: the descent's terms at that iteration, or at its end.
        photo: the photo's own terms.
    """

    iteration: float
    network: Terms
    rival: Terms
    photo: Terms


def equal_iteration(curve: Curve, measure: str, network: Terms, photo: Terms) -> Equal:
    """Find the iteration of a descent that a picture equals, between two records by a line."""
    best = best_so_far(curve.terms[measure])
    first = best[0]
    if network.total >= first.total:
        return Equal(0.0, network, first, photo)
    for i in range(1, len(best)):
        before, after = best[i - 1], best[i]
        if after.total <= network.total:
            share = (before.total - network.total) / (before.total - after.total)
            start, end = curve.iterations[i - 1], curve.iterations[i]
            between = Terms(
                *(
                    getattr(before, name) + share * (getattr(after, name) - getattr(before, name))
                    for name in ("content", "style", "tv")
                )
            )
            return Equal(start + share * (end - start), network, between, photo)
    return Equal(math.inf, network, best[-1], photo)


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles; a value beyond `most` counts as `most`, so none is overstated."""

    median: float
    lower: float
    upper: float
    most: float = math.inf

    def text(self, digits: int = 0) -> str:
        """Such as `31 (25-40)`, with `>` before what is at its most."""
        lower, upper = (self._one(value, digits) for value in (self.lower, self.upper))
        return f"{self._one(self.median, digits)} ({lower}-{upper})"

    def _one(self, value: float, digits: int) -> str:
        return f"{'>' if value >= self.most else ''}{value:.{digits}f}"


def spread(values: Sequence[float], most: float = math.inf) -> Spread:
    """Median and quartiles of values that are at most `most`."""
    capped = np.minimum(np.asarray(values, dtype=np.float64), most)
    lower, median, upper = np.quantile(capped, (0.25, 0.5, 0.75))
    return Spread(float(median), float(lower), float(upper), most)


@dataclass(frozen=True, slots=True)
class Quality:
    """A model's figures on the photos of one size.

    Attributes:
        model: its name.
        network: its size's name.
        side: of the square photos, in pixels.
        photos: how many.
        iterations: how far the descents were followed.
        line_search: theirs.
        gradients: the precision of their gradients.
        equal: for each measure the equalled iteration.
        left: the network's objective as a share of the photo's.
        content: the network's content term as a share of the photo's objective.
        rival_content: that of the descent where it equals the network.
        style: the network's style term, likewise.
        rival_style: the descent's, likewise.
        engine: what ran the network.
        start: of the descents, the photo or noise.
    """

    model: str
    network: str
    side: int
    photos: int
    iterations: int
    line_search: str
    gradients: str
    equal: Mapping[str, Spread]
    left: float
    content: float
    rival_content: float
    style: float
    rival_style: float
    engine: str = ""
    start: Start = "photo"

    def to_card(self) -> dict[str, Any]:
        """What a model's card says of it, as plain JSON values."""

        def rounded(value: Spread) -> dict[str, Any]:
            return {
                "median": round(value.median, 1),
                "quartiles": [round(value.lower, 1), round(value.upper, 1)],
            }

        card: dict[str, Any] = {
            "photos": self.photos,
            "equals_iteration": rounded(self.equal[TRAINED]),
        }
        for name, key in ((UNSEEN, "on_unseen_layers"), (VGG19, "on_vgg19")):
            if name in self.equal:
                card[key] = rounded(self.equal[name])
        shares = ("left", "content", "rival_content", "style", "rival_style")
        card["shares_of_photo_objective"] = {
            name: float(f"{getattr(self, name):.3g}") for name in shares
        }
        return card | {
            "lbfgs_iterations": self.iterations,
            "lbfgs": f"projected, line search {self.line_search}, gradients in {self.gradients}, "
            f"started at {_STARTS[self.start]}",
            "engine": self.engine,
        }


def card_key(side: int, start: Start = "photo") -> str:
    """Where in a card's `quality` the figures of a size are."""
    return f"photos_of_{side}_px" + ("" if start == "photo" else f"_from_{start}")


def summarize(
    model: str,
    network: str,
    side: int,
    curve_ends: int,
    line_search: str,
    gradients: str,
    photos: Sequence[Mapping[str, Equal]],
    engine: str = "",
    start: Start = "photo",
) -> Quality:
    """Put together what was found on each photo, by measure."""
    trained = [photo[TRAINED] for photo in photos]

    def share(part: str, term: str) -> float:
        values = [getattr(getattr(e, part), term) / e.photo.total for e in trained]
        return float(np.median(values))

    return Quality(
        model,
        network,
        side,
        len(photos),
        curve_ends,
        line_search,
        gradients,
        {name: spread([p[name].iteration for p in photos], curve_ends) for name in photos[0]},
        share("network", "total"),
        share("network", "content"),
        share("rival", "content"),
        share("network", "style"),
        share("rival", "style"),
        engine,
        start,
    )


def quality_table(rows: Sequence[Quality]) -> list[str]:
    """Lines of a Markdown table."""
    measures = list(dict.fromkeys(name for row in rows for name in row.equal))
    head = ["style", "network", "photos", "equals L-BFGS iteration"]
    head += [f"on {name}" for name in measures if name != TRAINED]
    head += ["objective left", "content (L-BFGS's)", "style (L-BFGS's)"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        cells = [row.model, row.network, f"{row.photos} of {row.side} px"]
        cells += [row.equal[name].text() if name in row.equal else "-" for name in measures]
        cells += [
            f"{row.left:.2%}",
            f"{row.content:.2%} ({row.rival_content:.2%})",
            f"{row.style:.2%} ({row.rival_style:.2%})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
