"""Decode with other libraries what Pillow gets wrong without a word, or not at all.

Pillow has no pixels of more than 8 bits for several channels. It reads some such files as noise, as
a negative or as nearly black. They are recognized by their headers here, and decoded by tifffile
(TIFF) and imagecodecs (JPEG 2000), which the extra `codecs` installs; without it they are refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from fast_style.errors import UnreadableImageError
from fast_style.images.decoding import check_size
from fast_style.images.modes import find_sample_range, to_eight_bits
from fast_style.storage.hardware import installed

__all__ = ["OtherPicture", "decode_otherwise", "has_unsigned_samples", "pillow_errs"]

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _SEPARATED = 0, 1, 2, 5
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 0x0102, 0x0103, 0x0106, 0x0115, 0x011C
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 0x0152, 0x0153
_ORIENTATION, _ICC_PROFILE = 0x0112, 0x8773
_SEPARATE, _UNSIGNED, _SIGNED, _FLOAT = 2, 1, 2, 3
_PREMULTIPLIED, _STRAIGHT = 1, 2
_SIZ = b"\xff\x4f\xff\x51"
_SUBSAMPLINGS = ((), ((1, 1),), *(((x, y),) * 2 for x, y in ((1, 1), (2, 1), (2, 2))))
_HEADER = 1 << 16  # bytes in which a JPEG 2000 codestream begins, after its boxes


@dataclass(frozen=True, slots=True)
class OtherPicture:
    """A picture decoded by another library.

    Attributes:
        image: Its pixels, of mode "L", "LA", "RGB", "RGBA" or "CMYK", as stored.
        orientation: EXIF orientation, 1 to 8.
        profile: ICC profile, or None.
        notes: Messages for the user.
    """

    image: Image.Image
    orientation: int = 1
    profile: bytes | None = None
    notes: tuple[str, ...] = ()


def pillow_errs(image: ImageFile.ImageFile, stream: BinaryIO) -> bool:
    """Return whether Pillow would decode other pixels than the file holds.

    Args:
        image: From `open_picture`, not loaded.
        stream: Its file; the position is kept.
    """
    if image.format == "TIFF":
        return _tiff_errs(image)
    if image.format != "JPEG2000":
        return False
    position = stream.tell()
    stream.seek(0)
    header = stream.read(_HEADER)
    stream.seek(position)
    components = _read_components(header)
    if components is None:
        return False
    boxes = header[: header.index(_SIZ)]
    plain = all(bits == 8 and step == (1, 1) for bits, step in components)
    deep_gray = len(components) == 1 and 8 < components[0][0] <= 16
    return not (plain or deep_gray) or b"pclr" in boxes


def has_unsigned_samples(image: Image.Image) -> bool:
    """Return whether an image of mode "I" holds unsigned samples, which that mode takes as signed.

    Args:
        image: Any image.
    """
    if image.mode != "I" or image.format != "TIFF":
        return False
    tags: Any = getattr(image, "tag_v2", {})
    return _as_tuple(tags.get(_SAMPLE_FORMAT, 1)) == (_UNSIGNED,) and 32 in _as_tuple(
        tags.get(_BITS, 1)
    )


def _tiff_errs(image: ImageFile.ImageFile) -> bool:
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    bits, samples = max(tags.get(_BITS, (1,))), tags.get(_SAMPLES, 1)
    formats, packed = _as_tuple(tags.get(_SAMPLE_FORMAT, 1)), tags.get(_COMPRESSION, 1) != 1
    signed = _SIGNED in formats
    if bits > 8 and samples == 1:
        # Signed 32-bit samples are those of mode "I".
        swapped = _FLOAT in formats and packed and tags.prefix == b"MM"  # twice
        return tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO or (signed and bits < 32) or swapped
    if signed:
        return True
    if tags.get(_PLANAR, 1) != _SEPARATE or samples < 2:
        return False
    gray = tags.get(_PHOTOMETRIC) in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
    return gray or (bits > 8 and not packed)


def decode_otherwise(
    stream: BinaryIO, kind: str, name: str, max_megapixels: float
) -> OtherPicture | None:
    """Decode a picture with another library than Pillow.

    Args:
        stream: The file.
        kind: "TIFF" or "JPEG2000".
        name: What to call the picture in messages.
        max_megapixels: The limit, in millions of pixels.

    Returns:
        The picture; None if the libraries are not installed.

    Raises:
        UnreadableImageError: If it is of a variety that is not supported.
        ImageTooLargeError: If its header claims more pixels than the limit.
        Exception: Any of many types, if the data is damaged.
    """
    if not (installed("imagecodecs") and installed("tifffile")):
        return None
    stream.seek(0)
    if kind == "TIFF":
        other = _decode_tiff(stream, name, max_megapixels)
    else:
        other = _decode_jpeg2000(stream.read(), name, max_megapixels)
    other.image.format = kind
    return other


def _decode_tiff(stream: BinaryIO, name: str, max_megapixels: float) -> OtherPicture:
    import tifffile

    with tifffile.TiffFile(stream) as file:
        page: Any = file.pages[0]
        check_size(page.imagewidth, page.imagelength, name, max_megapixels)
        photometric, samples = int(page.photometric), int(page.samplesperpixel)
        colors = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _SEPARATED: 4}.get(photometric)
        if not page.imagewidth * page.imagelength:
            raise UnreadableImageError(f"{name} has no pixels")
        if colors is None or samples < colors or getattr(page, "imagedepth", 1) != 1:
            raise UnreadableImageError(
                f"{name} is a TIFF of a variety that is not supported ({samples} samples of "
                f"{page.bitspersample} bits): convert it to 8-bit RGB"
            )
        array = np.asarray(page.asarray())
        if samples > 1 and int(page.planarconfig) == _SEPARATE:
            array = np.moveaxis(array, 0, -1)
        array = array.reshape(page.imagelength, page.imagewidth, samples)
        extra = [int(kind) for kind in _as_tuple(page.extrasamples)]
        orientation, profile = (
            page.tags[tag].value if tag in page.tags else None
            for tag in (_ORIENTATION, _ICC_PROFILE)
        )
        white = float(2**page.bitspersample - 1) if array.dtype.kind == "u" else None
    opacity = extra[0] if extra and extra[0] in (_PREMULTIPLIED, _STRAIGHT) else None
    count = colors + (opacity is not None and colors < 4)
    premultiplied = opacity == _PREMULTIPLIED
    image, notes = _to_image(array[..., :count], white, photometric, premultiplied)
    return OtherPicture(
        image,
        orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,
        profile if isinstance(profile, bytes) else None,
        notes,
    )


def _decode_jpeg2000(data: bytes, name: str, max_megapixels: float) -> OtherPicture:
    import imagecodecs

    components = _read_components(data[:_HEADER])
    if (
        components is None
        or len({bits for bits, _ in components}) > 1
        or tuple(steps for _, steps in components[1:3]) not in _SUBSAMPLINGS
        or components[0][1] != (1, 1)
    ):
        raise UnreadableImageError(
            f"{name} is a JPEG 2000 picture of a variety that is not supported: convert it to PNG"
        )
    array = np.asarray(imagecodecs.jpeg2k_decode(data))
    array = array[..., None] if array.ndim == 2 else array
    check_size(array.shape[1], array.shape[0], name, max_megapixels)
    if array.ndim != 3 or array.shape[2] > 4:
        raise UnreadableImageError(
            f"{name} is a JPEG 2000 picture with {array.shape[-1]} channels, and up to 4 are "
            "supported: convert it to PNG"
        )
    # A palette has its own depth, which openjpeg has applied.
    paletted = array.shape[2] > len(components)
    white = 255.0 if paletted else float(2 ** components[0][0] - 1)
    image, notes = _to_image(array, None if array.dtype.kind == "i" else white)
    return OtherPicture(image, notes=notes)


def _read_components(header: bytes) -> list[tuple[int, tuple[int, int]]] | None:
    """Read bits and sampling steps of each component of a JPEG 2000 codestream, from its SIZ."""
    start = header.find(_SIZ)
    try:
        (count,) = struct.unpack_from(">H", header, start + 40)
        fields = [struct.unpack_from(">BBB", header, start + 42 + 3 * i) for i in range(count)]
    except struct.error:
        return None
    if start < 0:
        return None
    # The highest bit says that samples are signed: such a component has none of the usual depths.
    return [((depth & 0x7F) + 1 + (depth & 0x80), (x, y)) for depth, x, y in fields]


def _to_image(
    array: npt.NDArray[Any],
    white: float | None,
    photometric: int = _BLACK_IS_ZERO,
    premultiplied: bool = False,
) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert samples of any type, (H, W, 1 to 4), to an 8-bit image.

    Args:
        array: The samples, straight from the file.
        white: The sample that is white; None if it is to be found: 1 for floats in [0, 1], else the
            range of the samples is stretched.
        photometric: TIFF's number of the kind of colours.
        premultiplied: Whether the last channel is opacity that the others are multiplied by.
    """
    notes: tuple[str, ...] = ()
    low, high = 0.0, white
    if high is None:
        normal = 1.0 if array.dtype.kind == "f" else None
        low, high, notes = find_sample_range(float(array.min()), float(array.max()), normal)
    if premultiplied:
        opacity = np.maximum(array[..., -1:].astype(np.float64), 1e-9)
        array = np.concatenate(
            [array[..., :-1] / opacity * (high or 1.0), array[..., -1:]], axis=-1
        )
    eight = to_eight_bits(array, low, float(high))
    if photometric == _WHITE_IS_ZERO:
        eight[..., 0] = 255 - eight[..., 0]
    if photometric == _SEPARATED:
        return Image.frombytes("CMYK", (eight.shape[1], eight.shape[0]), eight.tobytes()), notes
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[eight.shape[2]]
    return Image.frombytes(mode, (eight.shape[1], eight.shape[0]), eight.tobytes()), notes


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)
