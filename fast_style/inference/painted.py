"""A photo and the network's picture of it, before strength and colours are chosen."""

from __future__ import annotations

from dataclasses import dataclass

from fast_style.images import Photo
from fast_style.images.color import blend, preserve_color
from fast_style.images.color_transfer import (
    ColorStatistics,
    keep_chroma,
    match_colors,
    measure_colors,
)
from fast_style.images.masks import Mask
from fast_style.images.stroke_layer import blend_layers
from fast_style.inference.renderer import Pixels
from fast_style.options import StyleOptions

__all__ = ["Painted"]


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """A photo and the network's picture of it, to be finished in any way without the network.

    Attributes:
        content: the photo, at the size that was worked at.
        pixels: the stylized photo at full strength: RGB in sRGB, uint8, of the shape of
            `content.pixels`.
        coverage: how much of each pixel is painted, shape (H, W), 0 to 255; None for all of it.
        colors: statistics of the colours that the picture is to have; None leaves them.
    """

    content: Photo
    pixels: Pixels
    coverage: Mask | None = None
    colors: ColorStatistics | None = None

    def finish(self, options: StyleOptions | None = None) -> Photo:
        """Apply the strengths and the choice of colours, which takes some milliseconds.

        Args:
            options: the strengths and what is about colours are used; the defaults if None.

        Returns:
            The photo that `Stylizer.stylize_photo` returns for the same options, bit for bit.
        """
        options = options or StyleOptions()
        content, pixels = self.content.pixels, self._color(options)
        color, strokes = options.strengths
        if color == strokes:
            finished = blend(pixels, content, color, self.coverage)
        else:
            finished = blend_layers(pixels, content, color, strokes, self.coverage)
        return self.content.with_pixels(finished)

    def _color(self, options: StyleOptions) -> Pixels:
        """Return the stylized picture in the colours that are asked for."""
        pixels, content = self.pixels, self.content
        share, mode = options.color_share, options.color_mode
        if self.colors is not None or mode == "histogram":
            target = self.colors or measure_colors(content.pixels, content.alpha)
            own = measure_colors(pixels, content.alpha)
            return match_colors(pixels, own, target, share)
        if mode == "luminance":
            return blend(preserve_color(pixels, content.pixels), pixels, share)
        if mode == "chroma":
            return keep_chroma(pixels, content.pixels, share)
        return pixels
