"""Make the pictures of control.md: `python docs/make_control_pictures.py`, in a checkout."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fast_style import Photo, StyleOptions, Stylizer, read_image, resize_long_side
from fast_style.inference.guides import Guides, read_colors

HERE = Path(__file__).parent
PHOTOS = HERE.parent / "examples"
WIDTH, GAP, TEXT = 360, 6, 15
STYLE, OTHER = "starry-night", "the-scream"


def main() -> None:
    """Write one sheet for each control."""
    photo = Photo(resize_long_side(read_image(PHOTOS / "coffee.jpg").pixels, 600))
    stylizer = Stylizer(STYLE)
    painted = stylizer.paint(photo)
    write_masks(photo, stylizer)
    other = PHOTOS / "rocket.jpg"
    colors = stylizer.paint(photo, guides=Guides(colors=read_colors(other))).finish()
    modes = ("luminance", "chroma", "histogram")
    write(
        "control-colours.jpg",
        [
            ("photo", photo.pixels),
            ("style", painted.pixels),
            *((mode, painted.finish(StyleOptions(preserve_color=mode)).pixels) for mode in modes),
            ("colours of another photo", colors.pixels),
        ],
    )
    strengths = {
        "style": {},
        "strength 0.5": {"strength": 0.5},
        "strength 1.5": {"strength": 1.5},
        "colour strength 0": {"color_strength": 0},
        "stroke strength 0": {"stroke_strength": 0},
        "colours 0.5, strokes 1.5": {"color_strength": 0.5, "stroke_strength": 1.5},
    }
    write(
        "control-strengths.jpg",
        [(name, painted.finish(StyleOptions(**one)).pixels) for name, one in strengths.items()],
    )
    write(
        "control-variants.jpg",
        [
            (f"variant {n}", stylizer.paint(photo, StyleOptions(variant=n)).pixels[150:350, 60:360])
            for n in range(3)
        ],
    )


def write_masks(photo: Photo, stylizer: Stylizer) -> None:
    """Write the sheet of masks: an ellipse around the cup and its saucer."""
    mask = Image.new("L", (photo.width, photo.height))
    ImageDraw.Draw(mask).ellipse((78, 10, 482, 386), fill=255)
    white = np.asarray(mask)
    soft = StyleOptions(feather=40)
    around = StyleOptions(feather=40, invert_mask=True)
    both = Stylizer([STYLE, OTHER])
    write(
        "control-masks.jpg",
        [
            ("photo", photo.pixels),
            ("mask", np.repeat(white[..., None], 3, axis=2)),
            ("style in it", stylizer.stylize_photo(photo, guides=Guides([white])).pixels),
            ("feather 40", stylizer.stylize_photo(photo, soft, Guides([white])).pixels),
            ("inverted", stylizer.stylize_photo(photo, around, Guides([white])).pixels),
            ("two styles", both.stylize_photo(photo, soft, Guides([white])).pixels),
        ],
    )


def write(name: str, pictures: list[tuple[str, np.ndarray]]) -> None:
    """Write pictures with captions in rows of three."""
    small = [(caption, Image.fromarray(resize_long_side(p, WIDTH))) for caption, p in pictures]
    height = small[0][1].height + TEXT + 2 * GAP
    rows = -(-len(small) // 3)
    sheet = Image.new("RGB", (3 * (WIDTH + GAP) - GAP, rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for i, (caption, image) in enumerate(small):
        left, top = i % 3 * (WIDTH + GAP), i // 3 * height
        sheet.paste(image, (left, top))
        draw.text((left, top + image.height + GAP // 2), caption, "black", font)
    sheet.save(HERE / name, quality=82)


if __name__ == "__main__":
    main()
