"""Makes the pictures in docs/ from examples/ and the shipped styles.

python docs/make_pictures.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from fast_style import Stylizer, list_styles
from fast_style.images import read_image, resize_to

ROOT = Path(__file__).parent.parent
PHOTOS = ("astronaut", "rocket", "coffee", "chelsea")
HEIGHT, GAP = 300, 6


def column(pictures: list[np.ndarray]) -> np.ndarray:
    """Stack pictures of one width with a white gap."""
    gap = np.full((GAP, pictures[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1])


def row(pictures: list[np.ndarray]) -> np.ndarray:
    """Put pictures of one height side by side with a white gap."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)


def main() -> None:
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


if __name__ == "__main__":
    main()
