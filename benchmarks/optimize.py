"""Compare `fast-style optimize` with plain L-BFGS loops, and its starts with each other.

python -m benchmarks.optimize --painting starry-night.jpg --plot optimize.png

First, the loss by iteration and by time at 256 pixels, of `fast-style optimize` and of plain torch
L-BFGS loops as in most programs: without a line search, clipping the pixels at the end or (as in
PyTorch's tutorial) before every evaluation. Then, the loss by time at a larger size, starting from
the photo, from noise and from a style, at one size and coarse to fine.

Losses are of the picture clipped, rounded to 8 bits and resized to full size, in float32, in units
of the loss of a picture without any of the content. The seconds do not include measuring.
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
class LossCurve:
    name: str
    iterations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def after(self, seconds: float) -> float:
        """Return the best loss recorded until a time."""
        found = [v for s, v in zip(self.seconds, self.losses, strict=True) if s <= seconds]
        return min(found, default=float("inf"))

    def at(self, iteration: int) -> float:
        """Return the best loss recorded until an iteration."""
        found = [v for i, v in zip(self.iterations, self.losses, strict=True) if i <= iteration]
        return min(found, default=float("inf"))


def run_optimizer(
    name: str, photo: Photo, painting: Photo, measure: Callable[[Tensor], float], **options: object
) -> LossCurve:
    """Record the losses of `fast-style optimize`."""
    torch.manual_seed(0)
    config = OptimizeConfig(tolerance=0, **options)  # type: ignore[arg-type]
    started = time.perf_counter()
    run = Optimization(photo, [painting], config)

    def go() -> Iterator[Tensor]:
        for _ in run.steps():
            yield to_tensor(run.best().pixels, "cpu")

    return record_curve(name, go(), measure, started)


def run_plain_loop(
    photo: Tensor, loss: Callable[[Tensor], Tensor], iterations: int, clip: bool
) -> Iterator[Tensor]:
    """Run L-BFGS as most programs do."""
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


def record_curve(
    name: str, steps: Iterator[Tensor], measure: Callable[[Tensor], float], started: float
) -> LossCurve:
    """Run a descent, and record the loss at some of its iterations."""
    curve, unmeasured = LossCurve(name), 0.0
    for iteration, picture in enumerate(steps, 1):
        now = time.perf_counter()
        if iteration in MARKS:
            curve.iterations.append(iteration)
            curve.seconds.append(now - started - unmeasured)
            rounded = (picture.clamp(0, 1) * 255).round() / 255
            curve.losses.append(measure(rounded))
            unmeasured += time.perf_counter() - now
    return curve


def compare_loops(photo: Photo, painting: Photo, size: int, iterations: int) -> list[LossCurve]:
    """Compare `fast-style optimize` with the plain loops at one size."""
    options = {"size": size, "scales": 1, "iterations": iterations}
    measure, _, _ = prepare(photo, painting, size)
    # The first run in a process includes loading and compiling.
    for precision in ("auto", "fp32"):
        warm = OptimizeConfig(size=size, scales=1, iterations=2, precision=precision)
        for _ in Optimization(photo, [painting], warm).steps():
            pass
    curves = [
        run_optimizer("fast-style", photo, painting, measure, **options),
        run_optimizer("fast-style, float32", photo, painting, measure, precision="fp32", **options),
    ]
    for name, clip in (("plain torch L-BFGS", False), ("the same, clipped", True)):
        started = time.perf_counter()
        # Again, since the time of each includes preparing photo and painting.
        measure, objective, start = prepare(photo, painting, size)
        steps = run_plain_loop(start, partial(scale_loss, objective), iterations, clip)
        curves.append(record_curve(name, steps, measure, started))
    return curves


def scale_loss(objective: Objective, picture: Tensor) -> Tensor:
    """Return the loss in units of the loss of a picture without any of the content."""
    return objective(picture).total / objective.unit


def prepare(photo, painting, size):  # type: ignore[no-untyped-def]
    """Return a function for the loss in float32, the objective, and the photo as a tensor."""
    run = Optimization(photo, [painting], OptimizeConfig(size=size, scales=1, precision="fp32"))
    objective = run._objective(run.levels[-1], bf16=False)

    def measure(picture: Tensor) -> float:
        with torch.no_grad():
            return float(objective(picture).total) / objective.unit

    return measure, objective, to_tensor(run.best().pixels, "cpu")


def compare_starts(
    photo: Photo, painting: Photo, size: int, iterations: int, style: str
) -> list[LossCurve]:
    """Compare the starts at the full size, and from the photo coarse to fine."""
    measure, _, _ = prepare(photo, painting, size)
    curves = [
        run_optimizer(
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
    coarse = run_optimizer(
        "from photo, two sizes",
        photo,
        painting,
        measure,
        size=size,
        scales=2,
        iterations=round(iterations * 4 / 3),
    )
    return [*curves, coarse]


def print_table(
    curves: list[LossCurve], columns: list[float], value: Callable[[LossCurve, float], float]
) -> None:
    """Print losses, one row for each curve."""
    print("| | " + " | ".join(f"{column:g}" for column in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for curve in curves:
        print(f"| {curve.name} | " + " | ".join(f"{value(curve, c):.3g}" for c in columns) + " |")


def choose_times(curves: list[LossCurve]) -> list[float]:
    """Choose the times to compare curves at, up to the end of the quickest."""
    end = min(curve.seconds[-1] for curve in curves)
    return [float(f"{seconds:.2g}") for seconds in np.geomspace(end / 8, end, 6)]


def draw_plot(path: Path, groups: dict[str, list[LossCurve]]) -> None:
    """Plot the losses against seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(groups), 4), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, (title, curves) in zip(panels, groups.items(), strict=True):
        for curve in curves:
            axes.loglog(curve.seconds, curve.losses, marker=".", label=curve.name)
        axes.set(title=title, xlabel="seconds", ylabel="loss")
        axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time optimisation-based transfer.")
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "astronaut.jpg")
    parser.add_argument("--painting", type=Path, required=True)
    parser.add_argument("--style", default="starry-night", help="the style to start from")
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument(
        "--size", type=int, default=512, help="working size for comparing the starts"
    )
    parser.add_argument("--plot", type=Path, help="plot the curves into this file")
    parser.add_argument("--loops-only", action="store_true", help="do not compare the starts")
    options = parser.parse_args()
    photo, painting = read_image(options.photo), read_image(options.painting)
    print(describe_machine("torch", "numpy"), f"seed 0, photo {options.photo.name}\n")

    loops = compare_loops(photo, painting, 256, options.iterations)
    print("Loss at 256 pixels by iteration:\n")
    print_table(
        loops,
        [m for m in (1, 2, 3, 5, 10, 15, 20, 30, 40, 60, 80) if m <= options.iterations],
        lambda c, i: c.at(int(i)),
    )
    print("\nLoss at 256 pixels by seconds:\n")
    print_table(loops, choose_times(loops), LossCurve.after)
    if options.plot:
        draw_plot(options.plot, {"256 pixels": loops})
    if options.loops_only:
        return

    by_start = compare_starts(photo, painting, options.size, options.iterations, options.style)
    print(f"\nLoss at {options.size} pixels by seconds:\n")
    print_table(by_start, choose_times(by_start), LossCurve.after)
    if options.plot:
        groups = {"256 pixels": loops, f"{options.size} pixels, by start": by_start}
        draw_plot(options.plot, groups)


if __name__ == "__main__":
    main()
