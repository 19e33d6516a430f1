"""Encode pictures and write them to files: formats, settings, atomic writing."""

from __future__ import annotations

import importlib.util
import io
import os
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fast_style.errors import ImageError, ImageWriteError, UsageError
from fast_style.images.decoding import silence_pillow
from fast_style.images.exif import add_exif_resolution, add_history, update_exif_size
from fast_style.images.icc import build_srgb_to_profile
from fast_style.images.photo import Photo, Pixels, to_pil
from fast_style.storage.atomic_write import replace_file

__all__ = [
    "WRITABLE_SUFFIXES",
    "encode_image",
    "format_from_suffix",
    "keeps_exif",
    "suffix_for",
    "write_image",
]


@dataclass(frozen=True, slots=True)
class _Format:
    """What a format can hold, and the settings it is written with."""

    suffixes: tuple[str, ...]  # new files get the first one
    max_side: int
    title: str
    settings: dict[str, Any] = field(default_factory=dict)
    quality: int | None = None
    has_alpha: bool = True
    has_metadata: bool = True
    has_dpi: bool = True  # outside EXIF


# No chroma subsampling: stylized pictures consist of fine coloured strokes.
_FORMATS = {
    "JPEG": _Format(
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        65500,  # libjpeg's JPEG_MAX_DIMENSION; the file format itself would allow 65535
        "JPEG",
        {"subsampling": "4:4:4"},
        quality=95,
        has_alpha=False,
    ),
    # On photos, level 4 takes half the time of zlib's default 6, for a few per cent more bytes.
    "PNG": _Format((".png",), 2**31 - 1, "PNG", {"compress_level": 4}),
    "WEBP": _Format((".webp",), 16383, "WebP", {"method": 4}, quality=90, has_dpi=False),
    "TIFF": _Format((".tif", ".tiff"), 2**31 - 1, "TIFF"),
    "BMP": _Format((".bmp",), 2**31 - 1, "BMP", has_alpha=False, has_metadata=False),
}
if importlib.util.find_spec("PIL._avif") is not None:
    _FORMATS["AVIF"] = _Format(
        (".avif",),
        65536,
        "AVIF",
        {"subsampling": "4:4:4", "speed": 8},
        quality=85,
        has_dpi=False,
    )
if importlib.util.find_spec("pillow_heif") is not None:
    _FORMATS["HEIF"] = _Format(
        (".heic", ".heif", ".hif"), 16384, "HEIC", {"chroma": 444}, quality=85, has_dpi=False
    )
_BY_SUFFIX = {suffix: name for name, known in _FORMATS.items() for suffix in known.suffixes}

#: The suffixes, in lower case, of the formats that `write_image` writes.
WRITABLE_SUFFIXES: frozenset[str] = frozenset(_BY_SUFFIX)

_MAX_JPEG_EXIF = 65533
_MAX_JPEG_PROFILE = 255 * 65519  # a profile is split into at most 255 segments
_BAND_PIXELS = 1 << 18


def format_from_suffix(path: str | os.PathLike[str]) -> str:
    """Return the format that the suffix of a file name stands for.

    Args:
        path: The file's name or path.

    Returns:
        Pillow's name of the format, such as "JPEG".

    Raises:
        ImageWriteError: If there is no suffix, or it is of no format that is written.
    """
    suffix = Path(path).suffix.lower()
    try:
        return _BY_SUFFIX[suffix]
    except KeyError:
        seen = f"the suffix {suffix}" if suffix else "no suffix"
        raise ImageWriteError(
            f"{os.fspath(path)} has {seen}; expected one of {_known_suffixes()}"
        ) from None


def suffix_for(format: str | None) -> str:
    """Return the suffix that an output file should have.

    Args:
        format: Pillow's name of a format, as in `Photo.format`, in either case.

    Returns:
        The suffix with its dot, in lower case: that of the format, or ".png" for None and for
        formats that are read but not written (such as GIF, which has 256 colours).
    """
    known = _FORMATS.get((format or "").upper())
    return known.suffixes[0] if known else ".png"


