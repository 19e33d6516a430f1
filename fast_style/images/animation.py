"""Animated GIF, WebP and PNG files: whether a file is one, its frames' times and its loop."""

from __future__ import annotations

import os

from PIL import Image

from fast_style.images.decoding import open_picture, silence_pillow
from fast_style.images.formats import detect_format

__all__ = ["ANIMATED_SUFFIXES", "count_plays", "is_animated", "still_first"]

_FORMATS = ("GIF", "WEBP", "PNG")

ANIMATED_SUFFIXES = frozenset({".gif", ".webp", ".png", ".apng"})
"""Suffixes of the formats that hold several frames, in lower case."""


def is_animated(path: str | os.PathLike[str], max_megapixels: float = float("inf")) -> bool:
    """Return whether a file is a GIF, WebP or PNG of two frames or more.

    Args:
        path: of a regular file; what cannot be read is not animated.
        max_megapixels: larger pictures are not opened, and not animated either.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(4096)
            if detect_format(head) not in _FORMATS:
                return False
            stream.seek(0)
            with silence_pillow():
                image = open_picture(stream, os.fspath(path), max_megapixels)
                return int(getattr(image, "n_frames", 1)) - still_first(image) > 1
    except Exception:  # decoders raise a dozen types for damaged files; reading it will explain
        return False


def still_first(image: Image.Image) -> int:
    """Return 1 if the first frame is a still picture for programs without animation, else 0."""
    return int(bool(getattr(image, "default_image", False)))


def count_plays(image: Image.Image) -> int:
    """Return how often an animation is played; 0 stands for ever.

    Args:
        image: of the formats GIF, WebP and PNG.
    """
    loop = image.info.get("loop")
    if image.format == "GIF":  # which counts repetitions, and plays once without the number
        return 1 if loop is None else 0 if loop == 0 else int(loop) + 1
    return int(loop or 0)
