"""Open untrusted picture files: detect the format, check the size, notice missing data.

Three things here are done differently from ``PIL.Image.open``, each for a reason:

* **The format is detected by the first bytes, from a short list**, and Pillow's plugin for it is
  called directly. Pillow would try some forty formats, one of which runs Ghostscript. It would also
  compare the size with ``Image.MAX_IMAGE_PIXELS``, a global that a library must not change, since
  other threads read it. The plugin alone only parses the header; then the size is compared with our
  own limit.
* **Warnings are silenced for this thread only.** ``warnings.catch_warnings`` replaces the filters
  of the whole process. Here a filter is added that matches the calling thread only.
* **A file that ends early is an error**, even if the process has set
  ``ImageFile.LOAD_TRUNCATED_IMAGES``, as training scripts often do.
"""

from __future__ import annotations

import contextlib
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
from fast_style.images.formats import (
    describe_other_file,
    detect_format,
    find_plugin,
    read_claimed_size,
)

__all__ = [
    "check_size",
    "decode",
    "explain_decoder_errors",
    "open_picture",
    "silence_pillow",
]

_SUBFILE_TYPE, _DNG_VERSION = 0x00FE, 0xC612
_LOGGERS = ("PIL.TiffImagePlugin", "PIL.PngImagePlugin", "tifffile")
_CUT_OFF = (EOFError, IndexError, struct.error)


def open_picture(stream: BinaryIO, name: str, max_megapixels: float) -> ImageFile.ImageFile:
    """Detect the format of a picture and parse its header, without decoding the pixels.

    Args:
        stream: A seekable binary stream, at its beginning. It must stay open until `decode` is
            done.
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
    kind = detect_format(head)
    if kind is None:
        raise UnreadableImageError(f"{name} {describe_other_file(head)}")
    # Some plugins allocate the whole picture when they open a file.
    check_size(*read_claimed_size(kind, head), name, max_megapixels)
    stream.seek(0)
    plugin = find_plugin(kind, name)
    # Without a file name: given one, Pillow may map the file into memory, and a file that shrinks
    # while it is mapped kills the process.
    with explain_decoder_errors(name, kind):
        image: ImageFile.ImageFile = _open_with(plugin, kind, stream)
    check_size(*image.size, name, max_megapixels)
    if kind == "TIFF":
        _refuse_raw(image, name)
    stored = getattr(image, "_tile_size", None)
    if stored is not None:
        # Pillow allocates a TIFF's pixels when it starts to decode, and compares the size with its
        # own limit, unless they are allocated already.
        check_size(stored[0], stored[1], name, max_megapixels)
        with explain_decoder_errors(name, kind):
            image.im = Image.new(image.mode, stored, None).im
    return image


def _open_with(plugin: Any, kind: str, stream: BinaryIO) -> Any:
    try:
        return plugin(_Stream(stream), "")
    except Exception:
        if kind != "AVIF":
            raise
        from fast_style.images.avif_repair import restore_alpha_size

        stream.seek(0)
        repaired = restore_alpha_size(stream.read())
        if repaired is None:
            raise
        return plugin(io.BytesIO(repaired), "")


def _refuse_raw(image: Any, name: str) -> None:
    """Refuse a TIFF whose first picture is a preview of another one, as in most raw files."""
    is_dng = _DNG_VERSION in image.tag_v2
    if is_dng or image.tag_v2.get(_SUBFILE_TYPE, 0) & 1:
        what = "a DNG" if is_dng else "a camera's raw file or another TIFF"
        raise UnreadableImageError(
            f"{name} is {what} whose first picture is only a preview: develop it, and export a "
            "JPEG or TIFF"
        )


def decode(image: Image.Image) -> None:
    """Decode the pixels.

    Args:
        image: An image, from `open_picture` or from the user.

    Raises:
        Exception: Any of many types, if the data is damaged or ends early.
    """
    stream = getattr(image, "fp", None)
    if isinstance(stream, _Stream):
        # Pillow itself is strict unless the process has made it lenient. Two of its decoders read
        # to the end of complete files too, so that reaching it proves nothing: that of PPM as text,
        # which detects missing data itself, and OpenJPEG.
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
    """Check that a picture is within the size limit.

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
def explain_decoder_errors(name: str, kind: str = "picture") -> Iterator[None]:
    """Convert whatever a decoder raises into an error with a one-sentence message.

    Args:
        name: What to call the picture in messages.
        kind: Its format, if known.

    Yields:
        Nothing.

    Raises:
        UnreadableImageError: For any `Exception` that is not a `FastStyleError`.
        ImageTooLargeError: If Pillow itself refuses the size.
    """
    try:
        with silence_pillow():
            yield
    except FastStyleError:
        raise
    except Image.DecompressionBombError as error:
        # Raised by the plugins of WebP and GIF; only the user can change that limit.
        raise ImageTooLargeError(
            f"{name} is larger than Pillow allows for this format ({str(error).split(',')[0]}): "
            "convert it to PNG or TIFF, or raise PIL.Image.MAX_IMAGE_PIXELS in Python"
        ) from error
    except MemoryError as error:
        raise UnreadableImageError(
            f"there is not enough memory to decode {name}: make it smaller first"
        ) from error
    except Exception as error:  # decoders raise a dozen types for damaged files
        reason = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        cause = error.__cause__ or error  # Pillow wraps errors in headers
        if isinstance(cause, struct.error):
            reason = "incomplete header"  # Pillow's message is about its own buffers
        if isinstance(cause, _CUT_OFF) or "truncat" in reason.lower():
            state = "is cut off: the file ends before the picture does"
        else:
            state = "is damaged or of a variety that is not supported"
        reason = "; ".join([reason, *getattr(error, "__notes__", ())])
        raise UnreadableImageError(
            f"{name} {state} ({kind}: {reason}); get a fresh copy, or convert it to PNG or JPEG"
        ) from error


@contextlib.contextmanager
def silence_pillow() -> Iterator[None]:
    """Silence Pillow's warnings in this thread only.

    Yields:
        Nothing.
    """
    if getattr(sys.flags, "context_aware_warnings", False):
        with warnings.catch_warnings():  # Python 3.14 and later: only this context
            warnings.simplefilter("ignore")
            yield
        return
    here = _ThisThread()
    # A filter as in warnings.filterwarnings, whose fourth field may be any object with a method
    # match. It is inserted directly: filterwarnings would also reset which warnings were shown.
    entry = ("ignore", None, Warning, here, 0)
    filters = cast("list[Any]", warnings.filters)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    filters.insert(0, entry)
    for logger in loggers:
        logger.addFilter(here.allows)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(here.allows)
        with contextlib.suppress(ValueError):  # another thread has reset all filters
            filters.remove(entry)


class _ThisThread:
    """Matches warnings and log records of the thread that created it."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self.allows = self._allows  # one bound method, so that removeFilter finds it

    def match(self, module: str) -> bool:
        return threading.get_ident() == self._thread

    def _allows(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING or record.thread != self._thread


class _Stream:
    """A stream with only the methods Pillow needs: without fileno, it reads through `read`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.end_is_error = False

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        # A chunk header of PNG has 8 bytes; larger reads fill buffers, and may be short.
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
