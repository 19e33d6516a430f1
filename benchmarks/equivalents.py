"""Find the iteration of L-BFGS that a network equals; format it for tables and cards."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.lbfgs_curves import DescentCurve, Start, compute_best_so_far
from benchmarks.objective import TRAINED, UNSEEN, VGG19, Terms

_STARTS: Mapping[Start, str] = {"photo": "the photo", "noise": "white noise"}


@dataclass(frozen=True, slots=True)
class EqualIteration:
    """A network's result compared with a descent, under one measure.

    Attributes:
        iteration: the one at which the descent reaches the network's objective; 0 if its start is
            as good, infinity if it is not reached in the computed iterations.
        network: the network's terms.
        descent: the descent's terms at that iteration, or at its end.
        photo: the photo's own terms.
    """

    iteration: float
    network: Terms
    descent: Terms
    photo: Terms


def find_equal_iteration(
    curve: DescentCurve, measure: str, network: Terms, photo: Terms
) -> EqualIteration:
    """Find the iteration of a descent that a picture equals, by linear interpolation."""
    best = compute_best_so_far(curve.terms[measure])
    first = best[0]
    if network.total >= first.total:
        return EqualIteration(0.0, network, first, photo)
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
            return EqualIteration(start + share * (end - start), network, between, photo)
    return EqualIteration(math.inf, network, best[-1], photo)


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of values, which are capped at `most`."""

    median: float
    lower: float
    upper: float
    most: float = math.inf

    def text(self, digits: int = 0) -> str:
        """Format as in `31 (25-40)`, with `>` before capped values."""
        lower, upper = (self._one(value, digits) for value in (self.lower, self.upper))
        return f"{self._one(self.median, digits)} ({lower}-{upper})"

    def _one(self, value: float, digits: int) -> str:
        return f"{'>' if value >= self.most else ''}{value:.{digits}f}"


def compute_spread(values: Sequence[float], most: float = math.inf) -> Spread:
    """Compute median and quartiles of values, capped at `most`."""
    capped = np.minimum(np.asarray(values, dtype=np.float64), most)
    lower, median, upper = np.quantile(capped, (0.25, 0.5, 0.75))
    return Spread(float(median), float(lower), float(upper), most)


@dataclass(frozen=True, slots=True)
class StyleQuality:
    """The quality of a model on photos of one size.

    Attributes:
        model: the model's name.
        network: the name of its size.
        side: side of the square photos, in pixels.
        photos: number of photos.
        iterations: number of iterations that were computed.
        line_search: line search of L-BFGS.
        gradients: precision of its gradients.
        equal: the equal iteration, by measure.
        left: the network's objective, as a share of the photo's.
        content: the network's content term, as a share of the photo's objective.
        descent_content: the descent's content term at the equal iteration, likewise.
        style: the network's style term, likewise.
        descent_style: the descent's style term, likewise.
        engine: what ran the network.
        start: what the descents started from, the photo or noise.
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
    descent_content: float
    style: float
    descent_style: float
    engine: str = ""
    start: Start = "photo"

    def to_card(self) -> dict[str, Any]:
        """Return it as JSON values for a model's card."""

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
        # The names of cards that are written already.
        shares = {
            "left": self.left,
            "content": self.content,
            "rival_content": self.descent_content,
            "style": self.style,
            "rival_style": self.descent_style,
        }
        card["shares_of_photo_objective"] = {
            name: float(f"{share:.3g}") for name, share in shares.items()
        }
        return card | {
            "lbfgs_iterations": self.iterations,
            "lbfgs": f"projected, line search {self.line_search}, gradients in {self.gradients}, "
            f"started at {_STARTS[self.start]}",
            "engine": self.engine,
        }


def make_card_key(side: int, start: Start = "photo") -> str:
    """Return the key of the figures of a size in a card's `quality`."""
    return f"photos_of_{side}_px" + ("" if start == "photo" else f"_from_{start}")


def summarize(
    model: str,
    network: str,
    side: int,
    curve_ends: int,
    line_search: str,
    gradients: str,
    photos: Sequence[Mapping[str, EqualIteration]],
    engine: str = "",
    start: Start = "photo",
) -> StyleQuality:
    """Summarize the results of all photos."""
    trained = [photo[TRAINED] for photo in photos]

    def share(part: str, term: str) -> float:
        values = [getattr(getattr(e, part), term) / e.photo.total for e in trained]
        return float(np.median(values))

    return StyleQuality(
        model,
        network,
        side,
        len(photos),
        curve_ends,
        line_search,
        gradients,
        {
            name: compute_spread([p[name].iteration for p in photos], curve_ends)
            for name in photos[0]
        },
        share("network", "total"),
        share("network", "content"),
        share("descent", "content"),
        share("network", "style"),
        share("descent", "style"),
        engine,
        start,
    )


def make_headlines(rows: Sequence[StyleQuality]) -> list[str]:
    """Return a sentence for each start: the iteration that the median style equals at 256 px.

    Johnson et al. 2016 report 50 to 100 for descents from white noise.
    """
    lines = []
    for start, words in _STARTS.items():
        found = [r.equal[TRAINED] for r in rows if (r.side, r.start) == (256, start)]
        if found:
            middle = compute_spread([spread.median for spread in found], found[0].most)
            lowest = compute_spread([min(spread.median for spread in found)], found[0].most)
            paper = " (Johnson et al.: 50 to 100)" if start == "noise" else ""
            lines.append(
                f"From {words}, 256 px: the median of {len(found)} styles equals iteration "
                f"{middle.text()}, the lowest {lowest.text().split()[0]}{paper}."
            )
    return lines


def make_quality_table(rows: Sequence[StyleQuality]) -> list[str]:
    """Return the lines of a Markdown table."""
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
            f"{row.content:.2%} ({row.descent_content:.2%})",
            f"{row.style:.2%} ({row.descent_style:.2%})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
