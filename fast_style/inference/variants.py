"""A small sheet of variants of one stylized photo, each with its number."""

import math
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fast_style.images import Photo, resize_long_side, to_pil
from fast_style.inference.guides import Guides
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions

__all__ = ["MAX_VARIANTS", "variant_sheet"]

MAX_VARIANTS = 16

_SIDE = 640
_PAPER, _INK, _GAP, _TEXT = (250, 249, 246), (34, 32, 30), 16, 20


def variant_sheet(
    stylizer: Stylizer,
    photo: Photo,
    options: StyleOptions | None = None,
    guides: Guides | None = None,
    *,
    count: int = 4,
) -> Photo:
    """Stylize a photo in several variants, and draw them on one sheet.

    Args:
        stylizer: the style.
        photo: the photo.
        options: as for `Stylizer.stylize_photo`; the variants count from `variant`, and `size`
            bounds each picture, 640 pixels if None.
        guides: as for `Stylizer.stylize_photo`.
        count: number of variants, 1 to `MAX_VARIANTS`.

    Returns:
        The sheet, without metadata.

    Raises:
        FastStyleError: as for `Stylizer.stylize_photo`.
    """
    options = options or StyleOptions()
    options = replace(options, size=options.size or _SIDE)
    small = photo.with_pixels(resize_long_side(photo.pixels, options.size or _SIDE))
    columns = math.ceil(math.sqrt(count))
    width, height = small.width + _GAP, small.height + 2 * _GAP + _TEXT
    sides = (columns * width + _GAP, -(-count // columns) * height + _GAP)
    sheet = Image.new("RGB", sides, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    notes: tuple[str, ...] = ()
    for i in range(count):
        variant = replace(options, variant=options.variant + i)
        picture = stylizer.stylize_photo(small, variant, guides)
        notes = picture.notes
        left, top = _GAP + i % columns * width, _GAP + i // columns * height
        image = to_pil(picture)
        sheet.paste(image.convert("RGB"), (left, top), image if image.mode == "RGBA" else None)
        middle = left + small.width // 2, top + small.height + _GAP // 2
        draw.text(middle, f"variant {variant.variant}", _INK, font, anchor="ma")
    return Photo(np.asarray(sheet).copy(), format=photo.format, notes=notes)
