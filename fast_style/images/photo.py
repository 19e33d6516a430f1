"""A picture with what belongs to its file: transparency, EXIF, colour profile."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from fast_style.errors import UsageError
from fast_style.images.exif import remove_location
from fast_style.images.resampling import resize_to
from fast_style.options import StripChoice

__all__ = ["Photo", "to_pil", "visible_pixels"]

Pixels = npt.NDArray[np.uint8]


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
    """Return a painting's pixels with the mean visible colour where it is transparent.

    Args:
        photo: The painting.
        name: What to call it in the message.

    Returns:
        RGB, shape (H, W, 3), uint8; colours hidden below alpha 0 do not matter.

    Raises:
        UsageError: If no pixel is visible.
    """
    if photo.alpha is None:
        return photo.pixels
    weight = photo.alpha[..., None].astype(np.float32) / 255
    total = float(weight.sum())
    if total == 0:
        raise UsageError(f"{name} is wholly transparent: a style needs a visible picture")
    mean = (photo.pixels * weight).sum((0, 1), dtype=np.float64) / total
    filled: Pixels = np.rint(photo.pixels * weight + mean * (1 - weight)).astype(np.uint8)
    return filled
