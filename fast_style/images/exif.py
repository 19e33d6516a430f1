"""EXIF and resolution: read the orientation, and copy what is still valid in the output."""

from __future__ import annotations

import math
from typing import Any

from PIL import Image

__all__ = [
    "HISTORY_MARK",
    "add_exif_resolution",
    "add_history",
    "list_tags",
    "read_exif",
    "read_history",
    "read_resolution",
    "remove_location",
    "update_exif_size",
]

_ORIENTATION = 0x0112
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_INCH, _CENTIMETRE = 2, 3
_EXIF_IFD = 0x8769
_GPS_IFD = 0x8825
_INTEROP_IFD = 0xA005
_MAKER_NOTE = 0x927C
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_IMAGE_HISTORY = 0x9213

HISTORY_MARK = "fast-style "
"""How this package's own entries in ImageHistory begin; see `images.provenance`."""

# Tags that describe how pixels are stored in the file they were read from. In the output they would
# be wrong, and break a TIFF. The thumbnail (IFD1) shows the old picture and is not copied either.
_ABOUT_THE_OLD_FILE = frozenset(
    (
        _ORIENTATION,
        *range(0x00FE, 0x010D),  # subfile type, size, bits, compression, photometric, fill order
        *range(0x0111, 0x011A),  # strips, samples per pixel, minimum and maximum
        *(0x011C, 0x0120, 0x0121, 0x0122, 0x0123, 0x0124, 0x0125, 0x0129),
        *(0x012D, 0x013D, 0x013E, 0x013F, 0x0140, 0x0141),  # transfer, predictor, colour map
        *range(0x0142, 0x0154),  # tiles, sub-IFDs, inks, extra samples, sample format
        *(0x0155, 0x0156, 0x015B),  # JPEG tables
        *range(0x0200, 0x020A),  # old-style JPEG, thumbnail
        *range(0x0211, 0x0215),  # YCbCr
        *(0x02BC, 0x83BB, 0x8649, 0x8773, 0x935C),  # XMP, IPTC, Photoshop, ICC: not EXIF
        *(0xC4A5, 0xC612, 0xC613, 0xC61A, 0xC61D),  # PrintIM, DNG
    )
)


def read_exif(image: Image.Image) -> tuple[int, bytes | None, tuple[str, ...]]:
    r"""Read the orientation, and the EXIF tags that may be copied into another file.

    Args:
        image: A loaded image. (Pillow rotates a TIFF when it loads it, and removes the tag.)

    Returns:
        The orientation, 1 to 8; the EXIF block without orientation, thumbnail and the tags that
        describe the old file, beginning with ``Exif\0\0``, or None if no tags are left; notes.
    """
    orientation = 1
    try:
        source = image.getexif()
        found = source.get(_ORIENTATION, 1)
        if isinstance(found, int) and 1 <= found <= 8:
            orientation = found
        tags = _collect(source)
        for tag in _ABOUT_THE_OLD_FILE & set(tags):
            del tags[tag]
        _drop_history(tags)
    except Exception:  # damaged EXIF raises many types
        return orientation, None, ("the EXIF data is damaged: left out",)
    return orientation, *_pack(tags)


def update_exif_size(exif: bytes, width: int, height: int) -> bytes | None:
    r"""Update the pixel dimensions in an EXIF block.

    Args:
        exif: An EXIF block, with or without its leading ``Exif\0\0``.
        width: Width of the output picture, in pixels.
        height: Height of the output picture, in pixels.

    Returns:
        The new block, or None if the given one cannot be parsed.
    """
    try:
        tags = list_tags(exif)
        camera = tags.get(_EXIF_IFD, {})
        if camera.get(_PIXEL_WIDTH, width) == width and camera.get(_PIXEL_HEIGHT, height) == height:
            return exif
        tags[_EXIF_IFD] = {**camera, _PIXEL_WIDTH: width, _PIXEL_HEIGHT: height}
        return _pack(tags)[0]
    except Exception:
        return None


def list_tags(exif: bytes) -> dict[int, Any]:
    r"""List the tags of an EXIF block; nested directories are dictionaries.

    Args:
        exif: An EXIF block, with or without its leading ``Exif\0\0``.

    Raises:
        Exception: Any of many types, if it cannot be parsed.
    """
    block = Image.Exif()
    block.load(exif)
    return _collect(block)


def remove_location(exif: bytes) -> bytes | None:
    r"""Remove where a photo was taken from an EXIF block.

    The maker's note goes too: its format is the maker's secret, and some write the place into it.

    Args:
        exif: An EXIF block, with or without its leading ``Exif\0\0``.

    Returns:
        The new block, or None if no tags are left or the given one cannot be parsed.
    """
    try:
        tags = list_tags(exif)
        tags.pop(_GPS_IFD, None)
        if _EXIF_IFD in tags:
            tags[_EXIF_IFD].pop(_MAKER_NOTE, None)
        return _pack(tags)[0]
    except Exception:
        return None


