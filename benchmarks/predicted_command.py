"""Seconds of a cold command with a picture as the style, beside one with a style that ships.

    python -m benchmarks.predicted_command --photo PHOTO --painting PAINTING [--real-time]

From the start of `fast-style stylize` to the written picture, in turns: a shipped style, a painting
that was never seen, and that painting again. For each run the painting's colours are moved a
little, so that it is another file. Compiled graphs are on disk, as after any earlier prediction.
--real-time runs the commands at real-time priority (`chrt`), for machines with other work.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import describe_machine

KINDS = ("shipped", "never seen", "second time")


def run(photo: Path, style: str, folder: Path, *, real_time: bool) -> float:
    """Run the command; return the seconds until the picture was written."""
    output = folder / "output.jpg"
    command = [sys.executable, "-m", "fast_style", "stylize", str(photo), "--style", style]
    command += ["-o", str(output), "--quiet"]
    environment = dict(os.environ, XDG_CACHE_HOME=str(folder / "cache"))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.time()
    prefix = ["chrt", "-f", "1"] if real_time else []
    subprocess.run([*prefix, *command], env=environment, check=True)
    return output.stat().st_mtime - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--painting", type=Path, required=True)
    parser.add_argument("--shipped", default="starry-night")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--real-time", action="store_true")
    options = parser.parse_args()
    folder, rng = Path(tempfile.mkdtemp()), np.random.default_rng(0)
    pixels = np.asarray(Image.open(options.painting).convert("RGB")).astype(int)
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(options.runs + 1):
        painting = folder / f"painting-{number}.jpg"
        moved = np.clip(pixels + rng.integers(-9, 10, 3), 0, 255).astype(np.uint8)
        Image.fromarray(moved).save(painting, quality=90)
        styles = (options.shipped, str(painting), str(painting))
        for kind, style in zip(KINDS, styles, strict=True):
            taken = run(options.photo, style, folder, real_time=options.real_time)
            if number:  # the first round fills the caches
                seconds[kind].append(taken)
    shutil.rmtree(folder)
    print(describe_machine("openvino"))
    first = float(np.median(seconds[KINDS[0]]))
    for kind, each in seconds.items():
        middle = float(np.median(each))
        print(f"{kind}: {middle:.3f} s (best {min(each):.3f}), {middle / first:.2f} times")


if __name__ == "__main__":
    main()
