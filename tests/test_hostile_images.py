"""Files that are damaged, cut off, malicious or no pictures must raise an ImageError only."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fast_style.errors import ImageError, ImageTooLargeError, UnreadableImageError
from fast_style.images import Photo, read_image

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.jpg"
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "LZW", "BMP", "AVIF", "JPEG2000", "PPM", "QOI")


@pytest.fixture(scope="module")
def files():
    """Return a small valid file of each format, with EXIF, profile and alpha if it holds them."""
    with Image.open(ASTRONAUT) as astronaut:
        image = astronaut.resize((40, 30))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    result = {}
    for format in FORMATS:
        buffer = io.BytesIO()
        settings = {"exif": exif, "icc_profile": profile}
        if format == "LZW":
            image.save(buffer, "TIFF", compression="tiff_lzw", **settings)
        elif format == "GIF":
            frames = [image.rotate(angle) for angle in (90, 180)]
            image.save(buffer, format, save_all=True, append_images=frames)
        else:
            image.save(buffer, format, **settings)
        result[format] = buffer.getvalue()
    return result


def read_or_error(data):
    """Return the photo, or the message of an ImageError; other exceptions fail the test."""
    try:
        photo = read_image(data, max_megapixels=1)
    except ImageError as error:
        text = str(error)
        assert 20 < len(text) < 500
        assert "\n" not in text
        return text
    assert isinstance(photo, Photo)
    return photo


@pytest.mark.parametrize("format", FORMATS)
def test_truncated_files_raise_an_image_error(files, format):
    data = files[format]
    assert isinstance(read_or_error(data), Photo)
    whole = read_image(data).pixels
    for length in {*range(1, 64), *np.linspace(64, len(data) - 1, 60).astype(int)}:
        got = read_or_error(data[:length])
        # What comes after the pixels may be missing: a checksum, an end mark, more frames.
        if isinstance(got, Photo):
            assert np.array_equal(got.pixels, whole)


@pytest.mark.parametrize("format", FORMATS)
def test_flipped_bytes_raise_nothing_else(files, format, capfd):
    rng = np.random.default_rng(FORMATS.index(format))
    valid = np.frombuffer(files[format], np.uint8)
    texts = 0
    for trial in range(250):
        data = valid.copy()
        # half of the trials change the header
        reach = min(len(data), 200) if trial % 2 else len(data)
        places = rng.integers(4, reach, rng.integers(1, 6))
        data[places] = rng.integers(0, 256, len(places))
        texts += isinstance(read_or_error(data.tobytes()), str)
    assert texts > 0
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == ""


@pytest.mark.parametrize("format", FORMATS)
def test_noise_after_a_signature_raises_an_image_error(files, format):
    rng = np.random.default_rng(7)
    for _ in range(40):
        head = files[format][: rng.integers(8, 40)]
        got = read_or_error(head + rng.bytes(rng.integers(0, 400)))
        assert isinstance(got, str | Photo)


def png_claiming(width, height):
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(300_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_header_bombs_are_refused():
    data = png_claiming(60_000, 60_000)
    assert len(data) < 500
    words = r"bomb.png claims 60000x60000 pixels, 3,600.0 megapixels, and the limit is 250.*--max-"
    with pytest.raises(ImageTooLargeError, match=words):
        read_image(data, name="bomb.png")
    webp = bytearray(b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0")
    with pytest.raises(ImageTooLargeError, match="16384x16384"):
        read_image(bytes(webp))


def test_a_size_within_the_limit_without_pixels_is_refused():
    with pytest.raises(UnreadableImageError, match=r"PNG: .*"):
        read_image(png_claiming(2000, 1000))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"Dear diary,\nnothing happened today.\n", "does not look like a picture: it holds text"),
        (bytes(range(100)), "does not look like a picture: JPEG, PNG"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG.*PNG"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEI[CF].*JPEG"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "video"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
    ],
)
def test_message_names_the_kind_of_file(tmp_path, data, words):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match=words) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_unreadable_paths_are_refused(tmp_path):
    with pytest.raises(UnreadableImageError, match=r"none\.jpg does not exist"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(UnreadableImageError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(UnreadableImageError, match="cannot be opened"):
        read_image("a" * 5000 + ".jpg")
    with pytest.raises(UnreadableImageError, match="cannot be opened"):
        read_image("null\0.jpg")


def test_missing_permission_is_named(tmp_path, monkeypatch):
    path = tmp_path / "secret.jpg"
    path.write_bytes(ASTRONAUT.read_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):  # the super-user may read everything

        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UnreadableImageError, match=r"secret\.jpg.*no permission"):
        read_image(path)


def test_memory_error_in_a_decoder_is_converted(monkeypatch):
    def load(self):
        raise MemoryError

    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", load)
    with pytest.raises(UnreadableImageError, match="not enough memory"):
        read_image(ASTRONAUT)


@pytest.mark.parametrize("kind", [AssertionError, KeyError, RuntimeError, SyntaxError, ValueError])
def test_any_exception_in_a_decoder_is_converted(monkeypatch, kind):
    def load(self):
        raise kind("line one\n  line two")

    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", load)
    with pytest.raises(UnreadableImageError, match=r"is damaged.*JPEG: .*line one.*line two"):
        read_image(ASTRONAUT)


def test_interrupts_are_not_converted(monkeypatch):
    def load(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", load)
    with pytest.raises(KeyboardInterrupt):
        read_image(ASTRONAUT)