def read_resolution(image: Image.Image) -> tuple[float, float] | None:
    """Read how densely a picture is to be printed.

    Args:
        image: An image from a file.

    Returns:
        Dots per inch, across and down; None if the file does not say.
    """
    try:
        found = image.info.get("dpi")
        if found is None and image.format in ("WEBP", "AVIF", "HEIF", "JXL"):
            tags = image.getexif()
            scale = {_INCH: 1.0, _CENTIMETRE: 2.54}[tags.get(_RESOLUTION_UNIT, _INCH)]
            found = tags[_X_RESOLUTION] * scale, tags[_Y_RESOLUTION] * scale
        across, down = (float(value) for value in found)  # type: ignore[union-attr]
    except Exception:  # it is missing, or damaged in any of many ways
        return None
    # Pillow says 1 where a JPEG only says that its pixels are square.
    if not all(math.isfinite(value) and 1 < value < 65536 for value in (across, down)):
        return None
    return across, down


def add_exif_resolution(exif: bytes | None, dpi: tuple[float, float]) -> bytes | None:
    r"""Add the resolution to an EXIF block, for formats that have no other place for it.

    Args:
        exif: An EXIF block, with or without its leading ``Exif\0\0``, or None.
        dpi: Dots per inch, across and down.

    Returns:
        The new block, or the given one if it cannot be parsed.
    """
    try:
        tags = {} if exif is None else list_tags(exif)
        tags |= {_X_RESOLUTION: dpi[0], _Y_RESOLUTION: dpi[1], _RESOLUTION_UNIT: _INCH}
        return _pack(tags)[0]
    except Exception:
        return exif


def add_history(exif: bytes | None, text: str) -> bytes | None:
    r"""Set the tag ImageHistory in an EXIF block.

    Args:
        exif: An EXIF block, with or without its leading ``Exif\0\0``, or None.
        text: What to write, in ASCII.

    Returns:
        The new block, or the given one if it cannot be parsed.
    """
    try:
        tags = {} if exif is None else list_tags(exif)
        tags[_EXIF_IFD] = {**tags.get(_EXIF_IFD, {}), _IMAGE_HISTORY: text}
        return _pack(tags)[0]
    except Exception:
        return exif


def read_history(image: Image.Image) -> str | None:
    """Read what this package has written into ImageHistory; None if it has not."""
    try:
        found = image.getexif().get_ifd(_EXIF_IFD).get(_IMAGE_HISTORY)
    except Exception:  # damaged EXIF raises many types
        return None
    return found if isinstance(found, str) and found.startswith(HISTORY_MARK) else None


def _drop_history(tags: dict[int, Any]) -> None:
    """Remove how an earlier picture was made: it does not hold for the next one."""
    camera = tags.get(_EXIF_IFD, {})
    if str(camera.get(_IMAGE_HISTORY, "")).startswith(HISTORY_MARK):
        del camera[_IMAGE_HISTORY]
        if not camera:
            del tags[_EXIF_IFD]


def _collect(source: Image.Exif) -> dict[int, Any]:
    tags: dict[int, Any] = dict(source)
    for ifd in (_EXIF_IFD, _GPS_IFD):
        if ifd in tags:
            tags[ifd] = dict(source.get_ifd(ifd))
    if _INTEROP_IFD in tags.get(_EXIF_IFD, {}):
        tags[_EXIF_IFD][_INTEROP_IFD] = dict(source.get_ifd(_INTEROP_IFD))
    return tags


def _pack(tags: dict[int, Any]) -> tuple[bytes | None, tuple[str, ...]]:
    if not tags:
        return None, ()
    try:
        return _build_block(tags), ()
    except Exception:
        # Keep the other tags, such as date and place, if one has the wrong type.
        good = {
            tag: {t: v for t, v in value.items() if _can_pack(tag, {t: v})}
            if isinstance(value, dict)
            else value
            for tag, value in tags.items()
            if isinstance(value, dict) or _can_pack(tag, value)
        }
        note = "some EXIF tags are damaged: left out"
        return (_build_block(good) if good else None), (note,)


def _can_pack(tag: int, value: Any) -> bool:
    try:
        return bool(_build_block({tag: value}))
    except Exception:
        return False


def _build_block(tags: dict[int, Any]) -> bytes:
    block = Image.Exif()
    for tag, value in tags.items():
        block[tag] = value
    return block.tobytes()
