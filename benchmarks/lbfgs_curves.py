"""What L-BFGS on the pixels reaches, iteration by iteration, kept on disk.

The rival of Johnson, Alahi and Fei-Fei 2016, section 4.1: projected L-BFGS, that is, the pixels are
clipped to their range after every iteration. It starts at the photo. Like their `optim.lbfgs`,
torch's has no line search unless asked for: it wastes some twenty iterations on steps far too long
before it descends, and its memory does not know of the clipping. With a strong Wolfe line search an
iteration takes two to three evaluations and gets much further: the figures of the two do not
compare, and both are rivals to name.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from benchmarks.objective import TRAINED, Objective, Pixels, Terms
from fast_style.atomic import replace_file
from fast_style.engines.blob_cache import cache_folder
from fast_style.perceptual import LossConfig

LineSearch = Literal["none", "strong-wolfe"]
LINE_SEARCHES: tuple[str, ...] = get_args(LineSearch)

PROCEDURE = 1
"""Raised when the curves of before would not be those of now."""

EVERY = 2
"""Iterations from one record to the next: a record takes a third of an iteration's time."""

_HISTORY = 100


@dataclass(frozen=True, slots=True)
class Curve:
    """The objective along a descent.

    Attributes:
        iterations: at which it was recorded, 0 (the photo) first.
        evaluations: of the objective and its gradient that had been made by then.
        terms: by measure, one for each of `iterations`, of pictures rounded to 8 bits.
        made_with: torch and device that computed it.
    """

    iterations: tuple[int, ...]
    evaluations: tuple[int, ...]
    terms: Mapping[str, tuple[Terms, ...]]
    made_with: str = ""

    def up_to(self, iterations: int) -> "Curve":
        """The part that a shorter descent would have given."""
        count = sum(i <= iterations for i in self.iterations)
        return Curve(
            self.iterations[:count],
            self.evaluations[:count],
            {name: terms[:count] for name, terms in self.terms.items()},
            self.made_with,
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Curve":
        """Read what `to_dict` gave; KeyError, TypeError or ValueError tell that it is unsound."""
        terms = {
            name: tuple(Terms(**{k: float(v) for k, v in entry.items()}) for entry in entries)
            for name, entries in values["terms"].items()
        }
        curve = cls(
            tuple(map(int, values["iterations"])),
            tuple(map(int, values["evaluations"])),
            terms,
            str(values["made_with"]),
        )
        lengths = {len(curve.evaluations), *map(len, terms.values())}
        if lengths != {len(curve.iterations)} or not curve.iterations or TRAINED not in terms:
            raise ValueError("records are missing")
        return curve


def descend(
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    iterations: int,
    record: Callable[[int, int, Tensor], None],
    line_search: LineSearch = "none",
    every: int = EVERY,
) -> None:
    """Minimize a loss over pixels with projected L-BFGS.

    Args:
        loss: of a picture, (1, 3, H, W) in [0, 1].
        start: the picture to start at; not changed.
        iterations: how many.
        record: told of an iteration, the evaluations so far, and the picture, at 0, at every
            `every`-th and at the last.
        line_search: `none`, or `strong-wolfe`.
        every: see `record`.
    """
    picture = start.clone().contiguous().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [picture],
        lr=1,
        max_iter=1,  # its memory outlasts the call: so many calls are one descent
        max_eval=25,
        history_size=_HISTORY,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe" if line_search == "strong-wolfe" else None,
    )
    evaluations = 0

    def closure() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        value = loss(picture)
        value.backward()
        return value

    record(0, 0, picture.detach())
    for iteration in range(1, iterations + 1):
        optimizer.step(closure)
        with torch.no_grad():
            picture.clamp_(0, 1)
        if iteration % every == 0 or iteration == iterations:
            record(iteration, evaluations, picture.detach())


def compute_curve(
    objective: Objective, photo: Pixels, iterations: int, line_search: LineSearch = "none"
) -> Curve:
    """Follow L-BFGS from a photo, (H, W, 3)."""
    of_photo = objective.of_photo(photo)
    numbers: list[int] = []
    counts: list[int] = []
    terms: dict[str, list[Terms]] = {name: [] for name in objective.measures}

    def record(iteration: int, evaluations: int, picture: Tensor) -> None:
        numbers.append(iteration)
        counts.append(evaluations)
        for name, value in of_photo.terms(picture).items():
            terms[name].append(value)

    descend(of_photo.loss, of_photo.photo, iterations, record, line_search)
    return Curve(
        tuple(numbers),
        tuple(counts),
        {name: tuple(values) for name, values in terms.items()},
        f"torch {torch.__version__} on {objective.device}",
    )


def curve_key(
    measures: Mapping[str, LossConfig], painting: Pixels, photo: Pixels, line_search: LineSearch
) -> str:
    """Name a curve by all that it depends on but its length.

    The release of torch is not in it, though it changes last digits: it is noted in the file.
    """
    what = {
        "procedure": PROCEDURE,
        "measures": {
            name: {**asdict(config), "content_layers": dict(config.content_layers)}
            | {"style_layers": dict(config.style_layers)}
            for name, config in measures.items()
        },
        "painting": _digest(painting),
        "photo": _digest(photo),
        "line_search": line_search,
        "history": _HISTORY,
        "every": EVERY,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:40]


def default_folder() -> Path:
    """Where curves are kept unless told otherwise: in the user's cache, beside compiled models."""
    return cache_folder().parent / "lbfgs-curves"


def load_curve(folder: Path, key: str, iterations: int) -> Curve | None:
    """Read a curve of so many iterations; None where it is not there, too short or not sound."""
    try:
        curve = Curve.from_dict(json.loads((folder / f"{key}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if curve.iterations[-1] < iterations:
        return None
    return curve.up_to(iterations)


def store_curve(folder: Path, key: str, curve: Curve) -> None:
    """Keep a curve, unless a longer one is there; the file is complete or not there at all."""
    if load_curve(folder, key, curve.iterations[-1] + 1) is not None:
        return
    with suppress(OSError):  # a cache only ever saves time
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / f"{key}.json", json.dumps(curve.to_dict()).encode())


def best_so_far(terms: Sequence[Terms]) -> list[Terms]:
    """At each record the best picture until then, which is what one would keep."""
    best: list[Terms] = []
    for term in terms:
        worse = not math.isfinite(term.total) or (best and best[-1].total <= term.total)
        best.append(best[-1] if best and worse else term)
    return best


def _digest(pixels: Pixels) -> str:
    shape = "x".join(map(str, pixels.shape))
    return f"{shape}:{hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()}"