def keeps_exif(path: str | os.PathLike[str]) -> bool:
    """Return whether the format of a file's suffix holds EXIF data, and is written."""
    name = _BY_SUFFIX.get(Path(path).suffix.lower())
    return name is not None and _FORMATS[name].has_metadata


def encode_image(
    photo: Photo, *, format: str, quality: int | None = None, history: str | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """Encode a picture into the bytes of a file.

    The pixels are converted back to the photo's colour profile, which is embedded; EXIF and
    the resolution are copied.

    Args:
        photo: The picture, which is not changed.
        format: "JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF" (if Pillow has it) or "HEIF" (with the
            extra `heif`), in either case.
        quality: 1 to 100, for JPEG (95 if None), WebP (90), AVIF (85) and HEIC (85). Lossless
            formats ignore it.
        history: How the picture was made, in ASCII: written into the EXIF tag ImageHistory, if the
            format holds EXIF.

    Returns:
        The bytes, and messages for the user about what the format could not hold.

    Raises:
        UsageError: If quality is not an integer from 1 to 100.
        ImageWriteError: If the format is not known or cannot hold a picture of that size, or if
            encoding fails.
    """
    name, known = _find_format(format)
    if quality is not None and not (isinstance(quality, Integral) and 1 <= quality <= 100):
        raise UsageError(f"quality must be an integer from 1 to 100, and {quality!r} was given")
    if max(photo.width, photo.height) > known.max_side:
        raise ImageWriteError(
            f"{known.title} holds at most {known.max_side} pixels a side, and the picture has "
            f"{photo.width}x{photo.height}: make it smaller, or write PNG or TIFF"
        )
    settings = dict(known.settings)
    if known.quality is not None:
        settings["quality"] = known.quality if quality is None else int(quality)
    try:
        with silence_pillow():
            return _encode(photo, name, known, settings, history)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageWriteError(
            f"there is not enough memory to write {photo.width}x{photo.height} pixels as "
            f"{known.title}: make the picture smaller"
        ) from error
    except Exception as error:
        raise ImageWriteError(
            f"{known.title} could not be written ({error or type(error).__name__}): try PNG"
        ) from error


def write_image(
    photo: Photo,
    destination: str | os.PathLike[str],
    *,
    format: str | None = None,
    quality: int | None = None,
    history: str | None = None,
) -> tuple[str, ...]:
    """Write a picture to a file, atomically.

    The bytes are written to a temporary file in the same folder, which is then renamed. A new file
    gets the permissions that ``open`` would give it, an existing one keeps its own; of a symbolic
    link, the target is replaced. Folders are not created.

    Args:
        photo: The picture, which is not changed.
        destination: Path of the file, which is replaced if it exists.
        format: As in `encode_image`; that of the suffix if None.
        quality: As in `encode_image`.
        history: As in `encode_image`.

    Returns:
        Messages for the user, as in `encode_image`.

    Raises:
        UsageError: If quality is not an integer from 1 to 100.
        ImageWriteError: If the suffix or format is not known, the format cannot hold a picture of
            that size, or the file cannot be written; it states the path and the reason.
    """
    shown = os.fsdecode(destination)
    format = format or format_from_suffix(destination)
    data, notes = encode_image(photo, format=format, quality=quality, history=history)
    try:
        replace_file(Path(destination), data)
    except OSError as error:
        raise ImageWriteError(f"{shown} could not be written: {_explain(error)}") from error
    except ValueError as error:  # a null character in the path
        raise ImageWriteError(f"{shown!r} could not be written: {error}") from error
    return notes


def _encode(
    photo: Photo, name: str, known: _Format, settings: dict[str, Any], history: str | None
) -> tuple[bytes, tuple[str, ...]]:
    notes: list[str] = []
    if photo.alpha is not None and not known.has_alpha:
        notes.append(f"{known.title} has no transparency: put on white")
        flat = _flatten_on_white(photo.pixels, photo.alpha)
        photo = replace(photo, pixels=flat, alpha=None)
    image = to_pil(photo)
    image, profile, note = _choose_profile(image, photo.icc_profile, name, known)
    notes += note
    exif, note = _choose_exif(photo, name, known)
    notes += note
    if history is not None and known.has_metadata:
        exif = add_history(exif, history)
    if name == "TIFF":
        from fast_style.images.tiff_writing import encode_tiff

        data, note = encode_tiff(image, exif=exif, icc_profile=profile, dpi=photo.dpi)
        return data, (*notes, *note)
    if profile is not None:
        settings["icc_profile"] = profile
    if exif is not None:
        settings["exif"] = exif
    if photo.dpi is not None and known.has_dpi:
        settings["dpi"] = photo.dpi
    buffer = io.BytesIO()
    if name == "HEIF":
        from pillow_heif import from_pillow  # without registering it with Pillow, for all users

        from_pillow(image).save(buffer, **settings)
    else:
        image.save(buffer, name, **settings)
    return buffer.getvalue(), tuple(notes)


def _choose_profile(
    image: Image.Image, profile: bytes | None, name: str, known: _Format
) -> tuple[Image.Image, bytes | None, tuple[str, ...]]:
    """Convert to the profile that is embedded; return the image, the profile and notes."""
    if profile is None:
        return image, None, ()
    if not known.has_metadata or (name == "JPEG" and len(profile) > _MAX_JPEG_PROFILE):
        note = f"{known.title} cannot hold the colour profile: written as sRGB"
        return image, None, (note,)
    image, problem = _convert_to_profile(image, profile)
    return (image, profile, ()) if problem is None else (image, None, (problem,))


def _choose_exif(photo: Photo, name: str, known: _Format) -> tuple[bytes | None, tuple[str, ...]]:
    """Return the EXIF block to write, and notes on what is left out."""
    exif = photo.exif
    notes: tuple[str, ...] = ()
    if exif is not None:
        exif = update_exif_size(exif, photo.width, photo.height)
        if not known.has_metadata:
            exif, notes = None, (f"{known.title} cannot hold EXIF data: left out",)
        elif exif is None:
            notes = ("the EXIF data is damaged: left out",)
        elif name == "JPEG" and len(exif) > _MAX_JPEG_EXIF:
            size = f"{len(exif):,} bytes, more than JPEG can hold"
            exif, notes = None, (f"the EXIF data has {size}: left out",)
    if photo.dpi is not None and known.has_metadata and not known.has_dpi:
        exif = add_exif_resolution(exif, photo.dpi)
    return exif, notes


def _convert_to_profile(image: Image.Image, profile: bytes) -> tuple[Image.Image, str | None]:
    try:
        transform = build_srgb_to_profile(profile)
    except Exception:  # only a profile set by the caller: read_image checks those of files
        return image, "the colour profile is broken: written as sRGB"
    if transform is None:
        return image, None
    if image.mode == "RGB":
        transform.apply_in_place(image)
        return image, None
    alpha = image.getchannel("A")
    image = image.convert("RGB")
    transform.apply_in_place(image)
    image.putalpha(alpha)
    return image, None


def _flatten_on_white(pixels: Pixels, alpha: Pixels) -> Pixels:
    result = np.empty_like(pixels, order="C")
    step = max(1, _BAND_PIXELS // pixels.shape[1])
    for top in range(0, pixels.shape[0], step):
        rows = slice(top, top + step)
        # 255 - (255 - p) * a / 255, to nearest; (255 - p) * a is at most 65025, inside uint16.
        distance = (255 - pixels[rows]).astype(np.uint16)
        distance *= alpha[rows, :, None]
        distance += 127
        distance //= 255
        result[rows] = 255 - distance
    return result


def _find_format(format: str) -> tuple[str, _Format]:
    name = str(format).upper()
    name = {"JPG": "JPEG", "TIF": "TIFF", "MPO": "JPEG", "HEIC": "HEIF"}.get(name, name)
    known = _FORMATS.get(name)
    if known is None:
        raise ImageWriteError(
            f"{format} is not a format that is written: use one of {', '.join(sorted(_FORMATS))}"
        )
    return name, known


def _known_suffixes() -> str:
    return ", ".join(sorted(WRITABLE_SUFFIXES))


def _explain(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such folder"
    return (error.strerror or str(error)).strip()
