"""Which formats are read: how they are recognized, and what opens them."""

from __future__ import annotations

import importlib
from typing import Any

from fast_style.errors import UnreadableImageError
from fast_style.storage.git_lfs import LFS_DESCRIPTION, LFS_SIGNATURE
from fast_style.storage.hardware import installed

__all__ = [
    "describe_other_file",
    "detect_format",
    "find_plugin",
    "is_readable",
    "read_claimed_size",
]

_TITLES = {"HEIF": "HEIC", "JXL": "JPEG XL", "JPEG2000": "JPEG 2000", "WEBP": "WebP"}

_EXTRAS = {"HEIF": ("heif", "pillow-heif"), "JXL": ("jxl", "pillow-jxl-plugin")}
"""Formats whose decoder is a package of its own: the extra that installs it, and the package."""

_PLUGINS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),  # jpeg_factory would parse MPO as well
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
    "JPEG2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "QOI": ("PIL.QoiImagePlugin", "QoiImageFile"),
    "HEIF": ("pillow_heif", "HeifImageFile"),
    "JXL": ("pillow_jxl.JpegXLImagePlugin", "JXLImageFile"),
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
    (b"\xff\x0a", "JXL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JXL"),
    *((b"P%d%c" % (kind, space), "PPM") for kind in range(1, 7) for space in b" \t\r\n#"),
    (b"Pf\n", "PPM"),
)

_CR2 = b"II*\x00\x10\x00\x00\x00CR"
_RAW = "a camera's raw file: develop it, and export a JPEG or TIFF"

# Other files that people pass by mistake, with advice.
_OTHER_FILES = (
    (LFS_SIGNATURE, LFS_DESCRIPTION),
    (b"%PDF", "a PDF document: export the page as PNG"),
    (b"8BPS", "a Photoshop document: save it as PNG, TIFF or JPEG"),
    (_CR2, _RAW),
    (b"IIU\x00", _RAW),
    (b"IIRO", _RAW),
    (b"IIRS", _RAW),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"%!PS", "a PostScript file: convert it to PNG"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
)
_HEIC_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)


def detect_format(head: bytes) -> str | None:
    """Detect the format of a picture by its first bytes.

    Args:
        head: The first 4096 bytes of the file, or all if it has fewer.

    Returns:
        Pillow's name of the format, such as "JPEG"; None if it is not one that is read.
    """
    if head.startswith(_CR2):
        return None  # a TIFF otherwise
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
        if _HEIC_BRANDS.intersection(brands):
            return "HEIF"
    return None


def is_readable(kind: str | None) -> bool:
    """Return whether files of a format can be read here.

    Args:
        kind: From `detect_format`.
    """
    return kind is not None and installed(_PLUGINS[kind][0].partition(".")[0])


def find_plugin(kind: str, name: str) -> Any:
    """Return the class that opens files of a format.

    Args:
        kind: From `detect_format`.
        name: What to call the picture in messages.

    Raises:
        UnreadableImageError: If it is not installed.
    """
    module, class_name = _PLUGINS[kind]
    try:
        plugin = importlib.import_module(module)
    except ImportError:
        plugin = None
    if plugin is not None and getattr(plugin, "SUPPORTED", True):
        return getattr(plugin, class_name)
    title = _TITLES.get(kind, kind)
    if kind in _EXTRAS:
        extra, package = _EXTRAS[kind]
        other = "JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible)"
        raise UnreadableImageError(
            f'{name} is a {title} picture, which needs {package}: pip install "fast-style[{extra}]"'
            f", or convert it to {other if kind == 'HEIF' else 'PNG or JPEG'}"
        )
    raise UnreadableImageError(
        f"{name} is a {title} picture, which this build of Pillow cannot read: convert it to "
        "PNG or JPEG"
    )


def describe_other_file(head: bytes) -> str:
    """Say what a file is that is no picture, as the rest of a sentence.

    Args:
        head: As for `detect_format`.
    """
    for signature, description in _OTHER_FILES:
        if head.startswith(signature):
            return f"is {description}"
    if head[4:8] == b"ftyp":
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


def read_claimed_size(kind: str, head: bytes) -> tuple[int, int]:
    """Read a picture's width and height where its plugin would allocate them before it says so.

    Args:
        kind: From `detect_format`.
        head: As for `detect_format`.

    Returns:
        (1, 1) for formats whose plugin is careful, and for malformed headers.
    """
    read = {"WEBP": _read_webp_size, "JXL": _read_jxl_size}.get(kind)
    return (1, 1) if read is None else read(head)


def _read_webp_size(head: bytes) -> tuple[int, int]:
    """Read the width and height of a WebP's canvas."""
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


def _read_jxl_size(head: bytes) -> tuple[int, int]:
    """Read the width and height of a JPEG XL picture from its codestream's header.

    ISO/IEC 18181-1, annex D.2 (size header).
    """
    start = 0
    if not head.startswith(b"\xff\x0a"):
        start = head.find(b"\xff\x0a", 12)
    if start < 0:
        return 1, 1
    bits = int.from_bytes(head[start + 2 : start + 20], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    small = take(1)

    def take_side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = take_side()
    ratio = take(3)
    if ratio == 0:
        return take_side(), height
    across, down = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * across // down, height
