"""The objective along L-BFGS on the pixels, iteration by iteration, cached on disk.

This is the baseline of Johnson, Alahi and Fei-Fei 2016, section 4.1: projected L-BFGS, in which the
pixels are clipped to their range after every iteration. Theirs starts from white noise (below their
equation 5); here it starts from the photo, or with an option from noise. Like their `optim.lbfgs`,
torch's has no line search by default: it spends some twenty iterations on steps that are far too
long before it descends, and its history does not know of the clipping. With a strong Wolfe line
search an iteration takes two to three evaluations and gets much further. Figures of the two are not
comparable; always state which one was used.
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

from benchmarks.objective import TRAINED, MeasuredObjective, Pixels, Terms
from fast_style.models.perceptual_loss import LossConfig
from fast_style.storage.atomic_write import replace_file
from fast_style.storage.disk_cache import cache_folder

LineSearch = Literal["none", "strong-wolfe"]
LINE_SEARCHES: tuple[str, ...] = get_args(LineSearch)
Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
Start = Literal["photo", "noise"]
STARTS: tuple[str, ...] = get_args(Start)

PROCEDURE = 1
"""Version of the procedure; increased when cached curves are not valid any more."""

EVERY = 2
"""Iterations between two records; a record takes a third of an iteration's time."""

_HISTORY = 100
_FURTHER = 1.1


@dataclass(frozen=True, slots=True)
class DescentCurve:
    """The objective along a descent.

    Attributes:
        iterations: the recorded iterations, from 0 (the start).
        evaluations: number of evaluations of objective and gradient until each of them.
        terms: the terms at each of them, of pictures rounded to 8 bits, by measure.
        made_with: version of torch and device that computed it.
    """

    iterations: tuple[int, ...]
    evaluations: tuple[int, ...]
    terms: Mapping[str, tuple[Terms, ...]]
    made_with: str = ""

    def up_to(self, iterations: int) -> "DescentCurve":
        """Return the curve of a shorter descent."""
        count = sum(i <= iterations for i in self.iterations)
        return DescentCurve(
            self.iterations[:count],
            self.evaluations[:count],
            {name: terms[:count] for name, terms in self.terms.items()},
            self.made_with,
        )

    def reaches(self, goal: Mapping[str, Terms]) -> bool:
        """Return whether the descent has reached a picture's objective, by every measure."""
        return all(
            compute_best_so_far(self.terms[name])[-1].total <= terms.total
            for name, terms in goal.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DescentCurve":
        """Read the values of `to_dict`; raise KeyError, TypeError or ValueError if invalid."""
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
        loss: returns the loss of a picture, (1, 3, H, W) in [0, 1].
        start: the picture to start from; not changed.
        iterations: number of iterations.
        record: called with the iteration, the evaluations so far, and the picture, at iteration 0,
            every `every`-th and the last; returns True to end the descent.
        line_search: `none`, or `strong-wolfe`.
        every: see `record`.
    """
    picture = start.clone().contiguous().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [picture],
        lr=1,
        max_iter=1,  # its history outlives the call: several calls are one descent
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
    objective: MeasuredObjective,
    photo: Pixels,
    iterations: int,
    line_search: LineSearch = "none",
    goal: Mapping[str, Terms] | None = None,
    precision: Precision = "fp32",
    start: Start = "photo",
) -> DescentCurve:
    """Record L-BFGS on a photo, (H, W, 3).

    Args:
        objective: what is minimized.
        photo: the content.
        iterations: number of iterations at most.
        line_search: see `descend`.
        goal: terms to reach, by measure. Once they are reached, the descent continues for a tenth
            of the iterations that this took, so that the curve serves somewhat better pictures too.
        precision: of the gradients; `tf32` uses TensorFloat-32 on a CUDA GPU that has it, and
            float32 elsewhere. The recorded terms are always computed in float32.
        start: the photo, or white noise, which is the same for all photos of one size.
    """
    of_photo = objective.for_photo(photo)
    reached: int | None = None
    numbers: list[int] = []
    counts: list[int] = []
    terms: dict[str, list[Terms]] = {name: [] for name in objective.measures}

    def curve() -> DescentCurve:
        return DescentCurve(
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
        with _allow_tf32(tf32=False):
            for name, value in of_photo.terms(picture).items():
                terms[name].append(value)
        if goal is not None and reached is None and curve().reaches(goal):
            reached = iteration
        return reached is not None and iteration >= _FURTHER * reached

    first = of_photo.photo if start == "photo" else _make_white_noise(of_photo.photo)
    with _allow_tf32(tf32=precision == "tf32"):
        descend(loss, first, iterations, record, line_search)
    return curve()


def _make_white_noise(like: Tensor) -> Tensor:
    """Return uniform noise in [0, 1] with the shape of `like`, from a fixed seed."""
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(0)).to(like.device)


@contextmanager
def _allow_tf32(*, tf32: bool) -> Iterator[None]:
    """Allow or forbid TensorFloat-32 in convolutions on a CUDA GPU; torch's default allows it."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def make_curve_key(
    measures: Mapping[str, LossConfig],
    painting: Pixels,
    photo: Pixels,
    line_search: LineSearch,
    precision: Precision = "fp32",
    start: Start = "photo",
) -> str:
    """Return the cache key of a curve: a digest of all that it depends on but its length.

    The version of torch is left out, though it changes the last digits; the file records it.
    """
    what: dict[str, Any] = {
        "procedure": PROCEDURE,
        "measures": {
            name: {**asdict(config), "content_layers": dict(config.content_layers)}
            | {"style_layers": dict(config.style_layers)}
            for name, config in measures.items()
        },
        "painting": _compute_digest(painting),
        "photo": _compute_digest(photo),
        "line_search": line_search,
        "precision": precision,
        "history": _HISTORY,
        "every": EVERY,
    }
    if start != "photo":
        what["start"] = start
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:40]


def default_curve_folder() -> Path:
    """Return the default folder of curves: in the user's cache, beside compiled models."""
    return cache_folder() / "lbfgs-curves"


def load_curve(folder: Path, key: str) -> DescentCurve | None:
    """Read a curve of any length; None if it is missing or invalid."""
    try:
        return DescentCurve.from_dict(
            json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def store_curve(folder: Path, key: str, curve: DescentCurve) -> None:
    """Store a curve atomically, unless a longer one is stored."""
    stored = load_curve(folder, key)
    if stored is not None and stored.iterations[-1] > curve.iterations[-1]:
        return
    with suppress(OSError):  # the cache is optional
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / f"{key}.json", json.dumps(curve.to_dict()).encode())


def compute_best_so_far(terms: Sequence[Terms]) -> list[Terms]:
    """Return the terms of the best picture until each record."""
    best: list[Terms] = []
    for term in terms:
        worse = not math.isfinite(term.total) or (best and best[-1].total <= term.total)
        best.append(best[-1] if best and worse else term)
    return best


def _compute_digest(pixels: Pixels) -> str:
    shape = "x".join(map(str, pixels.shape))
    return f"{shape}:{hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()}"
