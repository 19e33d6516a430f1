"""Make the pictures in docs/ from examples/ and the shipped styles.

python docs/make_pictures.py
python docs/make_pictures.py --large-photo seeding_by_Clements_Engelhardt.jpg

The first writes `hero.jpg`, `styles.jpg`, a strip for each style in `styles/`, and `mixtures.jpg`.
The second writes `stroke-size.jpg` from a photo of 12 megapixels or more, which is not in the
repository (NOTICE names its source).
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fast_style import Stylizer, list_styles
from fast_style.images import read_image, resize_long_side, resize_to
from fast_style.inference.contact_sheet import contact_sheet
from fast_style.models.model_file import read_card
from fast_style.styles.registry import find_style

ROOT = Path(__file__).parent.parent
PHOTOS = ("astronaut", "chelsea", "coffee")
HEIGHT, GAP = 150, 4
HERO_PHOTOS = ("astronaut", "chelsea", "coffee")
HERO_STYLES = ("metzinger", "magi-window", "edtaonisl", "starry-night", "great-wave")
SIDE, CARD = 210, 90
SHEET_PHOTOS = ("astronaut", "rocket", "coffee", "chelsea")

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
    """Write a photo with strokes of several sizes: the whole above, a crop at full size below."""
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


def scaled(pixels: np.ndarray, height: int) -> np.ndarray:
    """Resize a picture to a height; its proportions stay."""
    return resize_to(pixels, height, round(pixels.shape[1] * height / pixels.shape[0]))


def example(name: str) -> np.ndarray:
    """Read one of the examples."""
    return read_image(ROOT / "examples" / f"{name}.jpg").pixels


def painting(name: str) -> np.ndarray:
    """Read the painting of a style from its card."""
    thumbnail = read_card(find_style(name)).thumbnail
    assert thumbnail
    return read_image(thumbnail).pixels


def hero() -> None:
    """Write the picture of the README's first screen: photos, and each in several styles."""
    photos = [square(example(name)) for name in HERO_PHOTOS]
    head = [np.full((CARD, SIDE, 3), 255, np.uint8)]
    head += [centred(scaled(painting(name), CARD), SIDE) for name in HERO_STYLES]
    columns = [[resize_to(photo, SIDE, SIDE) for photo in photos]]
    for name in HERO_STYLES:
        stylizer = Stylizer(name)
        columns.append(
            [
                resize_to(np.asarray(stylizer.stylize(photo, size=512)), SIDE, SIDE)
                for photo in photos
            ]
        )
    sheet = row([column([top, *below]) for top, below in zip(head, columns, strict=True)])
    Image.fromarray(sheet).save(ROOT / "docs" / "hero.jpg", quality=88)


def square(pixels: np.ndarray) -> np.ndarray:
    """Cut the middle out of a picture."""
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side].copy()


def centred(pixels: np.ndarray, width: int) -> np.ndarray:
    """Put white beside a picture, or cut it to a width."""
    sheet = Image.new("RGB", (width, pixels.shape[0]), "white")
    sheet.paste(Image.fromarray(pixels), ((width - pixels.shape[1]) // 2, 0))
    return np.asarray(sheet)


def styles() -> None:
    """Write a strip for each style that ships: the painting, and photos in its style."""
    (ROOT / "docs" / "styles").mkdir(exist_ok=True)
    for style in list_styles():
        if not style.path.is_relative_to(ROOT / "saved_models"):
            continue
        stylizer = Stylizer(style.path)
        # Stylized at the example's own size, then made smaller, as a reader would see it.
        stylized = [np.asarray(stylizer.stylize(example(name))) for name in PHOTOS]
        strip = row([scaled(pixels, HEIGHT) for pixels in (painting(style.name), *stylized)])
        Image.fromarray(strip).save(ROOT / "docs" / "styles" / f"{style.name}.jpg", quality=85)


def sheet() -> None:
    """Write the sheet of all styles that `fast-style sheet` makes."""
    shipped = [e.name for e in list_styles() if e.path.is_relative_to(ROOT / "saved_models")]
    of_standard = [name for name in shipped if not name.endswith(("-tiny", "-full"))]
    photos = [ROOT / "examples" / f"{name}.jpg" for name in SHEET_PHOTOS]
    contact_sheet(photos, of_standard, size=220).save(ROOT / "docs" / "styles.jpg", quality=82)


def mixtures() -> None:
    """Write five mixtures of two styles, from the one to the other."""
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
        hero()
        sheet()
        styles()
        mixtures()


if __name__ == "__main__":
    main()
