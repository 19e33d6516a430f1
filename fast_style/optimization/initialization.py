"""The picture that an optimisation starts from."""

import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import FastStyleError, StyleNotFoundError, UnreadableImageError, UsageError
from fast_style.images import ImageSource, read_image, resize_to

if TYPE_CHECKING:
    from fast_style.models.model_file import StyleModel

Pixels = NDArray[np.uint8]

NAMED = ("photo", "painting", "noise")


def is_style(init: object) -> bool:
    """Return whether a start is a style or model, and not one of `NAMED` or a picture.

    Raises:
        UsageError: it is a string that names neither a style nor a file.
    """
    from fast_style.models.model_file import SUFFIX, StyleModel

    if isinstance(init, StyleModel):
        return True
    if not isinstance(init, str) or init in NAMED:
        return isinstance(init, os.PathLike) and os.fspath(init).endswith(SUFFIX)
    from fast_style.styles.registry import find_parts

    try:
        files = find_parts(init)
    except FastStyleError as error:
        if os.path.exists(init):
            return False
        reason = str(error) if isinstance(error, StyleNotFoundError) else f"it is no style: {error}"
        raise UsageError(
            f"the start {init!r} is none of {', '.join(NAMED)}, and no picture's file is there; "
            f"{reason}"
        ) from None
    # `find_parts` accepts every existing file as a model.
    return len(files) > 1 or files[0][0].suffix == SUFFIX


def make_start(
    init: "str | os.PathLike[str] | ImageSource | StyleModel",
    photo: Pixels,
    painting: Pixels,
    height: int,
    width: int,
    seed: int,
) -> Pixels:
    """Make the picture to start from.

    Args:
        init: `photo`, `painting`, `noise`, a style (see `is_style`), or any picture.
        photo: RGB, shape (H, W, 3), uint8.
        painting: the first of the paintings, RGB, shape (H', W', 3), uint8.
        height: height of the start, in pixels.
        width: width of the start, in pixels.
        seed: seed of the noise.

    Returns:
        RGB, shape (height, width, 3), uint8. Paintings and pictures of other proportions are
        resized to cover it and cropped at the centre.

    Raises:
        FastStyleError: the style or the picture cannot be used.
    """
    if isinstance(init, str) and init in NAMED:
        if init == "photo":
            return resize_to(photo, height, width)
        if init == "painting":
            return _cover(painting, height, width)
        random = np.random.default_rng(seed)
        return random.integers(0, 256, (height, width, 3), np.uint8)
    if is_style(init):
        # No other start needs an engine.
        from fast_style.inference.stylizer import Stylizer

        stylized = Stylizer(init).stylize(resize_to(photo, height, width), stroke_size=1)  # type: ignore[arg-type]
        return np.asarray(stylized)
    try:
        return _cover(read_image(init).fill_hidden(), height, width)  # type: ignore[arg-type]
    except UnreadableImageError as error:
        raise UnreadableImageError(f"the start cannot be used: {error}") from error


def _cover(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize a picture so that it covers a size, and crop it at the centre."""
    scale = max(height / pixels.shape[0], width / pixels.shape[1])
    rows = max(height, round(pixels.shape[0] * scale))
    columns = max(width, round(pixels.shape[1] * scale))
    resized = resize_to(pixels, rows, columns)
    top, left = (rows - height) // 2, (columns - width) // 2
    return np.ascontiguousarray(resized[top : top + height, left : left + width])
