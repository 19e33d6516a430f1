"""The small picture of the painting on a model's card."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fast_style.errors import FastStyleError
from fast_style.images import resize_long_side
from fast_style.models.card import THUMBNAIL_LIMIT


def make_thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a painting, (H, W, 3) uint8 RGB, as a small WebP that fits into a card."""
    small = Image.fromarray(resize_long_side(pixels, 256))
    for quality in (80, 60, 40, 20, 5):
        content = io.BytesIO()
        small.save(content, "WEBP", quality=quality, method=6)
        if len(content.getvalue()) <= THUMBNAIL_LIMIT:
            return content.getvalue()
    raise FastStyleError(
        f"the painting's thumbnail takes more than the {THUMBNAIL_LIMIT} bytes that fit on a card"
    )
