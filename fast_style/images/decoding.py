"""Opening picture files that may be anything: what is it, how big is it, is it whole.

Three things here are done differently from ``PIL.Image.open``, each for a reason:

* **The format is told by the first bytes, from a short list**, and its plugin is called directly.
  Pillow would try some forty formats, among them one that runs Ghostscript. It also would compare
  the size with ``Image.MAX_IMAGE_PIXELS``; that is a global of the process, which a library must
  not change, not even for a moment, since other threads read it. The plugin alone only parses the
  header, after which the size is checked here, against our own limit.
* **Warnings are silenced for this thread only.** ``warnings.catch_warnings`` swaps the filters of
  the whole process. Here a filter is added that matches on nothing but the calling thread.
* **A file that ends early is an error**, also if the process has set
  ``ImageFile.LOAD_TRUNCATED_IMAGES``, which training scripts like to do.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import struct
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from PIL import Image, ImageFile

from fast_style.errors import FastStyleError, ImageTooLargeError, UnreadableImageError

__all__ = ["check_size", "decode", "open_picture", "picture_kind", "quiet_pillow", "reading"]

_PLUGINS = {
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),  # not jpeg_factory, which would parse MPO too
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "WEBP": ("WebPImagePlugin", "WebPImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "AVIF": ("AvifImagePlugin", "AvifImageFile"),
    "PPM": ("PpmImagePlugin", "PpmImageFile"),
    "JPEG2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "QOI": ("QoiImagePlugin", "QoiImageFile"),
}

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"qoif", "QOI"),
    *((b"P%d%c" % (kind, space), "PPM") for kind in range(1, 7) for space in b" \t\r\n#"),
    (b"Pf\n", "PPM"),
)

# Files that people pass by mistake, and what to do with them.
_OTHER_FILES = (
    (b"%PDF", "a PDF document: export the page as PNG"),
    (b"8BPS", "a Photoshop document: save it as PNG, TIFF or JPEG"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture: convert it to PNG or JPEG"),
    (b"\xff\x0a", "a JPEG XL picture: convert it to PNG or JPEG"),
    (b"%!PS", "a PostScript file: convert it to PNG"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
)
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_CUT_OFF = (EOFError, IndexError, struct.error)


def open_picture(stream: BinaryIO, name: str, max_megapixels: float) -> ImageFile.ImageFile:
    """Recognise a picture and parse its header; nothing is decoded yet.

    Args:
        stream: A seekable binary stream, at its beginning. It must stay open until `decode`.
        name: What to call the picture in messages.
        max_megapixels: The limit, in millions of pixels.

    Returns:
        The image, not loaded.

    Raises:
        UnreadableImageError: If it is empty, no picture, damaged, or of a format that is not read.
        ImageTooLargeError: If its header claims more pixels than the limit.
    """
    head = stream.read(4096)
    if not head:
        raise UnreadableImageError(f"{name} is empty (0 bytes): get a fresh copy of it")
    kind = picture_kind(head)
    if kind is None:
        raise UnreadableImageError(f"{name} {_what_else(head)}")
    if kind == "WEBP":
        # Pillow's plugin makes room for the whole canvas while it is being opened.
        check_size(*_webp_size(head), name, max_megapixels)
    stream.seek(0)
    module, class_name = _PLUGINS[kind]
    try:
        plugin = importlib.import_module(f"PIL.{module}")
    except ImportError:
        plugin = None
    if plugin is None or not getattr(plugin, "SUPPORTED", True):
        raise UnreadableImageError(
            f"{name} is a {kind} picture, which this build of Pillow cannot read: convert it to "
            "PNG or JPEG"
        )
    # No file name goes in: with one, Pillow may map the file into memory, and a file that shrinks
    # while it is mapped kills the process.
    with reading(name, kind):
        image: ImageFile.ImageFile = getattr(plugin, class_name)(_Stream(stream), "")
    check_size(*image.size, name, max_megapixels)
    stored = getattr(image, "_tile_size", None)
    if stored is not None:
        # Pillow makes room for a TIFF when it starts to decode, and compares with its own limit
        # then, but only if there is no room yet.
        check_size(stored[0], stored[1], name, max_megapixels)
        with reading(name, kind):
            image.im = Image.new(image.mode, stored, None).im
    return image


def decode(image: Image.Image) -> None:
    """Decode the pixels.

    Args:
        image: An image, from `open_picture` or from the user.

    Raises:
        Exception: Of many kinds if the data is damaged or ends early.
    """
    stream = getattr(image, "fp", None)
    if isinstance(stream, _Stream):
        # Pillow is strict by itself unless told otherwise. Two of its decoders read to the very end
        # of good files too: that of PPM as text, which notices by itself if something is missing,
        # and OpenJPEG.
        tile: Any = getattr(image, "tile", None)
        decoder = tile[0][0] if tile else ""
        lenient = ImageFile.LOAD_TRUNCATED_IMAGES
        if lenient and decoder == "jpeg2k" and not stream.ends_with(b"\xff\xd9"):
            raise OSError("image file is truncated")
        stream.end_is_error = lenient and decoder not in ("ppm_plain", "jpeg2k")
        try:
            image.load()
        finally:
            stream.end_is_error = False
    else:
        image.load()


def check_size(width: int, height: int, name: str, max_megapixels: float) -> None:
    """Compare a size with the limit.

    Args:
        width: Width that the header claims, in pixels.
        height: Height that the header claims, in pixels.
        name: What to call the picture in messages.
        max_megapixels: The limit, in millions of pixels.

    Raises:
        ImageTooLargeError: If there are more pixels than the limit.
    """
    if width * height > max_megapixels * 1e6:
        megapixels = f"{width * height / 1e6:,.1f} megapixels"
        raise ImageTooLargeError(
            f"{name} claims {width}x{height} pixels, {megapixels}, and the limit is "
            f"{max_megapixels:g}: if you trust it, raise the limit with --max-megapixels "
            "(max_megapixels in Python)"
        )


@contextlib.contextmanager
def reading(name: str, kind: str = "picture") -> Iterator[None]:
    """Turn whatever a decoder raises into one sentence.

    Args:
        name: What to call the picture in messages.
        kind: What it is, if known.

    Yields:
        Nothing.

    Raises:
        UnreadableImageError: For any exception but ours and those that are not errors.
        ImageTooLargeError: If Pillow itself refuses the size.
    """
    try:
        with quiet_pillow():
            yield
    except FastStyleError:
        raise
    except Image.DecompressionBombError as error:
        # WebP and GIF are also checked inside their plugins; only the user can change that.
        raise ImageTooLargeError(
            f"{name} is larger than Pillow allows for this format ({str(error).split(',')[0]}): "
            "convert it to PNG or TIFF, or raise PIL.Image.MAX_IMAGE_PIXELS in Python"
        ) from error
    except MemoryError as error:
        raise UnreadableImageError(
            f"there is not enough memory to decode {name}: make it smaller first"
        ) from error
    except Exception as error:  # decoders raise a dozen kinds on damaged files
        reason = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        cause = error.__cause__ or error  # Pillow wraps what goes wrong in headers
        if isinstance(cause, struct.error):
            reason = "incomplete header"  # Pillow's words are about its own buffers
        if isinstance(cause, _CUT_OFF) or "truncat" in reason.lower():
            state = "is cut off: the file ends before the picture does"
        else:
            state = "is damaged or of a variety that is not supported"
        raise UnreadableImageError(
            f"{name} {state} ({kind}: {reason}); get a fresh copy, or convert it to PNG or JPEG"
        ) from error


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings in this thread, and leave those of other threads alone.

    Yields:
        Nothing.
    """
    if getattr(sys.flags, "context_aware_warnings", False):
        with warnings.catch_warnings():  # Python 3.14 and later: only this context
            warnings.simplefilter("ignore")
            yield
        return
    here = _ThisThread()
    # The third and fifth fields are those of warnings.filterwarnings; the fourth may be anything
    # with a method match. Written into the list rather than through filterwarnings, which would
    # also make every warning that was shown once appear again.
    entry = ("ignore", None, Warning, here, 0)
    filters = cast("list[Any]", warnings.filters)
    loggers = [logging.getLogger("PIL.TiffImagePlugin"), logging.getLogger("PIL.PngImagePlugin")]
    filters.insert(0, entry)
    for logger in loggers:
        logger.addFilter(here.allows)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(here.allows)
        with contextlib.suppress(ValueError):  # someone has reset all filters meanwhile
            filters.remove(entry)


