"""A picture with what belongs to its file: transparency, EXIF, colour profile."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from fast_style.errors import UsageError
from fast_style.images.exif import remove_location
from fast_style.images.resampling import fit_long_side, resize_premultiplied, resize_to
from fast_style.images.transparency import fill_hidden, find_visible_box
from fast_style.options import StripChoice

__all__ = ["MINIMUM_PAINTING_SIDE", "Photo", "to_pil", "visible_pixels"]

Pixels = npt.NDArray[np.uint8]

MINIMUM_PAINTING_SIDE = 16
"""Smaller paintings, in pixels, show no stroke that could be learnt."""

_MAXIMUM_RATIO = 32  # of a painting's sides: a narrower one vanishes when it is made smaller


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A picture: its pixels, and what of its file is copied into the output.

    Attributes:
        pixels: RGB in sRGB, shape (H, W, 3), uint8, values in [0, 255], upright.
        alpha: Opacity, shape (H, W), uint8, 0 transparent to 255 opaque; None if the file has none.
            Not premultiplied.
        exif: EXIF block ready to be written, without orientation and thumbnail, or None.
        icc_profile: RGB profile of the file, or None. On writing, the pixels are converted back to
            it, and it is embedded.
        format: Pillow's name of the file's format, such as "JPEG"; None for arrays.
        notes: Messages for the user, such as "animated, 12 frames: only the first is used".
        dpi: Resolution for printing, across and down, in dots per inch; None if the file has none.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    exif: bytes | None = None
    icc_profile: bytes | None = None
    format: str | None = None
    notes: tuple[str, ...] = ()
    dpi: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check shapes and types.

        Raises:
            UsageError: If pixels or alpha are not as described, or do not fit together.
        """
        pixels, alpha = self.pixels, self.alpha
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise UsageError(
                "pixels must be a uint8 array of shape (height, width, 3), and an array of "
                f"{pixels.dtype} of shape {pixels.shape} was given"
            )
        if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != pixels.shape[:2]):
            raise UsageError(
                f"alpha must be a uint8 array of shape {pixels.shape[:2]}, as high and wide as the "
                f"pixels, and an array of {alpha.dtype} of shape {alpha.shape} was given"
            )

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    def with_pixels(self, pixels: Pixels, alpha: Pixels | None = None) -> Photo:
        """Return a picture with the same metadata and other pixels.

        Args:
            pixels: RGB in sRGB, shape (H, W, 3), uint8; the size may be another one.
            alpha: Opacity, shape (H, W), uint8. If None, the present one is kept, resized to fit;
                ``dataclasses.replace(photo, alpha=None)`` is the way to drop it.

        Returns:
            A new Photo.

        Raises:
            UsageError: If pixels or alpha are not as described, or do not fit together.
        """
        if alpha is None and self.alpha is not None and pixels.ndim == 3:
            alpha = resize_to(self.alpha, *pixels.shape[:2])
        return dataclasses.replace(self, pixels=pixels, alpha=alpha)

    def resize(self, height: int, width: int) -> Photo:
        """Return the picture at another size; hidden colours do not bleed into visible edges.

        Args:
            height: Height wanted, in pixels.
            width: Width wanted, in pixels.

        Returns:
            A new Photo, or this one if it has that size.

        Raises:
            UsageError: If height or width is below 1.
        """
        if (height, width) == self.pixels.shape[:2]:
            return self
        if self.alpha is None:
            return self.with_pixels(resize_to(self.pixels, height, width))
        return self.with_pixels(*resize_premultiplied(self.pixels, self.alpha, height, width))

    def resize_long_side(self, long_side: int, *, enlarge: bool = False) -> Photo:
        """Return the picture with its longer side of a given length, see `resize`.

        Args:
            long_side: Length wanted of the longer side, in pixels.
            enlarge: Whether a smaller picture is enlarged; if not, it is returned as it is.

        Raises:
            UsageError: If long_side is below 1.
        """
        return self.resize(*fit_long_side(self.height, self.width, long_side, enlarge=enlarge))

    def fill_hidden(self) -> Pixels:
        """Return the pixels with transparent parts filled, see `transparency.fill_hidden`."""
        return fill_hidden(self.pixels, self.alpha)

    def strip_metadata(self, what: StripChoice | None) -> Photo:
        """Return the picture without some of its metadata.

        Args:
            what: As in `OutputOptions.strip`: "location" removes the place from the EXIF data,
                "all" removes all EXIF data; None removes nothing. The colour profile and the
                resolution are kept, since they say how the pixels are to be shown.

        Returns:
            A new Photo, or this one if there is nothing to remove.
        """
        if what is None or self.exif is None:
            return self
        kept = remove_location(self.exif) if what == "location" else None
        return dataclasses.replace(self, exif=kept)


def to_pil(photo: Photo) -> Image.Image:
    """Convert to a Pillow image.

    Args:
        photo: The picture.

    Returns:
        A new image of mode "RGB", or "RGBA" if the picture has alpha, in sRGB and without metadata.
    """
    image = Image.fromarray(np.ascontiguousarray(photo.pixels))
    if photo.alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(photo.alpha)))
    return image


def visible_pixels(photo: Photo, name: str) -> Pixels:
    """Return what a style is learnt from: the visible part of a painting.

    Args:
        photo: The painting.
        name: What to call it in the message.

    Returns:
        RGB, shape (H, W, 3), uint8: the part outside which all is transparent, and what is
        transparent within filled, see `transparency.fill_hidden`.

    Raises:
        UsageError: If no pixel is visible, or the visible part is too small to show a style.
    """
    pixels, alpha = photo.pixels, photo.alpha
    if alpha is not None:
        box = find_visible_box(alpha, 0)
        if box is None:
            raise UsageError(f"{name} is wholly transparent: a style needs a visible picture")
        pixels, alpha = pixels[box], alpha[box]
    height, width = pixels.shape[:2]
    part = "" if (height, width) == (photo.height, photo.width) else "the visible part of "
    if min(height, width) < MINIMUM_PAINTING_SIDE:
        raise UsageError(
            f"{part}{name} is {width}x{height} pixels, too small for a style: give a painting of "
            f"at least {MINIMUM_PAINTING_SIDE} pixels on each side"
        )
    if max(height, width) > _MAXIMUM_RATIO * min(height, width):
        raise UsageError(
            f"{part}{name} is {width}x{height} pixels, too narrow for a style: expected a "
            f"long side of at most {_MAXIMUM_RATIO} times the short one; crop it"
        )
    return np.ascontiguousarray(fill_hidden(pixels, alpha))
