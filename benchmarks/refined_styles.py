"""How good a style is after some steps of training, from the prediction and from the base.

    python -m benchmarks.refined_styles --data FOLDER --steps 0 500 --init prediction base [FILE...]

FOLDER and the measure are those of `benchmarks.any_painting`; FILE are paintings, by default every
Nth of FOLDER (--every). Training uses the photos that ship, one a step, and ends after a number of
steps and not of seconds, so that a machine with other work gives the same figures. 0 steps is the
prediction itself.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.any_painting import Benchmark, crop_square, parser
from benchmarks.machine import describe_machine
from fast_style.models.model_file import StyleModel, load_model
from fast_style.styles.prediction import predict_style
from fast_style.training.config import TrainingConfig
from fast_style.training.trainer import train

Row = dict[str, Any]


def parse() -> argparse.Namespace:
    """Read the command line."""
    options = parser(__doc__)
    options.add_argument("--steps", type=int, nargs="+", default=[0, 500])
    options.add_argument("--init", nargs="+", default=["prediction"])
    options.add_argument("--crop-size", type=int, default=192)
    options.add_argument("--full-photos", type=Path, help="a folder of photos to train on")
    options.add_argument("paintings", type=Path, nargs="*")
    return options.parse_args()


def make_style(painting: Path, init: str, steps: int, options: argparse.Namespace) -> StyleModel:
    """Train a style for some steps; 0 is the prediction."""
    if steps == 0:
        return predict_style(painting)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(
            style_image=painting,
            photos=options.full_photos,
            name="measured",
            steps=steps,
            init=init,
            crop_size=options.crop_size,
            workers=0,
            preview_every=0,
            checkpoint_every=1_000_000,
            runs=Path(folder, "runs"),
            models=Path(folder),
        )
        result = train(config, quiet=True)
        assert result.model_path is not None
        return load_model(result.model_path)


def measure(benchmark: Benchmark, painting: Path, options: argparse.Namespace) -> list[Row]:
    """Train and measure all styles of one painting."""
    side = options.sides[0]
    squares = [crop_square(path, side) for path in benchmark.photos]
    rows = []
    for steps in options.steps:
        for init in options.init if steps else ["prediction"]:
            begin = time.process_time()
            model = make_style(painting, init, steps, options)
            seconds = time.process_time() - begin
            shares = benchmark.shares(painting, model, squares)
            rows.append({"painting": painting.stem, "steps": steps, "init": init, "ours": shares})
            print(
                f"{painting.stem[:40]}: {steps} steps from {init}: {np.median(shares):.4f} "
                f"(mean {np.mean(shares):.4f}), {seconds:.0f} CPU seconds",
                flush=True,
            )
    return rows


def main() -> None:
    """Measure and print."""
    options = parse()
    benchmark = Benchmark(options)
    print(describe_machine("torch", "openvino"))
    rows: list[Row] = []
    for painting in options.paintings or benchmark.paintings:
        rows += measure(benchmark, painting, options)
    for steps in options.steps:
        for init in options.init if steps else ["prediction"]:
            pairs = [row["ours"] for row in rows if (row["steps"], row["init"]) == (steps, init)]
            low, middle, high = np.quantile(pairs, (0.25, 0.5, 0.75))
            print(
                f"{steps} steps from {init}: median {middle:.3f}, quartiles {low:.3f} to "
                f"{high:.3f}, {np.size(pairs)} pairs at {options.sides[0]} px"
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
