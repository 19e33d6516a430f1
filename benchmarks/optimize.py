"""Optimisation-based transfer beside a plain loop, and its starts beside each other.

python -m benchmarks.optimize --painting starry-night.jpg --plot optimize.png

First the loss after so many iterations and seconds at 256 pixels, of `fast-style optimize` and of
plain torch L-BFGS loops as most programs have them: without a line search, the pixels clipped at
the end or (as in the tutorial of PyTorch) before every evaluation. Then the loss
against seconds at a larger size from the photo, from noise and from a style's network, at one size
and coarse to fine.

All losses are of the picture clipped, rounded to 8 bits and brought to full size, in float32, in
units of the loss of a picture that lost all its content; measuring is not counted in the seconds.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import describe_machine
from fast_style.images import Photo, read_image
from fast_style.optimization.config import OptimizeConfig
from fast_style.optimization.objective import Objective
from fast_style.optimization.optimizer_loop import Optimization
from fast_style.optimization.tensors import to_tensor

ROOT = Path(__file__).parent.parent
MARKS = (1, 2, 3, 5, 7, *range(10, 1000, 5))


@dataclass
class Curve:
    name: str
    iterations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def after(self, seconds: float) -> float:
        """The best loss of those recorded by then."""
        there = [v for s, v in zip(self.seconds, self.losses, strict=True) if s <= seconds]
        return min(there, default=float("inf"))

    def at(self, iteration: int) -> float:
        """The best loss of those recorded until an iteration."""
        there = [v for i, v in zip(self.iterations, self.losses, strict=True) if i <= iteration]
        return min(there, default=float("inf"))


def ours(
    name: str, photo: Photo, painting: Photo, measure: Callable[[Tensor], float], **options: object
) -> Curve:
    """Record `fast-style optimize`."""
    torch.manual_seed(0)
    config = OptimizeConfig(tolerance=0, **options)  # type: ignore[arg-type]
    begun = time.perf_counter()
    run = Optimization(photo, [painting], config)

    def go() -> Iterator[Tensor]:
        for _ in run.steps():
            yield to_tensor(run.best().pixels, "cpu")

    return record(name, go(), measure, begun)


def plain(
    photo: Tensor, loss: Callable[[Tensor], Tensor], iterations: int, clip: bool
) -> Iterator[Tensor]:
    """The loop that most programs have."""
    picture = photo.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([picture], max_iter=1)

    def closure() -> Tensor:
        if clip:
            with torch.no_grad():
                picture.clamp_(0, 1)
        optimizer.zero_grad()
        value = loss(picture)
        value.backward()
        return value

    for _ in range(iterations):
        optimizer.step(closure)
        yield picture.detach()


def record(
    name: str, steps: Iterator[Tensor], measure: Callable[[Tensor], float], begun: float
) -> Curve:
    """Go through a descent, measuring at some of its iterations."""
    curve, unmeasured = Curve(name), 0.0
    for iteration, picture in enumerate(steps, 1):
        now = time.perf_counter()
        if iteration in MARKS:
            curve.iterations.append(iteration)
            curve.seconds.append(now - begun - unmeasured)
            rounded = (picture.clamp(0, 1) * 255).round() / 255
            curve.losses.append(measure(rounded))
            unmeasured += time.perf_counter() - now
    return curve


def compared(photo: Photo, painting: Photo, size: int, iterations: int) -> list[Curve]:
    """`fast-style optimize` and the plain loops at one size."""
    options = {"size": size, "scales": 1, "iterations": iterations}
    measure, _, _ = measuring(photo, painting, size)
    # Whoever comes first in a process pays for what is loaded and compiled for all.
    for precision in ("auto", "fp32"):
        warm = OptimizeConfig(size=size, scales=1, iterations=2, precision=precision)
        for _ in Optimization(photo, [painting], warm).steps():
            pass
    curves = [
        ours("fast-style", photo, painting, measure, **options),
        ours("fast-style, float32", photo, painting, measure, precision="fp32", **options),
    ]
    for name, clip in (("plain torch L-BFGS", False), ("the same, clipped", True)):
        begun = time.perf_counter()
        # Once more: loading and looking at the photo and the painting count for all.
        measure, objective, start = measuring(photo, painting, size)
        steps = plain(start, partial(scaled, objective), iterations, clip)
        curves.append(record(name, steps, measure, begun))
    return curves


def scaled(objective: Objective, picture: Tensor) -> Tensor:
    """The loss in units of the loss of a picture that lost all its content."""
    return objective(picture).total / objective.unit


def measuring(photo, painting, size):  # type: ignore[no-untyped-def]
    """The loss of a picture in float32, the objective, and the photo as a tensor."""
    run = Optimization(photo, [painting], OptimizeConfig(size=size, scales=1, precision="fp32"))
    objective = run._objective(run.levels[-1], bf16=False)

    def measure(picture: Tensor) -> float:
        with torch.no_grad():
            return float(objective(picture).total) / objective.unit

    return measure, objective, to_tensor(run.best().pixels, "cpu")


def starts(photo: Photo, painting: Photo, size: int, iterations: int, style: str) -> list[Curve]:
    """The starts, each at the full size alone, and from the photo coarse to fine."""
    measure, _, _ = measuring(photo, painting, size)
    curves = [
        ours(
            f"from {init}",
            photo,
            painting,
            measure,
            size=size,
            scales=1,
            iterations=iterations,
            init=init,
        )
        for init in ("photo", "noise", style)
    ]
    # The coarse size has a quarter of the pixels, so the time is about the same.
    coarse = ours(
        "from photo, two sizes",
        photo,
        painting,
        measure,
        size=size,
        scales=2,
        iterations=round(iterations * 4 / 3),
    )
    return [*curves, coarse]


def table(
    curves: list[Curve], columns: list[float], value: Callable[[Curve, float], float]
) -> None:
    """Print losses, a curve a row."""
    print("| | " + " | ".join(f"{column:g}" for column in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for curve in curves:
        print(f"| {curve.name} | " + " | ".join(f"{value(curve, c):.3g}" for c in columns) + " |")


def times(curves: list[Curve]) -> list[float]:
    """Seconds to compare curves at, up to the end of the quickest."""
    end = min(curve.seconds[-1] for curve in curves)
    return [float(f"{seconds:.2g}") for seconds in np.geomspace(end / 8, end, 6)]


def plot(path: Path, groups: dict[str, list[Curve]]) -> None:
    """Draw the losses against seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(groups), 4), layout="constrained")
    places = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, (title, curves) in zip(places, groups.items(), strict=True):
        for curve in curves:
            axes.loglog(curve.seconds, curve.losses, marker=".", label=curve.name)
        axes.set(title=title, xlabel="seconds", ylabel="loss")
        axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time optimisation-based transfer.")
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "astronaut.jpg")
    parser.add_argument("--painting", type=Path, required=True)
    parser.add_argument("--style", default="starry-night", help="whose network makes a start")
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--size", type=int, default=512, help="of the pictures of the starts")
    parser.add_argument("--plot", type=Path, help="draw the curves into this file")
    parser.add_argument("--loops-only", action="store_true", help="leave out the starts")
    options = parser.parse_args()
    photo, painting = read_image(options.photo), read_image(options.painting)
    print(describe_machine("torch", "numpy"), f"seed 0, photo {options.photo.name}\n")

    loops = compared(photo, painting, 256, options.iterations)
    print("Loss at 256 pixels after so many iterations:\n")
    table(
        loops,
        [m for m in (1, 2, 3, 5, 10, 15, 20, 30, 40, 60, 80) if m <= options.iterations],
        lambda c, i: c.at(int(i)),
    )
    print("\nLoss at 256 pixels after so many seconds:\n")
    table(loops, times(loops), Curve.after)
    if options.plot:
        plot(options.plot, {"256 pixels": loops})
    if options.loops_only:
        return

    begun = starts(photo, painting, options.size, options.iterations, options.style)
    print(f"\nLoss at {options.size} pixels after so many seconds:\n")
    table(begun, times(begun), Curve.after)
    if options.plot:
        groups = {"256 pixels": loops, f"{options.size} pixels, by start": begun}
        plot(options.plot, groups)


if __name__ == "__main__":
    main()
