"""How fast a style is trained: the objective on validation photos, against steps.

    python -m benchmarks.training_curves --style-image udnie.jpg --photos DIR --validation DIR \
        --run base:1000 --run scratch:4000 --json curves.json --plot curves.png

Each run trains from a start with the defaults of `fast-style train`, for a number of steps over
which the learning rate falls to zero. The objective is computed on 8-bit results for square crops
of the validation photos. Intermediate points are worse than the end of a shorter run would be.
Steps take the same time from every start, so ratios of steps are ratios of time; the time of a step
is the median of all. Several paintings, and those of an earlier --json, are plotted together.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from benchmarks.machine import describe_machine
from benchmarks.quality import SIDE, crop_square, list_photos
from fast_style.images import read_image
from fast_style.images.grain import add_grain
from fast_style.training.config import TrainingConfig
from fast_style.training.lightning_module import StyleTransferModule
from fast_style.training.trainer import train

FIRST_MARK, MARK_FACTOR = 60, 1.5
"""The objective is computed at the start, after FIRST_MARK steps, whenever the number of steps has
grown by MARK_FACTOR, and at the end."""


class ObjectiveCallback(pl.Callback):
    """Computes the objective of validation crops periodically, and times the steps."""

    def __init__(self, photos: list[np.ndarray], grain: int) -> None:
        """Prepare the crops, each (S, S, 3) uint8, and their copies with grain for the network."""
        self._photos = [_tensor(photo) for photo in photos]
        self._grainy = [_tensor(add_grain(photo, grain)) for photo in photos]
        self.points: list[dict[str, float]] = []
        self.photo_objective = 0.0
        self.step_seconds: list[float] = []
        self._mark, self._step_start = float(FIRST_MARK), 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute the objective of the start, and of the photos themselves."""
        assert isinstance(pl_module, StyleTransferModule)
        with torch.no_grad():
            totals = [float(pl_module.loss(photo, photo).total) for photo in self._photos]
        self.photo_objective = float(np.mean(totals))
        self._evaluate(pl_module, 0)

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        """Start timing the step."""
        self._step_start = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any
    ) -> None:
        """Time the step; compute the objective at the marks."""
        assert isinstance(pl_module, StyleTransferModule)
        self.step_seconds.append(time.monotonic() - self._step_start)
        if trainer.global_step >= self._mark and trainer.global_step != trainer.max_steps:
            self._mark *= MARK_FACTOR
            self._evaluate(pl_module, trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute the objective of the trained network."""
        assert isinstance(pl_module, StyleTransferModule)
        self._evaluate(pl_module, trainer.global_step)

    def _evaluate(self, module: StyleTransferModule, step: int) -> None:
        sums = np.zeros(2)
        with torch.no_grad():
            for photo, grainy in zip(self._photos, self._grainy, strict=True):
                stylized = module.network(grainy).clamp(0, 1).mul(255).round() / 255
                losses = module.loss(stylized, photo)
                sums += [float(losses.content), float(losses.style)]
        content, style = sums / len(self._photos)
        self.points.append({"step": step, "content": content, "style": style})


def _tensor(pixels: np.ndarray) -> Tensor:
    picture = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    return picture.float().div_(255).contiguous(memory_format=torch.channels_last)


def measure_curve(painting: Path, start: str, steps: int, options: argparse.Namespace) -> dict:
    """Train once; return the curve as JSON values."""
    photos = [
        crop_square(read_image(file).pixels, SIDE)
        for file in list_photos(options.validation)[:: options.every]
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(
            style_image=painting,
            photos=options.photos,
            name=f"{painting.stem}-{Path(start).stem}",
            size=options.size,
            steps=steps,
            init=start,
            preview_every=0,
            runs=Path(folder),
            models=options.models or Path(folder),
            overwrite=True,
            accelerator="cpu",
        )
        callback = ObjectiveCallback(photos, config.grain)
        if train(config, callbacks=[callback]).signal is not None:
            raise SystemExit("interrupted: the curve of an incomplete run is not kept")
    return {
        "painting": painting.stem,
        "start": Path(start).stem,
        "size": options.size,
        "step_seconds": float(np.median(callback.step_seconds)),
        "photo_objective": callback.photo_objective,
        "points": callback.points,
        "machine": describe_machine("torch"),
    }


def draw_plot(curves: list[dict], path: Path) -> None:
    """Plot a panel for each painting and a line for each start, with minutes above the steps."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter

    paintings = list(dict.fromkeys(curve["painting"] for curve in curves))
    # The shortest: other runs may have shared the machine.
    seconds = min(curve["step_seconds"] for curve in curves)
    figure, panels = pyplot.subplots(
        1, len(paintings), figsize=(4.2 * len(paintings), 3.6), squeeze=False, layout="constrained"
    )
    for panel, painting in zip(panels[0], paintings, strict=True):
        for curve in curves:
            if curve["painting"] != painting:
                continue
            points = [p for p in curve["points"] if p["step"] >= FIRST_MARK]
            shares = [(p["content"] + p["style"]) / curve["photo_objective"] for p in points]
            panel.plot([p["step"] for p in points], shares, "o-", label=f"from {curve['start']}")
        panel.set(xlabel="steps", xscale="log", yscale="log")
        panel.set_title(painting, pad=12)
        minutes = panel.secondary_xaxis(
            "top", (lambda steps: steps * seconds / 60, lambda minutes: minutes * 60 / seconds)
        )
        minutes.set_xlabel(f"minutes, at {seconds:.2f} s a step")
        for axis, ticks, form in (
            (panel.xaxis, (1, 2, 5), StrMethodFormatter("{x:g}")),
            (panel.yaxis, (1, 2, 3, 5, 7), PercentFormatter(1, decimals=0)),
            (minutes.xaxis, (1, 2, 5), StrMethodFormatter("{x:g}")),
        ):
            axis.set_major_locator(LogLocator(subs=ticks))
            axis.set_major_formatter(form)
            axis.set_minor_formatter(NullFormatter())
        panel.grid(True, alpha=0.3)
        panel.legend()
    panels[0][0].set_ylabel("objective, as a share of the photos' own")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--style-image", type=Path, nargs="*", default=[])
    parser.add_argument("--photos", type=Path, help="a folder to train on")
    parser.add_argument("--validation", type=Path, help="a folder of other photos")
    parser.add_argument("--run", action="append", default=[], metavar="START:STEPS")
    parser.add_argument("--size", default="standard")
    parser.add_argument("--every", type=int, default=3, help="use every N-th photo")
    parser.add_argument("--models", type=Path, help="keep the trained networks in this folder")
    parser.add_argument("--json", type=Path, help="a file of curves to add to")
    parser.add_argument("--plot", type=Path, help="plot all of them to this file")
    options = parser.parse_args()
    if options.style_image and not (options.photos and options.validation and options.run):
        parser.error("--style-image needs --photos, --validation and --run")
    curves = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    for painting in options.style_image:
        for run in options.run:
            start, _, steps = run.rpartition(":")
            curves.append(measure_curve(painting, start, int(steps), options))
            if options.json:
                options.json.write_text(json.dumps(curves, indent=1))
    if options.plot:
        draw_plot(curves, options.plot)
    print(describe_machine("torch"))
    print("\n| painting | start | steps | seconds a step | objective, of the photos' own |")
    print("|---|---|---|---|---|")
    for curve in curves:
        last = curve["points"][-1]
        share = (last["content"] + last["style"]) / curve["photo_objective"]
        print(
            f"| {curve['painting']} | {curve['start']} | {last['step']} "
            f"| {curve['step_seconds']:.2f} | {share:.1%} |"
        )


if __name__ == "__main__":
    main()
