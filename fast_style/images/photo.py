"""The picture as the rest of the package knows it, and resizing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from fast_style.errors import UsageError

__all__ = ["Photo", "resize_long_side", "resize_to", "to_pil"]

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A picture: its pixels, and what of its file goes along into the output.

    Attributes:
        pixels: RGB in sRGB, shape (H, W, 3), uint8, values in [0, 255], the right way up.
        alpha: Opacity, shape (H, W), uint8, 0 transparent to 255 opaque; None if the file has none.
            Not premultiplied.
        exif: EXIF block fit for writing, without orientation and thumbnail, or None.
        icc_profile: RGB profile of the file, to which the pixels are converted back on writing and
            which is embedded then, or None.
        format: Pillow's name of the format it was read from, such as "JPEG"; None for arrays.
        notes: What the user should be told, such as "animated, 12 frames: only the first is used".
    """

    pixels: Pixels
    alpha: Pixels | None = None
    exif: bytes | None = None
    icc_profile: bytes | None = None
    format: str | None = None
    notes: tuple[str, ...] = ()

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


def resize_to(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize a picture to an exact size, with the Lanczos filter.

    Large reductions go through a box reduction to three times the target first, which is several
    times faster and differs by a rounding error from the full filter.

    Args:
        pixels: Shape (H, W, 3) or (H, W), uint8.
        height: Height wanted, in pixels.
        width: Width wanted, in pixels.

    Returns:
        Shape (height, width, 3) or (height, width), uint8; the array itself if it has that size.

    Raises:
        UsageError: If height or width is below 1, or the array is of another type or shape.
    """
    if height < 1 or width < 1:
        raise UsageError(f"a picture needs at least 1x1 pixels, and {width}x{height} was asked for")
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise UsageError(
            "only uint8 arrays of shape (height, width, 3) or (height, width) can be resized, and "
            f"an array of {pixels.dtype} of shape {pixels.shape} was given"
        )
    if pixels.shape[:2] == (height, width):
        return pixels
    resized = Image.fromarray(pixels).resize(
        (width, height), Image.Resampling.LANCZOS, reducing_gap=3.0
    )
    return np.asarray(resized).copy()  # an array of its own: Pillow's is read-only


def resize_long_side(pixels: Pixels, long_side: int, *, enlarge: bool = False) -> Pixels:
    """Resize a picture so that its longer side has a given length, keeping its proportions.

    Args:
        pixels: Shape (H, W, 3) or (H, W), uint8.
        long_side: Length wanted of the longer side, in pixels.
        enlarge: Whether a smaller picture is enlarged; if not, it is returned as it is.

    Returns:
        Shape (H', W', 3) or (H', W') with max(H', W') == long_side, uint8; no side below 1.

    Raises:
        UsageError: If long_side is below 1, or the array is of another type or shape.
    """
    if long_side < 1:
        raise UsageError(f"the long side must be at least 1 pixel, and {long_side} was given")
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest == 0 or (longest < long_side and not enlarge):
        return pixels
    scale = long_side / longest
    return resize_to(pixels, max(1, round(height * scale)), max(1, round(width * scale)))


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
