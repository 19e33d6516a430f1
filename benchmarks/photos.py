"""Test photos of any size, made from those in `examples/`.

The examples are far smaller than what a camera gives, and one of them blown up would have neither
the detail of a large photo nor its variety. So a photo is a mosaic: each cell shows cuttings of the
examples, mirrored, turned and at another scale, some smooth and some finer than the originals. The
same width, height and seed always give the same photo.
"""

import random
from functools import cache
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"

_CELL = 512
_DETAIL = (1, 1, 2, 4)  # cuttings along a cell's side: one is smooth, four are fine
_TURNS = (
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
)


def make_photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Compose an RGB photo of `width` x `height` pixels."""
    chance = random.Random(f"{width}x{height}, {seed}")
    photo = Image.new("RGB", (width, height))
    for top in range(0, height, _CELL):
        for left in range(0, width, _CELL):
            pieces = chance.choice(_DETAIL)
            side = _CELL // pieces
            for row in range(pieces):
                for column in range(pieces):
                    photo.paste(_cutting(chance, side), (left + column * side, top + row * side))
    return photo


def save_photo(path: Path, width: int, height: int, seed: int = 0) -> Path:
    """Write a photo; a JPEG gets the quality that cameras use."""
    make_photo(width, height, seed).save(path, quality=92)
    return path


def _cutting(chance: random.Random, side: int) -> Image.Image:
    """Cut a square out of an example and bring it to `side` pixels."""
    source = chance.choice(_examples())
    width = chance.uniform(0.4, 1.0) * min(source.size)
    left = chance.uniform(0, source.width - width)
    top = chance.uniform(0, source.height - width)
    box = (left, top, left + width, top + width)
    piece = source.resize((side, side), Image.Resampling.BICUBIC, box)
    turn = chance.choice(_TURNS)
    return piece if turn is None else piece.transpose(turn)


@cache
def _examples() -> tuple[Image.Image, ...]:
    paths = sorted(EXAMPLES.glob("*.jpg"))
    if not paths:
        raise SystemExit(f"there are no photos in {EXAMPLES}: run this in a checkout")
    return tuple(Image.open(path).convert("RGB") for path in paths)
