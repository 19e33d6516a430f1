"""Test photos of any size, made of those in `examples/`.

The examples are smaller than photos of a camera, and enlarged they would lack detail and variety.
Hence a test photo is a mosaic, whose cells show pieces of the examples, mirrored, rotated and at
various scales, some smooth and some finer than the originals. The same width, height and seed give
the same photo.
"""

import random
from functools import cache
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"

_CELL = 512
_DETAIL = (1, 1, 2, 4)  # pieces along a cell's side: one is smooth, four are fine
_TURNS = (
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
)


def make_photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Compose an RGB photo of `width` x `height` pixels."""
    rng = random.Random(f"{width}x{height}, {seed}")
    photo = Image.new("RGB", (width, height))
    for top in range(0, height, _CELL):
        for left in range(0, width, _CELL):
            pieces = rng.choice(_DETAIL)
            side = _CELL // pieces
            for row in range(pieces):
                for column in range(pieces):
                    photo.paste(_cut_piece(rng, side), (left + column * side, top + row * side))
    return photo


def save_photo(path: Path, width: int, height: int, seed: int = 0) -> Path:
    """Write a photo; JPEG files have quality 92."""
    make_photo(width, height, seed).save(path, quality=92)
    return path


def _cut_piece(rng: random.Random, side: int) -> Image.Image:
    """Crop a square of an example and resize it to `side` pixels."""
    source = rng.choice(_examples())
    width = rng.uniform(0.4, 1.0) * min(source.size)
    left = rng.uniform(0, source.width - width)
    top = rng.uniform(0, source.height - width)
    box = (left, top, left + width, top + width)
    piece = source.resize((side, side), Image.Resampling.BICUBIC, box)
    turn = rng.choice(_TURNS)
    return piece if turn is None else piece.transpose(turn)


@cache
def _examples() -> tuple[Image.Image, ...]:
    paths = sorted(EXAMPLES.glob("*.jpg"))
    if not paths:
        raise SystemExit(
            f"there are no photos in {EXAMPLES}; run this in a checkout of the repository"
        )
    return tuple(Image.open(path).convert("RGB") for path in paths)
