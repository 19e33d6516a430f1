"""Open and save pictures: the module through which the rest of the package does it.

::

    photo = read_image("photo.jpg")
    write_image(photo.with_pixels(stylize(photo.pixels)), "stylized.jpg")

`photo` holds the picture, `decoding` opens untrusted files, `modes` converts any mode to 8-bit RGB,
`icc` and `exif` handle colour profiles and metadata, `encoding` writes files, `resampling` resizes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from fast_style.errors import UnreadableImageError, UsageError
from fast_style.images.decoding import (
    check_size,
    decode,
    explain_decoder_errors,
    open_picture,
)
from fast_style.images.encoding import (
    WRITABLE_SUFFIXES,
    encode_image,
    format_from_suffix,
    keeps_exif,
    suffix_for,
    write_image,
)
from fast_style.images.exif import read_exif, read_resolution
from fast_style.images.formats import detect_format
from fast_style.images.icc import choose_conversion
from fast_style.images.modes import array_to_rgb, image_to_rgb, read_sample_range
from fast_style.images.other_decoders import decode_otherwise, has_unsigned_samples, pillow_errs
from fast_style.images.photo import Photo, to_pil
from fast_style.images.resampling import resize_long_side, resize_to
from fast_style.images.tensors import is_tensor, tensor_to_array
from fast_style.options import DEFAULT_MAX_MEGAPIXELS

__all__ = [
    "DEFAULT_MAX_MEGAPIXELS",
    "READABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "ImageSource",
    "Photo",
    "encode_image",
    "format_from_suffix",
    "keeps_exif",
    "read_image",
    "resize_long_side",
    "resize_to",
    "suffix_for",
    "to_pil",
    "write_image",
]

#: What `read_image` takes: a path, the bytes of a file, a binary stream, a Pillow image, an array;
#: also a torch tensor, (C, H, W), which is not named here since torch may not be installed.
ImageSource = str | os.PathLike[str] | bytes | bytearray | BinaryIO | Image.Image | npt.NDArray[Any]

#: The suffixes, in lower case, of the files in a folder that are taken for pictures. (The format is
#: detected by a file's first bytes; the suffix only saves opening every file of a folder.)
READABLE_SUFFIXES: frozenset[str] = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".gif", ".qoi")
    + (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm")
    # Found without importing them: they are shared libraries of some megabytes.
    + ((".webp",) if importlib.util.find_spec("PIL._webp") else ())
    + ((".avif",) if importlib.util.find_spec("PIL._avif") else ())
    + ((".heic", ".heif", ".hif") if importlib.util.find_spec("pillow_heif") else ())
    + ((".jxl",) if importlib.util.find_spec("pillow_jxl") else ())
)


def read_image(
    source: ImageSource,
    *,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    name: str | None = None,
    at_least: int | None = None,
) -> Photo:
    """Read a picture as 8-bit sRGB.

    The picture is rotated as its EXIF (or XMP) orientation says. Pixels of another colour profile
    are converted to sRGB; an RGB profile is kept for the output. 16-bit samples are scaled to 8
    bits; `modes.image_to_rgb` describes 32-bit integer and float TIFFs. Of an animation or a
    multi-page file, the first picture is read. Beside what the decoder needs, memory is that of
    the result.

    Args:
        source: A path; the bytes of a file; a binary stream (read from its beginning if it can
            seek, and left open); a Pillow image (its current frame, not changed); or an array of
            shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), sRGB, of type uint8, uint16, bool, or
            float in [0, 1]. A torch tensor has its channels first, as torch has them: (C, H, W).
        max_megapixels: Pictures whose header claims more than this many million pixels are refused
            before they are decoded; ``math.inf`` accepts all.
        name: What to call the picture in messages; the path if None.
        at_least: Decode a JPEG to a half, a quarter or an eighth of its size, as long as both sides
            keep this many pixels; this is several times faster. With None, and for other formats,
            the full size is decoded.

    Returns:
        The picture. It shares the memory of a uint8 array of shape (H, W, 3).

    Raises:
        UnreadableImageError: If the file does not exist, cannot be opened, is no picture, is
            damaged or cut off; or if an array has another shape, type or range.
        ImageTooLargeError: If there are more pixels than the limit.
        UsageError: If source is none of these types, or max_megapixels is not positive.
    """
    if not (isinstance(max_megapixels, Real) and max_megapixels > 0):
        raise UsageError(f"max_megapixels must be more than 0, and {max_megapixels!r} was given")
    if is_tensor(source):
        source, name = tensor_to_array(source, name or "the tensor"), name or "the tensor"
    if isinstance(source, np.ndarray | Image.Image):
        return _from_memory(source, name, max_megapixels)
    if isinstance(source, bytes | bytearray):
        return _from_stream(io.BytesIO(source), name or "the picture", max_megapixels, at_least)
    if isinstance(source, str | os.PathLike):
        return _from_path(source, name or os.fsdecode(source), max_megapixels, at_least)
    if not hasattr(source, "read"):
        raise UsageError(
            "a picture must be a path, bytes, a binary stream, a Pillow image, an array or a "
            f"tensor, and {type(source).__name__} was given"
        )
    given = getattr(source, "name", None)
    name = name or (given if isinstance(given, str) else "the picture")
    return _from_stream(source, name, max_megapixels, at_least)


def _from_memory(
    source: npt.NDArray[Any] | Image.Image, name: str | None, max_megapixels: float
) -> Photo:
    if isinstance(source, np.ndarray):
        name = name or "the array"
        if source.ndim >= 2:
            check_size(source.shape[1], source.shape[0], name, max_megapixels)
        return Photo(*array_to_rgb(source, name))
    name = name or os.fsdecode(getattr(source, "filename", "") or "the image")
    check_size(*source.size, name, max_megapixels)
    with explain_decoder_errors(name, source.format or "image"):
        return _decode_photo(source, name, None)


def _from_path(
    path: str | os.PathLike[str], name: str, max_megapixels: float, at_least: int | None
) -> Photo:
    try:
        if Path(path).is_dir():  # Windows would call this "permission denied"
            raise UnreadableImageError(f"{name} is a folder, and a picture was expected")
        stream = open(path, "rb")  # noqa: SIM115 - closed below; errors of opening differ
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{name} does not exist: check the path") from error
    except PermissionError as error:
        raise UnreadableImageError(
            f"{name} cannot be opened: you have no permission to read it"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnreadableImageError(f"{name!r} cannot be opened: {reason}") from error
    with stream:
        return _from_stream(stream, name, max_megapixels, at_least)


def _from_stream(stream: BinaryIO, name: str, max_megapixels: float, at_least: int | None) -> Photo:
    with explain_decoder_errors(name):
        try:
            stream.seek(0)
        except (AttributeError, OSError):  # a pipe
            stream = io.BytesIO(stream.read())
        if isinstance(stream.read(0), str):
            raise UsageError(f"{name} is a text stream: open it in binary mode")
        kind = detect_format(stream.read(4096))
        stream.seek(0)
        try:
            image = open_picture(stream, name, max_megapixels)
        except UnreadableImageError as error:
            # Pillow's plugin has no mode for deep TIFFs of several channels.
            other = None
            if kind == "TIFF" and "unknown pixel mode" in str(error.__cause__):
                with contextlib.suppress(Exception):  # then Pillow's reason is as good
                    other = decode_otherwise(stream, kind, name, max_megapixels)
            if other is None:
                raise
            return _convert(other.image, name, other.orientation, other.profile, notes=other.notes)
    with explain_decoder_errors(name, image.format or "picture"):
        if pillow_errs(image, stream):
            return _decode_where_pillow_errs(image, stream, name, max_megapixels)
        return _decode_photo(image, name, at_least)


def _decode_where_pillow_errs(
    image: ImageFile.ImageFile, stream: BinaryIO, name: str, max_megapixels: float
) -> Photo:
    kind = image.format or ""
    try:
        other = decode_otherwise(stream, kind, name, max_megapixels)
    except UnreadableImageError as error:
        text = str(error)
        raise UnreadableImageError(
            text if name in text else f"{name} cannot be used: {text}"
        ) from error
    if other is None:
        title = "JPEG 2000 picture" if kind == "JPEG2000" else kind
        raise UnreadableImageError(
            f"{name} is a {title} of a variety that Pillow reads wrongly: pip install "
            '"fast-style[codecs]", or convert it to 8-bit PNG or JPEG'
        )
    orientation, exif, notes = read_exif(image)
    profile = image.info.get("icc_profile")
    photo = _convert(
        other.image,
        name,
        orientation,
        profile if isinstance(profile, bytes) else other.profile,
        exif=exif,
        notes=other.notes + notes,
    )
    return replace(photo, dpi=read_resolution(image))


def _decode_photo(image: Image.Image, name: str, at_least: int | None) -> Photo:
    if at_least is not None and image.format == "JPEG":
        image.draft(None, (at_least, at_least))
    white, sample_factor = read_sample_range(image)
    if image.format == "TIFF":
        from fast_style.images.libtiff_messages import collect_messages

        with collect_messages() as said:
            decode(image)
    else:
        said = []
        decode(image)
    if not image.width or not image.height:
        raise UnreadableImageError(f"{name} has no pixels ({image.width}x{image.height})")
    orientation, exif, exif_notes = read_exif(image)
    profile = image.info.get("icc_profile")
    photo = _convert(
        image,
        name,
        orientation,
        profile if isinstance(profile, bytes) else None,
        white=white,
        sample_factor=sample_factor,
        exif=exif,
        notes=exif_notes + _describe_frames(image) + tuple(said),
    )
    return replace(photo, dpi=read_resolution(image))


def _convert(
    image: Image.Image,
    name: str,
    orientation: int,
    profile: bytes | None,
    *,
    white: int = 65535,
    sample_factor: int = 1,
    exif: bytes | None = None,
    notes: tuple[str, ...] = (),
) -> Photo:
    """Convert a loaded image to sRGB, upright."""
    colors = choose_conversion(profile, image.mode)
    try:
        pixels, alpha, mode_notes = image_to_rgb(
            image,
            colors,
            orientation=orientation,
            white=white,
            sample_factor=sample_factor,
            # Adobe's programs write CMYK JPEGs inverted, with a marker. Pillow treats every CMYK
            # JPEG as one of these, so that one without the marker comes out inverted.
            inverted_ink=(
                image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info
            ),
            unsigned=has_unsigned_samples(image),
        )
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{name} cannot be used: {error}") from None
    return Photo(
        pixels,
        alpha,
        exif,
        colors.profile,
        "JPEG" if image.format == "MPO" else image.format,
        colors.notes + mode_notes + notes,
    )


def _describe_frames(image: Image.Image) -> tuple[str, ...]:
    # MPO is a JPEG with a second picture, such as the depth or gain map of a phone: no note.
    if image.format not in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        return ()
    try:
        frames = cast(int, getattr(image, "n_frames", 1))
    except Exception:  # later frames are damaged, and not needed
        return ("later frames are damaged: only the first is used",)
    if frames < 2:
        return ()
    if image.format == "TIFF":
        return (f"{frames} pages: only the first is used",)
    return (f"animated, {frames} frames: only the first is used",)
