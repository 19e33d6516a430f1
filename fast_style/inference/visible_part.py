"""Render a picture with transparency: what is hidden below it must not matter.

The network sees the part outside which all is transparent, with the hidden colours in it replaced
by what continues the visible ones (`images.transparency`). The norms' statistics are those of the
visible part and of its smooth continuation, whatever the size of the transparent sheet around it,
which costs no time either.
"""

import numpy as np
from numpy.typing import NDArray

from fast_style.images import Photo
from fast_style.images.transparency import fill_hidden, find_visible_box
from fast_style.inference.renderer import Pixels, Renderer

__all__ = ["render_visible"]

_MARGIN = 32
"""Pixels that are rendered around the visible part: as far as the network's padding at the border
shows. At larger strokes it is that many pixels of the smaller picture."""


def render_visible(
    renderer: Renderer,
    content: Photo,
    stroke_size: float,
    shares: NDArray[np.uint8] | None = None,
    variant: int = 0,
) -> Pixels:
    """Stylize the visible part of a picture at full strength.

    Args:
        renderer: the style.
        content: the picture; hidden colours do not change what is visible in the result.
        stroke_size: as for `Renderer.render`.
        shares: as for `Renderer.render`.
        variant: as for `Renderer.render`.

    Returns:
        RGB, shape (H, W, 3), uint8; `content.pixels` if all is transparent.

    Raises:
        Exception: as for `Renderer.render`.
    """
    pixels, alpha = content.pixels, content.alpha
    if alpha is None:
        return renderer.render(pixels, stroke_size, shares, variant)
    box = find_visible_box(alpha, round(_MARGIN * max(1.0, stroke_size)))
    if box is None:
        return pixels
    visible = np.ascontiguousarray(fill_hidden(pixels[box], alpha[box]))
    part = None if shares is None else np.ascontiguousarray(shares[:, box[0], box[1]])
    stylized = renderer.render(visible, stroke_size, part, variant)
    if stylized.shape == pixels.shape:
        return stylized
    sides = zip(box, pixels.shape, strict=False)
    around = [(part.start, side - part.stop) for part, side in sides]
    return np.pad(stylized, (*around, (0, 0)), mode="edge")
