"""Makes the pictures in docs/ from examples/ and the shipped styles.

python docs/make_pictures.py
python docs/make_pictures.py --large-photo seeding_by_Clements_Engelhardt.jpg

The first makes one picture for each style, and `mixtures.jpg`; the second `stroke-size.jpg`, from a
photo of 12 megapixels or more, which is not in the repository (NOTICE says where it is from).
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fast_style import Stylizer, list_styles
from fast_style.images import read_image, resize_long_side, resize_to

ROOT = Path(__file__).parent.parent
PHOTOS = ("astronaut", "rocket", "coffee", "chelsea")
HEIGHT, GAP = 300, 6

LARGE = 4620  # long side of the large photo: 12 megapixels at 16:9
SIZES = (1, 2, 4)
CELL = 340
MIXED = ("the-scream", "great-wave")
SHARES = (1, 0.75, 0.5, 0.25, 0)
CROP = (0.25, 0.3)  # the middle of the crop, down and across, as shares of the photo


def column(pictures: list[np.ndarray]) -> np.ndarray:
    """Stack pictures of one width with a white gap."""
    gap = np.full((GAP, pictures[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1])


def row(pictures: list[np.ndarray]) -> np.ndarray:
    """Put pictures of one height side by side with a white gap."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)


def labelled(pixels: np.ndarray, text: str) -> np.ndarray:
    """Put a line of text above a picture."""
    line = Image.new("RGB", (pixels.shape[1], 26), "white")
    ImageDraw.Draw(line).text((2, 2), text, fill="black", font=ImageFont.load_default(18))
    return np.concatenate([np.asarray(line), pixels])


def stroke_sizes(path: Path) -> None:
    """Write a photo with strokes of several sizes: the whole above, pixels as they are below."""
    photo = resize_long_side(read_image(path).pixels, LARGE)
    height, width = photo.shape[:2]
    stylizer = Stylizer("starry-night")
    pictures = {f"photo, {width}x{height}": photo}
    for size in SIZES:
        pictures[f"--stroke-size {size}"] = np.asarray(stylizer.stylize(photo, stroke_size=size))
    top, left = (
        round(share * side) - CELL // 2 for share, side in zip(CROP, (height, width), strict=True)
    )
    small = round(CELL * height / width)
    sheet = row(
        [
            labelled(
                column(
                    [resize_to(pixels, small, CELL), pixels[top : top + CELL, left : left + CELL]]
                ),
                text,
            )
            for text, pixels in pictures.items()
        ]
    )
    Image.fromarray(sheet).save(ROOT / "docs" / "stroke-size.jpg", quality=82)


def styles() -> None:
    """Write one picture for each style: photos above, stylized photos below."""
    photos = []
    for name in PHOTOS:
        pixels = read_image(ROOT / "examples" / f"{name}.jpg").pixels
        photos.append(resize_to(pixels, HEIGHT, round(pixels.shape[1] * HEIGHT / pixels.shape[0])))
    for style in list_styles():
        if not style.path.is_relative_to(ROOT / "saved_models"):
            continue
        stylizer = Stylizer(style.path)
        # Stylized at the example's own size, then made smaller, as a reader would see it.
        stylized = [
            np.asarray(
                stylizer.stylize(ROOT / "examples" / f"{name}.jpg").resize(
                    (photo.shape[1], photo.shape[0]), Image.Resampling.LANCZOS
                )
            )
            for name, photo in zip(PHOTOS, photos, strict=True)
        ]
        sheet = column([row(photos), row(stylized)])
        Image.fromarray(sheet).save(ROOT / "docs" / f"{style.name}.jpg", quality=88)


def mixtures() -> None:
    """Write the way from one style to another in five pictures."""
    photo = read_image(ROOT / "examples" / "coffee.jpg").pixels
    photo = resize_to(photo, 240, round(photo.shape[1] * 240 / photo.shape[0]))
    pictures = []
    for share in SHARES:
        stylizer = Stylizer(f"{MIXED[0]}:{share},{MIXED[1]}:{1 - share}")
        pictures.append(np.asarray(stylizer.stylize(photo)))
    Image.fromarray(row(pictures)).save(ROOT / "docs" / "mixtures.jpg", quality=88)


def main() -> None:
    """Make the pictures that the options ask for."""
    parser = argparse.ArgumentParser(description="Make the pictures in docs/.")
    parser.add_argument("--large-photo", type=Path, help="make stroke-size.jpg from this photo")
    photo = parser.parse_args().large_photo
    if photo:
        stroke_sizes(photo)
    else:
        styles()
        mixtures()


if __name__ == "__main__":
    main()