class _ThisThread:
    """Matches what happens in the thread that made it."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self.allows = self._allows  # one bound method, so that it can be found again

    def match(self, module: str) -> bool:
        return threading.get_ident() == self._thread

    def _allows(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING or record.thread != self._thread


class _Stream:
    """What Pillow needs of a file, and no more: without fileno it reads only through here."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.end_is_error = False

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        # A chunk header of PNG is 8 bytes; larger reads are buffers, which may well be short.
        if self.end_is_error and size > 0 and (not data or len(data) < size <= 8):
            raise OSError("image file is truncated")
        return data

    def ends_with(self, mark: bytes, within: int = 1 << 16) -> bool:
        position, end = self._stream.tell(), self._stream.seek(0, io.SEEK_END)
        self._stream.seek(max(0, end - within))
        found = mark in self._stream.read(within)
        self._stream.seek(position)
        return found

    def readline(self, size: int = -1) -> bytes:
        return self._stream.readline(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def picture_kind(head: bytes) -> str | None:
    """Tell by its first bytes what kind of picture a file is.

    Args:
        head: Its first 4096 bytes, or all if it has fewer.

    Returns:
        Pillow's name of the format, such as "JPEG"; None if it is none that is read.
    """
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        length = int.from_bytes(head[:4], "big")
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(length, 256), 4))]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
    return None


def _what_else(head: bytes) -> str:
    for signature, description in _OTHER_FILES:
        if head.startswith(signature):
            return f"is {description}"
    if head[4:8] == b"ftyp":
        if head[8:12] in _HEIC_BRANDS:
            return (
                "is a HEIC picture, which needs a decoder that is not built in: convert it to JPEG "
                "(on an iPhone: Settings, Camera, Formats, Most Compatible)"
            )
        return "looks like a video and not like a picture"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in start:
        return "is an SVG drawing, which has no pixels: export it as PNG"
    if start.startswith((b"<!doctype html", b"<html")):
        return "is a web page and not a picture: download the picture itself"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "does not look like a picture: it holds text"
    return (
        "does not look like a picture: JPEG, PNG, WebP, TIFF, AVIF, GIF, BMP, JPEG 2000, PPM and "
        "QOI are read"
    )


def _webp_size(head: bytes) -> tuple[int, int]:
    """Read the canvas size of a WebP, (1, 1) if it is not where it should be."""
    chunk = head[12:16]
    if chunk == b"VP8X" and len(head) >= 30:
        return (
            int.from_bytes(head[24:27], "little") + 1,
            int.from_bytes(head[27:30], "little") + 1,
        )
    if chunk == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and len(head) >= 30:
        return (
            int.from_bytes(head[26:28], "little") & 0x3FFF,
            int.from_bytes(head[28:30], "little") & 0x3FFF,
        )
    return 1, 1
