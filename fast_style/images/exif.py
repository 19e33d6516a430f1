"""EXIF: read the orientation, and copy the metadata that is still valid in the output."""

from __future__ import annotations

from typing import Any

from PIL import Image

__all__ = ["read_exif", "update_exif_size"]

_ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
_GPS_IFD = 0x8825
_INTEROP_IFD = 0xA005
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003

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
        tags = {tag: source[tag] for tag in source if tag not in _ABOUT_THE_OLD_FILE}
        for ifd in (_EXIF_IFD, _GPS_IFD):
            if ifd in tags:
                tags[ifd] = dict(source.get_ifd(ifd))
        if _INTEROP_IFD in tags.get(_EXIF_IFD, {}):
            tags[_EXIF_IFD][_INTEROP_IFD] = dict(source.get_ifd(_INTEROP_IFD))
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
        block = Image.Exif()
        block.load(exif)
        camera = block.get_ifd(_EXIF_IFD)
        if camera.get(_PIXEL_WIDTH, width) == width and camera.get(_PIXEL_HEIGHT, height) == height:
            return exif
        tags: dict[int, Any] = {tag: block[tag] for tag in block}
        tags[_EXIF_IFD] = {**camera, _PIXEL_WIDTH: width, _PIXEL_HEIGHT: height}
        if _INTEROP_IFD in camera:
            tags[_EXIF_IFD][_INTEROP_IFD] = dict(block.get_ifd(_INTEROP_IFD))
        if _GPS_IFD in tags:
            tags[_GPS_IFD] = dict(block.get_ifd(_GPS_IFD))
        return _pack(tags)[0]
    except Exception:
        return None


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
