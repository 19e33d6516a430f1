"""How fast a painting is learnt: the objective on photos never trained on, against steps.

    python -m benchmarks.training_curves --style-image udnie.jpg --photos DIR --validation DIR \
        --run base:1000 --run scratch:4000 --json curves.json --plot curves.png

Each run trains with the defaults of `fast-style train` from its start, for so many steps, over
which the learning rate falls to zero. On the way the objective is taken of square crops of the
validation photos, 8 bits, grain and all. Points before the end are worse than a shorter run's end
would be. Steps of all starts take the same time, so their ratio is one of minutes too, on any
machine, busy or not; what a step takes here is the median of all. Several paintings, or an earlier
--json, make one plot together.
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
from benchmarks.quality import SIDE, photo_files, square
from fast_style.images import read_image
from fast_style.images.grain import add_grain
from fast_style.training.config import TrainingConfig
from fast_style.training.lightning_module import StyleTransferModule
from fast_style.training.trainer import train

FIRST_MARK, MARK_FACTOR = 60, 1.5
"""The objective is taken after so many steps, and again after each time so many times as many; and
at the start and the end."""


class Judge(pl.Callback):
    """Takes the objective of validation crops now and then, and the time of the steps between."""

    def __init__(self, photos: list[np.ndarray], grain: int) -> None:
        """Take the crops, each (S, S, 3) uint8, and the grain that the network is to see."""
        self._photos = [_tensor(photo) for photo in photos]
        self._grainy = [_tensor(add_grain(photo, grain)) for photo in photos]
        self.points: list[dict[str, float]] = []
        self.photo_objective = 0.0
        self.step_seconds: list[float] = []
        self._mark, self._begun = float(FIRST_MARK), 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the objective of the start, and of the photos themselves."""
        assert isinstance(pl_module, StyleTransferModule)
        with torch.no_grad():
            totals = [float(pl_module.loss(photo, photo).total) for photo in self._photos]
        self.photo_objective = float(np.mean(totals))
        self._judge(pl_module, 0)

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        """Start the step's clock."""
        self._begun = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any
    ) -> None:
        """Take it at the marks."""
        assert isinstance(pl_module, StyleTransferModule)
        self.step_seconds.append(time.monotonic() - self._begun)
        if trainer.global_step >= self._mark and trainer.global_step != trainer.max_steps:
            self._mark *= MARK_FACTOR
            self._judge(pl_module, trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take it of the finished network."""
        assert isinstance(pl_module, StyleTransferModule)
        self._judge(pl_module, trainer.global_step)

    def _judge(self, module: StyleTransferModule, step: int) -> None:
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


def run_curve(painting: Path, start: str, steps: int, options: argparse.Namespace) -> dict:
    """Train and judge once; gives the curve as plain JSON values."""
    photos = [
        square(read_image(file).pixels, SIDE)
        for file in photo_files(options.validation)[:: options.every]
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
        judge = Judge(photos, config.grain)
        if train(config, callbacks=[judge]).signal is not None:
            raise SystemExit("interrupted: a run that came to no end is no curve")
    return {
        "painting": painting.stem,
        "start": Path(start).stem,
        "size": options.size,
        "step_seconds": float(np.median(judge.step_seconds)),
        "photo_objective": judge.photo_objective,
        "points": judge.points,
        "machine": describe_machine("torch"),
    }


def draw(curves: list[dict], path: Path) -> None:
    """One panel a painting, one line a start, all axes logarithmic; above, minutes for steps."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter

    paintings = list(dict.fromkeys(curve["painting"] for curve in curves))
    # Of a run that had the machine to itself; others may have shared it.
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
    parser.add_argument("--every", type=int, default=3, help="take every so many-th photo")
    parser.add_argument("--models", type=Path, help="keep the trained networks in this folder")
    parser.add_argument("--json", type=Path, help="a file of curves to add to")
    parser.add_argument("--plot", type=Path, help="a picture to draw of all of them")
    options = parser.parse_args()
    if options.style_image and not (options.photos and options.validation and options.run):
        parser.error("--style-image needs --photos, --validation and --run")
    curves = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    for painting in options.style_image:
        for run in options.run:
            start, _, steps = run.rpartition(":")
            curves.append(run_curve(painting, start, int(steps), options))
            if options.json:
                options.json.write_text(json.dumps(curves, indent=1))
    if options.plot:
        draw(curves, options.plot)
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
