"""Accuracy of the faster methods: strips against the whole picture, bf16 against float32.

    python -m benchmarks.accuracy
    python -m benchmarks.accuracy --photo PHOTO --style NAME --difference DIFFERENCE.png

Figures are the peak signal-to-noise ratio of 8-bit pictures (255^2 / mean squared error, in dB).
`--difference` writes the difference of strips and whole, at eight times the contrast around
mid-grey, in which seams would be visible.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.machine import describe_machine
from benchmarks.photos import make_photo
from fast_style import list_styles
from fast_style.engines import GraphEngine, create_engine
from fast_style.errors import EngineError
from fast_style.images import read_image
from fast_style.images.grain import add_grain
from fast_style.inference.strips import sweep
from fast_style.options import EngineOptions
from fast_style.styles.registry import load_style

_CONTRAST = 8


def compute_psnr(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    error = np.mean((first.astype(np.float32) - second) ** 2, dtype=np.float64)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def stylize_both_ways(
    style: str, pixels: NDArray[np.uint8], precision: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Stylize the whole picture and in strips."""
    model = load_style(style)
    engine = create_engine(model, EngineOptions(engine="openvino", precision=precision))
    assert isinstance(engine, GraphEngine)
    grainy = add_grain(pixels, model.card.grain)
    return engine.predict(grainy[None])[0], sweep(model, engine, grainy)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path, help="[default: a generated one of 12 megapixels]")
    parser.add_argument("--style", nargs="+", help="[default: all that ship]")
    parser.add_argument("--difference", type=Path, metavar="FILE", help="of the first style")
    arguments = parser.parse_args()
    pixels = read_image(arguments.photo).pixels if arguments.photo else None
    if pixels is None:
        pixels = np.asarray(make_photo(4000, 3000))
    styles = arguments.style or [entry.name for entry in list_styles()]
    print(describe_machine("openvino"))
    print(f"{pixels.shape[1]}x{pixels.shape[0]} pixels, dB\n")
    print("| style | strips, float32 | strips, bf16 | bf16 against float32 |")
    print("|---|---|---|---|")
    for number, style in enumerate(styles):
        whole, strips = stylize_both_ways(style, pixels, "fp32")
        try:
            whole_bf16, strips_bf16 = stylize_both_ways(style, pixels, "bf16")
            rest = " | ".join(
                f"{compute_psnr(first, second):.1f}"
                for first, second in ((strips_bf16, whole_bf16), (whole_bf16, whole))
            )
        except EngineError:
            rest = "not native here | -"
        print(f"| {style} | {compute_psnr(strips, whole):.1f} | {rest} |")
        if number == 0 and arguments.difference:
            difference = 128 + _CONTRAST * (strips.astype(np.int16) - whole)
            Image.fromarray(difference.clip(0, 255).astype(np.uint8)).save(arguments.difference)


if __name__ == "__main__":
    main()
