"""Convert Pillow images of any mode, and arrays, to 8-bit sRGB and alpha.

Pictures are converted in bands of rows, each written into the result in upright orientation: the
memory beside Pillow's own pixels is that of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from fast_style.errors import UnreadableImageError
from fast_style.images.icc import SrgbConversion

__all__ = [
    "array_to_rgb",
    "find_sample_range",
    "image_to_rgb",
    "read_sample_range",
    "to_eight_bits",
]

Pixels = npt.NDArray[np.uint8]
_Band = tuple[Pixels, Pixels | None]

_BAND_PIXELS = 1 << 20
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
# The mode with straight alpha that a translucent mode is converted to.
_TO_STRAIGHT = {"La": "LA", "LA": "LA"}  # all others: RGBA


@dataclass(frozen=True, slots=True)
class _ColorKey:
    """A colour key: pixels of this raw value are transparent."""

    value: int | tuple[int, ...]


def read_sample_range(image: Image.Image) -> tuple[int, int]:
    """Read how a file's samples are packed; call this before the pixels are decoded.

    Args:
        image: An image whose pixels are not loaded yet.

    Returns:
        The sample value that is white (4095 in a 12-bit TIFF, else 65535), and the factor by which
        Pillow multiplies (or, if negative, divides) samples as it decodes them: 17 for 4 bits, 85
        for 2 bits, -256 for 16-bit RGB.
    """
    tile: Any = getattr(image, "tile", None)
    args = tile[0][3] if tile else ""
    raw_mode = args if isinstance(args, str) else args[0] if args else ""
    if raw_mode == "I;12":
        return 4095, 1
    if raw_mode in ("RGB;16B", "RGB;16L"):
        return 65535, -256
    return 65535, {"L;2": 85, "L;4": 17}.get(str(raw_mode), 1)


def image_to_rgb(
    image: Image.Image,
    colors: SrgbConversion,
    *,
    orientation: int = 1,
    white: int = 65535,
    sample_factor: int = 1,
    inverted_ink: bool = False,
    unsigned: bool = False,
) -> tuple[Pixels, Pixels | None, tuple[str, ...]]:
    """Convert a loaded Pillow image of any mode.

    16-bit samples are scaled to 8 bits, rounded to nearest. Mode "I" (32-bit integers) is taken as
    16-bit if all values are in [0, 65535]; mode "F" as sRGB values if all are in [0, 1]; wider
    ranges are stretched linearly from their minimum to their maximum, with a note.

    Args:
        image: The image, which is not changed.
        colors: The conversion to sRGB.
        orientation: EXIF orientation, 1 to 8, which the result has undone.
        white: Sample value that is white, for 16-bit modes.
        sample_factor: From `read_sample_range`; needed for colour keys.
        inverted_ink: Whether a CMYK image has 0 for full ink.
        unsigned: Whether an image of mode "I" holds unsigned samples of 32 bits.

    Returns:
        Pixels, shape (H, W, 3), uint8; alpha, shape (H, W), uint8, or None; notes.

    Raises:
        UnreadableImageError: If a float image holds NaN or infinity.
    """
    width, height = image.size
    deep = image.mode in _DEEP_MODES
    low, high, notes = _find_range(image, white, unsigned) if deep else (0.0, 1.0, ())
    key = _read_color_key(image, sample_factor)
    translucent = image.has_transparency_data and key is None

    def convert(band: Image.Image) -> _Band:
        alpha = None if key is None else _compute_key_alpha(band, key)
        if deep:
            band = Image.fromarray(to_eight_bits(_read_samples(band, unsigned), low, high))
        elif inverted_ink:
            band = ImageChops.invert(band)
        if translucent:
            band = band.convert(_TO_STRAIGHT.get(band.mode, "RGBA"))
            alpha = np.asarray(band.getchannel("A"))
        if colors.transform is not None:
            entry: str = colors.transform.input_mode
            band = colors.transform.apply(band if band.mode == entry else band.convert(entry))
        elif band.mode != "RGB":
            band.info.pop("transparency", None)  # else Pillow applies the key again
            band = band.convert("RGB")
        return np.asarray(band), alpha

    def pieces() -> Iterator[tuple[slice, _Band]]:
        for rows in _split_bands(height, width):
            yield rows, convert(image.crop((0, rows.start, width, min(rows.stop, height))))

    pixels, alpha = _assemble(pieces, height, width, orientation, translucent or key is not None)
    return pixels, alpha, notes


def array_to_rgb(array: npt.NDArray[Any], name: str) -> tuple[Pixels, Pixels | None]:
    """Convert an array.

    Args:
        array: Shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGB and alpha; uint8 in [0, 255],
            uint16 in [0, 65535], float in [0, 1], or bool.
        name: What to call it in messages.

    Returns:
        Pixels, shape (H, W, 3), uint8, sharing the array's memory if it needs no conversion;
        alpha, shape (H, W), uint8, or None.

    Raises:
        UnreadableImageError: If shape, type or values are not as described.
    """
    shape = array.shape
    if array.ndim not in (2, 3) or shape[2:] not in ((), (1,), (3,), (4,)) or 0 in shape:
        hint = ""
        if array.ndim == 3 and shape[0] in (1, 3, 4):
            hint = "; channels go last: array.transpose(1, 2, 0)"
        elif array.ndim == 4:
            hint = "; pass the pictures of a batch one by one"
        raise UnreadableImageError(
            f"{name} has shape {shape}, and (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) with at "
            f"least one pixel was expected{hint}"
        )
    kind = array.dtype.kind
    if kind == "f":
        lowest, highest = float(array.min()), float(array.max())
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            raise UnreadableImageError(
                f"{name} holds values that are not numbers (NaN or infinity)"
            )
        # Resampling in float overshoots a little; that is clipped.
        if lowest < -0.01 or highest > 1.01:
            raise UnreadableImageError(
                f"{name} holds floats from {lowest:.4g} to {highest:.4g}, and [0, 1] was expected: "
                "divide by the value of white, or pass uint8"
            )
    elif kind != "b" and array.dtype not in (np.uint8, np.uint16):
        raise UnreadableImageError(
            f"{name} holds {array.dtype}, and uint8, uint16, float in [0, 1] or bool was expected: "
            "convert it, for instance with array.astype(np.uint8)"
        )
    planes = array if array.ndim == 3 else array[:, :, None]
    if array.dtype == np.uint8 and shape[2:] == (3,):
        return np.ascontiguousarray(planes), None
    high = 65535.0 if array.dtype == np.uint16 else 1.0

    def pieces() -> Iterator[tuple[slice, _Band]]:
        for rows in _split_bands(*shape[:2]):
            band = planes[rows]
            eight = band if band.dtype == np.uint8 else to_eight_bits(band, 0.0, high)
            yield rows, (eight[..., :3], eight[..., 3] if shape[2:] == (4,) else None)

    return _assemble(pieces, shape[0], shape[1], 1, shape[2:] == (4,))


def _assemble(
    pieces: Callable[[], Iterator[tuple[slice, _Band]]],
    height: int,
    width: int,
    orientation: int,
    has_alpha: bool,
) -> _Band:
    size = (width, height) if orientation >= 5 else (height, width)
    pixels = np.empty((*size, 3), np.uint8)
    alpha = np.empty(size, np.uint8) if has_alpha else None
    pixels_as_stored = _view_as_stored(pixels, orientation)
    alpha_as_stored = None if alpha is None else _view_as_stored(alpha, orientation)
    for rows, (band, band_alpha) in pieces():
        pixels_as_stored[rows] = band
        if alpha_as_stored is not None:
            alpha_as_stored[rows] = 255 if band_alpha is None else band_alpha
    return pixels, alpha


def _view_as_stored(upright: Pixels, orientation: int) -> Pixels:
    """Return a view of an upright picture as a file of this orientation stores it."""
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    view = upright[::rows, ::columns]
    return view.swapaxes(0, 1) if orientation >= 5 else view


def _split_bands(height: int, width: int) -> Iterator[slice]:
    step = max(1, _BAND_PIXELS // width)
    for top in range(0, height, step):
        yield slice(top, top + step)


def to_eight_bits(samples: npt.NDArray[Any], low: float, high: float) -> Pixels:
    """Scale samples of any type and shape from [low, high] to [0, 255], rounding to nearest."""
    if samples.dtype.kind == "u" and low == 0.0 and high <= 65535.0:
        top = int(high)
        scaled = samples.astype(np.uint32)
        np.minimum(scaled, top, out=scaled)
        scaled *= 255  # at most 255 * 65535, far inside uint32
        scaled += top // 2
        scaled //= top
        return scaled.astype(np.uint8)
    # float64, because the range of 32-bit integers does not fit float32.
    real = samples.astype(np.float64)
    real -= low
    real *= 255.0 / (high - low)
    np.rint(real, out=real)
    np.clip(real, 0.0, 255.0, out=real)
    return real.astype(np.uint8)


def _read_samples(band: Image.Image, unsigned: bool) -> npt.NDArray[Any]:
    samples = np.asarray(band)
    return samples.view(np.uint32) if unsigned else samples


def _find_range(
    image: Image.Image, white: int, unsigned: bool
) -> tuple[float, float, tuple[str, ...]]:
    if image.mode.startswith("I;16"):
        return 0.0, float(white), ()
    width, height = image.size
    low, high = np.inf, -np.inf
    for rows in _split_bands(height, width):
        band = _read_samples(image.crop((0, rows.start, width, min(rows.stop, height))), unsigned)
        low, high = min(low, float(band.min())), max(high, float(band.max()))
        if not np.isfinite([band.min(), band.max()]).all():
            low = np.nan
            break
    return find_sample_range(low, high, 1.0 if image.mode == "F" else 65535.0)


def find_sample_range(
    low: float, high: float, normal: float | None
) -> tuple[float, float, tuple[str, ...]]:
    """Find which samples are black and white, where the type of the samples does not say it.

    Args:
        low: The lowest sample.
        high: The highest sample.
        normal: White, if all samples are from 0 to there; None if there is no such value.

    Returns:
        The samples that are black and white, and notes.

    Raises:
        UnreadableImageError: If a sample is NaN or infinite.
    """
    if not np.isfinite([low, high]).all():
        raise UnreadableImageError(
            "its samples are not all numbers (NaN or infinity): replace them in the program that "
            "wrote it"
        )
    if normal is not None and low >= 0.0 and high <= normal:
        return 0.0, normal, ()
    note = f"samples from {low:.6g} to {high:.6g}: stretched to black and white"
    return low, high if high > low else low + 1.0, (note,)


def _read_color_key(image: Image.Image, factor: int) -> _ColorKey | None:
    """Read the colour key (tRNS chunk) of a gray or RGB image, as a raw sample value."""
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and len(key) == 3:
        # Pillow reduces 16-bit RGB to 8 bits; the key is reduced alike.
        return _ColorKey(tuple(int(part) // -factor if factor < 0 else int(part) for part in key))
    if image.mode in ("1", "L", "I;16", "I;16B", "I;16L") and isinstance(key, int):
        return _ColorKey(key * max(1, factor))
    return None


def _compute_key_alpha(band: Image.Image, key: _ColorKey) -> Pixels:
    samples = np.asarray(band)
    if band.mode == "1":
        samples = samples.astype(np.uint8) * np.uint8(255)
    same = samples == np.asarray(key.value)
    if same.ndim == 3:
        same = same.all(axis=2)
    return np.where(same, np.uint8(0), np.uint8(255))
