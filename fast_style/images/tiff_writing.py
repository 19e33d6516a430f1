"""Write a TIFF with EXIF data.

Pillow passes the tags of a compressed TIFF to libtiff one by one, which has no way to take a nested
directory: with EXIF or GPS it fails. Its own writer of directories does nest them, but is used for
uncompressed files only. Here that writer is given strips that are compressed already.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from fast_style.errors import ImageWriteError
from fast_style.images.exif import list_tags

__all__ = ["encode_tiff"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 0x0100, 0x0101, 0x0102, 0x0103, 0x0106
_STRIP_OFFSETS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES = 0x0111, 0x0115, 0x0116, 0x0117
_X_RESOLUTION, _Y_RESOLUTION, _PLANAR, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x011C, 0x0128
_PREDICTOR, _EXTRA_SAMPLES, _ICC_PROFILE = 0x013D, 0x0152, 0x8773
_ADOBE_DEFLATE, _RGB, _INCH, _HORIZONTAL, _STRAIGHT_ALPHA = 8, 2, 2, 2, 2

_STRIP_SIZE = 1 << 18  # bytes before compression
_MAX_BYTES = 2**32 - 1  # offsets have 32 bits
_LEVEL = 6


def encode_tiff(
    image: Image.Image,
    *,
    exif: bytes | None = None,
    icc_profile: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> tuple[bytes, tuple[str, ...]]:
    r"""Encode a picture as a TIFF, compressed by deflate with horizontal differencing.

    Args:
        image: Of mode "RGB" or "RGBA".
        exif: An EXIF block, with or without its leading ``Exif\0\0``.
        icc_profile: The profile to embed.
        dpi: Resolution, across and down, in dots per inch.

    Returns:
        The bytes of the file, and notes on tags that could not be kept.

    Raises:
        ImageWriteError: If it takes more than the 4 GB that a TIFF can hold.
    """
    pixels = np.asarray(image)
    height, width, samples = pixels.shape
    rows = max(1, _STRIP_SIZE // (width * samples))
    strips = [_compress(pixels[top : top + rows]) for top in range(0, height, rows)]
    lengths = [len(strip) for strip in strips]
    if sum(lengths) > _MAX_BYTES - (1 << 24):
        raise ImageWriteError(
            f"TIFF holds at most 4 GB, and the picture has {width}x{height} pixels: make it "
            "smaller, or write PNG"
        )
    directory = ImageFileDirectory_v2(prefix=b"II")
    notes = _copy_tags(exif, directory) if exif is not None else ()
    if dpi is not None:
        directory[_X_RESOLUTION], directory[_Y_RESOLUTION] = dpi
        directory[_RESOLUTION_UNIT] = _INCH
    if icc_profile is not None:
        directory[_ICC_PROFILE] = icc_profile
    directory[_WIDTH], directory[_HEIGHT] = width, height
    directory[_BITS], directory[_SAMPLES] = (8,) * samples, samples
    if samples == 4:
        directory[_EXTRA_SAMPLES] = _STRAIGHT_ALPHA
    directory[_COMPRESSION], directory[_PREDICTOR] = _ADOBE_DEFLATE, _HORIZONTAL
    directory[_PHOTOMETRIC], directory[_PLANAR] = _RGB, 1
    directory[_STRIP_ROWS] = rows
    for tag in (_STRIP_OFFSETS, _STRIP_BYTES):
        directory.tagtype[tag] = 4  # 32 bits
    # Counted from the end of the directory: its writer adds where that is.
    directory[_STRIP_OFFSETS] = tuple(_running_sum(lengths))
    directory[_STRIP_BYTES] = tuple(lengths)
    buffer = io.BytesIO()
    directory.save(buffer)
    for strip in strips:
        buffer.write(strip)
    return buffer.getvalue(), notes


def _compress(rows: npt.NDArray[np.uint8]) -> bytes:
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]  # modulo 256
    return zlib.compress(differences.tobytes(), _LEVEL)


def _running_sum(lengths: Iterable[int]) -> list[int]:
    offsets, total = [], 0
    for length in lengths:
        offsets.append(total)
        total += length
    return offsets


def _copy_tags(exif: bytes, directory: ImageFileDirectory_v2) -> tuple[str, ...]:
    """Copy the tags that the writer of directories can pack; return a note if some are lost."""
    lost = 0
    for tag, value in list_tags(exif).items():
        if isinstance(value, dict):
            kept = {key: part for key, part in value.items() if _can_pack({key: part}, tag)}
            lost += len(value) - len(kept)
            if kept:
                directory.tagtype[tag] = 4
                directory[tag] = kept
        elif _can_pack({tag: value}, None):
            directory[tag] = value
        else:
            lost += 1
    return (f"TIFF cannot hold {lost} of the EXIF tags: left out",) if lost else ()


def _can_pack(tags: dict[int, Any], group: int | None) -> bool:
    try:
        directory = ImageFileDirectory_v2(prefix=b"II", group=group)
        for tag, value in tags.items():
            if isinstance(value, dict):
                directory.tagtype[tag] = 4
            directory[tag] = value
        directory.tobytes(8)
    except Exception:  # damaged tags raise many types
        return False
    return True
