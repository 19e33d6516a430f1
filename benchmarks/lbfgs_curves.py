"""What L-BFGS on the pixels reaches, iteration by iteration, kept on disk.

The rival of Johnson, Alahi and Fei-Fei 2016, section 4.1: projected L-BFGS, that is, the pixels are
clipped to their range after every iteration. Theirs starts at white noise (below their equation 5);
here it starts at the photo, with all its content, unless told to start at noise too. Like their
`optim.lbfgs`, torch's has no line search unless asked for: it wastes some twenty iterations on
steps far too long before it descends, and its memory does not know of the clipping. With a strong
Wolfe line search an iteration takes two to three evaluations and gets much further: the figures of
the two do not compare, and both are rivals to name.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from benchmarks.objective import TRAINED, Objective, Pixels, Terms
from fast_style.engines.compile_cache import cache_folder
from fast_style.models.perceptual_loss import LossConfig
from fast_style.storage.atomic_write import replace_file

LineSearch = Literal["none", "strong-wolfe"]
LINE_SEARCHES: tuple[str, ...] = get_args(LineSearch)
Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
Start = Literal["photo", "noise"]
STARTS: tuple[str, ...] = get_args(Start)

PROCEDURE = 1
"""Raised when the curves of before would not be those of now."""

EVERY = 2
"""Iterations from one record to the next: a record takes a third of an iteration's time."""

_HISTORY = 100
_FURTHER = 1.1


@dataclass(frozen=True, slots=True)
class Curve:
    """The objective along a descent.

    Attributes:
        iterations: at which it was recorded, 0 (the start) first.
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

    def reaches(self, goal: Mapping[str, Terms]) -> bool:
        """Tell whether the descent has come as low as a picture, by every measure."""
        return all(
            best_so_far(self.terms[name])[-1].total <= terms.total for name, terms in goal.items()
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
    record: Callable[[int, int, Tensor], bool],
    line_search: LineSearch = "none",
    every: int = EVERY,
) -> None:
    """Minimize a loss over pixels with projected L-BFGS.

    Args:
        loss: of a picture, (1, 3, H, W) in [0, 1].
        start: the picture to start at; not changed.
        iterations: how many.
        record: told of an iteration, the evaluations so far, and the picture, at 0, at every
            `every`-th and at the last; gives True to end the descent there.
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

    if record(0, 0, picture.detach()):
        return
    for iteration in range(1, iterations + 1):
        optimizer.step(closure)
        with torch.no_grad():
            picture.clamp_(0, 1)
        due = iteration % every == 0 or iteration == iterations
        if due and record(iteration, evaluations, picture.detach()):
            return


def compute_curve(
    objective: Objective,
    photo: Pixels,
    iterations: int,
    line_search: LineSearch = "none",
    goal: Mapping[str, Terms] | None = None,
    precision: Precision = "fp32",
    start: Start = "photo",
) -> Curve:
    """Follow L-BFGS on a photo, (H, W, 3).

    Args:
        objective: what falls.
        photo: whose content is to be kept.
        iterations: how far at most.
        line_search: see `descend`.
        goal: terms by measure that are far enough: the descent goes on for a tenth of the
            iterations that they took, so that a somewhat better picture finds its place too.
        precision: of the gradients; `tf32` rounds to TensorFloat-32 on a CUDA GPU that has it, and
            is float32 elsewhere. What is recorded is always computed in full float32.
        start: the photo, or white noise, the same for all photos of one size.
    """
    of_photo = objective.of_photo(photo)
    reached: int | None = None
    numbers: list[int] = []
    counts: list[int] = []
    terms: dict[str, list[Terms]] = {name: [] for name in objective.measures}

    def curve() -> Curve:
        return Curve(
            tuple(numbers),
            tuple(counts),
            {name: tuple(values) for name, values in terms.items()},
            f"torch {torch.__version__} on {objective.device}, {precision}",
        )

    def loss(picture: Tensor) -> Tensor:
        with torch.autocast(objective.device, torch.bfloat16, enabled=precision == "bf16"):
            return of_photo.loss(picture)

    def record(iteration: int, evaluations: int, picture: Tensor) -> bool:
        nonlocal reached
        numbers.append(iteration)
        counts.append(evaluations)
        with _convolutions(tf32=False):
            for name, value in of_photo.terms(picture).items():
                terms[name].append(value)
        if goal is not None and reached is None and curve().reaches(goal):
            reached = iteration
        return reached is not None and iteration >= _FURTHER * reached

    first = of_photo.photo if start == "photo" else _white_noise(of_photo.photo)
    with _convolutions(tf32=precision == "tf32"):
        descend(loss, first, iterations, record, line_search)
    return curve()


def _white_noise(like: Tensor) -> Tensor:
    """Pixels uniform in [0, 1], of the shape of `like`, always the same ones."""
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(0)).to(like.device)


@contextmanager
def _convolutions(*, tf32: bool) -> Iterator[None]:
    """Let convolutions on a CUDA GPU round to TensorFloat-32, which torch does unasked, or not."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def curve_key(
    measures: Mapping[str, LossConfig],
    painting: Pixels,
    photo: Pixels,
    line_search: LineSearch,
    precision: Precision = "fp32",
    start: Start = "photo",
) -> str:
    """Name a curve by all that it depends on but its length.

    The release of torch is not in it, though it changes last digits: it is noted in the file.
    """
    what: dict[str, Any] = {
        "procedure": PROCEDURE,
        "measures": {
            name: {**asdict(config), "content_layers": dict(config.content_layers)}
            | {"style_layers": dict(config.style_layers)}
            for name, config in measures.items()
        },
        "painting": _digest(painting),
        "photo": _digest(photo),
        "line_search": line_search,
        "precision": precision,
        "history": _HISTORY,
        "every": EVERY,
    }
    if start != "photo":
        what["start"] = start
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:40]


def default_folder() -> Path:
    """Where curves are kept unless told otherwise: in the user's cache, beside compiled models."""
    return cache_folder().parent / "lbfgs-curves"


def load_curve(folder: Path, key: str) -> Curve | None:
    """Read a curve, as long as it is; None where it is not there or not sound."""
    try:
        return Curve.from_dict(json.loads((folder / f"{key}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def store_curve(folder: Path, key: str, curve: Curve) -> None:
    """Keep a curve, unless a longer one is there; the file is complete or not there at all."""
    there = load_curve(folder, key)
    if there is not None and there.iterations[-1] > curve.iterations[-1]:
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
