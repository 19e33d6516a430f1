"""Compare the trainer's photos per second with plain training loops, in one run.

    python -m benchmarks.training_speed --style-image PAINTING --photos DIR

The trainer is measured as users run it, with Lightning, callbacks, and photos decoded from disk;
the plain loops read their photos from memory. Rounds alternate between them, and ratios are
medians of the ratios of rounds, so that they depend little on changes in the machine's speed.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image

from benchmarks.machine import describe_machine
from benchmarks.plain import PlainLoop
from fast_style.engines.torch_device import use_bf16
from fast_style.models.config import SIZES
from fast_style.training.config import TrainingConfig
from fast_style.training.data import PhotoCrops
from fast_style.training.inputs import find_photos
from fast_style.training.trainer import train


class StepClock(pl.Callback):
    """Records the time at the end of each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends.append(time.perf_counter())


def measure_trainer(arguments: argparse.Namespace, folder: Path) -> float:
    clock, warm = StepClock(), 2
    config = TrainingConfig(
        style_image=arguments.style_image,
        photos=arguments.photos,
        name="speed",
        size=arguments.size,
        steps=arguments.steps + warm + 1,
        batch_size=arguments.batch_size,
        crop_size=arguments.crop_size,
        precision="auto",
        accelerator="cpu",
        preview_every=0,
        checkpoint_every=10_000,
        runs=folder / "runs",
        models=folder / "models",
        overwrite=True,
    )
    train(config, quiet=True, callbacks=[clock])
    return arguments.steps * arguments.batch_size / (clock.ends[-1] - clock.ends[warm])


def measure_plain_loop(loop: PlainLoop, photos: torch.Tensor, steps: int) -> float:
    loop.step(photos)
    start = time.perf_counter()
    for _ in range(steps):
        loop.step(photos)
    return steps * len(photos) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--style-image", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--size", choices=list(SIZES), default="standard")
    parser.add_argument("--crop-size", type=int, default=192)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6, help="steps of each loop in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--plain",
        choices=("bf16", "float32"),
        nargs="+",
        help="plain loops to run [default: both; float32 where bf16 would be emulated, which is "
        "very slow]",
    )
    arguments = parser.parse_args()
    dtypes = arguments.plain or (["bf16", "float32"] if use_bf16("auto", "cpu") else ["float32"])

    with Image.open(arguments.style_image) as picture:
        scale = 384 / max(picture.size)
        small = picture.convert("RGB").resize([round(side * scale) for side in picture.size])
    style_image = torch.from_numpy(np.array(small).transpose(2, 0, 1)).float()[None]
    crops = PhotoCrops(find_photos(arguments.photos), arguments.crop_size, grain=0, seed=0)
    photos = torch.stack([crops[i][0] for i in range(arguments.batch_size)]).float()
    config = SIZES[arguments.size]
    loops = {f"plain, {dtype}": PlainLoop(config, style_image, dtype == "bf16") for dtype in dtypes}
    rates: dict[str, list[float]] = {name: [] for name in ("fast-style train", *loops)}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            rates["fast-style train"].append(measure_trainer(arguments, Path(folder)))
            for name, loop in loops.items():
                rates[name].append(measure_plain_loop(loop, photos, arguments.steps))

    print(describe_machine("torch", "pytorch-lightning"))
    print(
        f"{arguments.size}, {arguments.crop_size} px, batch {arguments.batch_size}, trainer in "
        f"{'bf16' if use_bf16('auto', 'cpu') else 'float32 (bf16 would be emulated here)'}; "
        f"medians of {arguments.rounds} rounds\n"
    )
    print("| loop | photos a second | fast-style train is faster by |\n|---|---|---|")
    for name, values in rates.items():
        ratios = [
            ours / theirs for ours, theirs in zip(rates["fast-style train"], values, strict=True)
        ]
        print(f"| {name} | {statistics.median(values):.2f} | {statistics.median(ratios):.2f} |")


if __name__ == "__main__":
    main()
