"""Reading: orientation, EXIF, sources, arrays, limits; and resizing."""

import dataclasses
import io
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from fast_style.errors import ImageTooLargeError, UnreadableImageError, UsageError
from fast_style.images import (
    READABLE_SUFFIXES,
    Photo,
    encode_image,
    read_image,
    resize_long_side,
    resize_to,
    to_pil,
)

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.jpg"

# What each EXIF orientation asks of the viewer, in rotations (counterclockwise) and flips.
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.rot90(np.fliplr(a), 1),
    6: lambda a: np.rot90(a, 3),
    7: lambda a: np.rot90(np.fliplr(a), 3),
    8: lambda a: np.rot90(a, 1),
}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(image, format="PNG", **settings):
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return buffer.getvalue()


def exif_of(data):
    block = Image.Exif()
    block.load(data)
    return block


def test_read_image_of_a_photo():
    photo = read_image(ASTRONAUT)
    with Image.open(ASTRONAUT) as image:
        assert np.array_equal(photo.pixels, np.asarray(image))
    assert photo.pixels.dtype == np.uint8
    assert (photo.height, photo.width, photo.format) == (256, 256, "JPEG")
    assert photo.alpha is photo.exif is photo.icc_profile is None
    assert photo.notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_orientation_is_undone(orientation, format):
    stored = noise(13, 7, 4, seed=orientation)
    if format == "JPEG":
        stored = stored[..., :3]
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    settings = {"lossless": True, "exact": True} if format == "WEBP" else {}
    data = saved(Image.fromarray(stored), format, exif=exif, **settings)
    photo = read_image(data)
    if format == "JPEG":
        with Image.open(io.BytesIO(data)) as image:
            stored = np.asarray(image)
    assert np.array_equal(photo.pixels, UPRIGHT[orientation](stored[..., :3]))
    if photo.alpha is not None:
        assert np.array_equal(photo.alpha, UPRIGHT[orientation](stored[..., 3]))
    assert dict(exif_of(photo.exif)) == {0x010F: "Maker"}


def test_orientation_is_undone_across_bands(monkeypatch):
    monkeypatch.setattr("fast_style.images.modes._BAND_PIXELS", 100)
    stored = noise(53, 31, 3)
    exif = Image.Exif()
    exif[0x0112] = 7
    photo = read_image(saved(Image.fromarray(stored), exif=exif))
    assert np.array_equal(photo.pixels, UPRIGHT[7](stored))


def test_orientation_is_read_from_xmp():
    stored = noise(5, 9, 3)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    photo = read_image(saved(Image.fromarray(stored), "WEBP", lossless=True, xmp=xmp))
    assert np.array_equal(photo.pixels, UPRIGHT[6](stored))


def test_exif_is_kept_without_orientation_and_thumbnail():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model", 6
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09", 0x829A: 0.01, 0xA002: 4000, 0xA003: 3000}
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 30.0)}
    body = bytearray(exif.tobytes())
    photo = read_image(saved(Image.fromarray(noise(8, 12, 3)), "JPEG", exif=bytes(body)))
    again = exif_of(photo.exif)
    assert again[0x010F], again[0x0110] == ("Maker", "Model")
    assert 0x0112 not in again
    assert again.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    assert again.get_ifd(0x8825)[2] == (48.0, 51.0, 30.0)
    assert again.get_ifd(1) == {}
    written = exif_of(read_image(encode_image(photo, format="JPEG")[0]).exif)
    # the size inside follows the picture: 8x12 stored, 12x8 upright
    assert (written.get_ifd(0x8769)[0xA002], written.get_ifd(0x8769)[0xA003]) == (8, 12)
    assert written.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    assert written.get_ifd(0x8825)[1] == "N"


def test_storage_tags_of_a_tiff_are_not_copied():
    exif = Image.Exif()
    exif[0x013B] = "Artist"
    data = saved(Image.fromarray(noise(6, 5, 3)), "TIFF", exif=exif, compression="tiff_lzw")
    photo = read_image(data)
    assert dict(exif_of(photo.exif)) == {0x013B: "Artist"}
    for format in ("TIFF", "JPEG"):
        again = read_image(encode_image(photo, format=format)[0])
        assert exif_of(again.exif)[0x013B] == "Artist"


def test_damaged_exif_is_left_out_with_a_note_and_no_warning():
    image = Image.fromarray(noise(4, 4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in (b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(30), b"Exif\0\0nonsense"):
            photo = read_image(saved(image, "JPEG", exif=block))
            assert photo.pixels.shape == (4, 4, 3)
            assert photo.exif is None


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "stream", "pipe", "pillow", "lazy"])
def test_every_type_of_source_gives_the_same_picture(kind, tmp_path):
    pixels = noise(9, 11, 3)
    path = tmp_path / "photo.png"
    path.write_bytes(saved(Image.fromarray(pixels)))
    with open(path, "rb") as stream, Image.open(path) as lazy:
        if kind == "pipe":
            reader, writer = os.pipe()
            os.write(writer, path.read_bytes())
            os.close(writer)
            source = os.fdopen(reader, "rb")
        else:
            source = {
                "path": path,
                "str": str(path),
                "bytes": path.read_bytes(),
                "stream": stream,
                "pillow": Image.fromarray(pixels),
                "lazy": lazy,
            }[kind]
        assert np.array_equal(read_image(source).pixels, pixels)
        assert not stream.closed
        if kind == "pipe":
            source.close()


def test_a_pillow_image_is_not_changed():
    image = Image.fromarray(noise(5, 8, 3))
    image.getexif()[0x0112] = 6
    photo = read_image(image)
    assert photo.pixels.shape == (8, 5, 3)
    assert image.size == (8, 5)
    assert image.getexif()[0x0112] == 6
    assert photo.format is None


def test_invalid_sources_are_refused():
    with pytest.raises(UsageError, match="int was given"):
        read_image(5)
    with pytest.raises(UsageError, match="binary mode"):
        read_image(io.StringIO("x"))
    for limit in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="more than 0"):
            read_image(ASTRONAUT, max_megapixels=limit)


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64", "bool"])
def test_arrays_are_converted(dtype, channels):
    rng = np.random.default_rng(1)
    unit = rng.random((20, 30, *channels))
    array, expected = {
        "uint8": (np.uint8(unit * 255), np.uint8(unit * 255)),
        "uint16": (np.uint16(unit * 65535), np.rint(np.uint16(unit * 65535) / 257)),
        "bool": (unit > 0.5, (unit > 0.5) * 255),
    }.get(dtype, (unit.astype(dtype), np.rint(unit.astype(dtype).astype(np.float64) * 255)))
    photo = read_image(array)
    expected = expected if expected.ndim == 3 else expected[..., None]
    assert np.array_equal(photo.pixels, np.broadcast_to(expected[..., :3], (20, 30, 3)))
    if channels == (4,):
        assert np.array_equal(photo.alpha, expected[..., 3])
    else:
        assert photo.alpha is None
    assert photo.format is None


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 10, 10), np.uint8), r"shape \(3, 10, 10\).*transpose"),
        (np.zeros((1, 10, 10, 3), np.uint8), "one by one"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((5, 5), np.int64), "int64"),
        (np.full((5, 5, 3), 7.0), "from 7 to 7"),
        (np.full((5, 5), np.nan), "NaN"),
    ],
)
def test_invalid_arrays_are_refused(array, words):
    with pytest.raises(UnreadableImageError, match=words):
        read_image(array)


def test_pictures_over_the_limit_are_refused():
    pixels = noise(100, 100, 3)
    for source in (pixels, Image.fromarray(pixels), saved(Image.fromarray(pixels))):
        assert read_image(source, max_megapixels=0.01).width == 100
        with pytest.raises(ImageTooLargeError, match=r"100x100.*limit is 0.0099.*--max-megapixels"):
            read_image(source, max_megapixels=0.0099)


def test_limit_of_pillow_is_ignored(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for format in ("PNG", "JPEG", "TIFF", "BMP", "AVIF", "QOI"):
        assert read_image(saved(Image.fromarray(noise(20, 20, 3)), format)).width == 20
    # WebP asks for it inside its plugin, and only above twice the limit.
    with pytest.raises(ImageTooLargeError, match=r"raise PIL\.Image\.MAX_IMAGE_PIXELS"):
        read_image(saved(Image.fromarray(noise(20, 20, 3)), "WEBP"))
    assert Image.MAX_IMAGE_PIXELS == 10


def test_truncation_is_an_error_even_where_pillow_is_lenient(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    image = Image.fromarray(noise(64, 64, 3))
    for format in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "PPM", "QOI"):
        data = saved(image, format)
        assert read_image(data).width == 64
        with pytest.raises(UnreadableImageError):
            read_image(data[: len(data) * 2 // 3])


def test_warnings_of_other_threads_are_not_silenced():
    filters = list(warnings.filters)
    damaged = saved(Image.fromarray(noise(300, 300, 3)), "JPEG", exif=b"Exif\0\0nonsense")
    stop = threading.Event()

    def read_on():
        while not stop.is_set():
            read_image(damaged)

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        for number in range(300):
            with pytest.raises(RuntimeWarning):
                warnings.warn(f"number {number}", RuntimeWarning, stacklevel=1)
    finally:
        stop.set()
        reader.join()
    assert list(warnings.filters) == filters


def test_with_pixels_keeps_metadata():
    photo = Photo(noise(10, 20, 3), noise(10, 20), b"exif", b"icc", "PNG", ("note",), (300, 300))
    other = photo.with_pixels(noise(5, 8, 3))
    assert other.alpha.shape == (5, 8)
    assert dataclasses.astuple(other)[2:] == (b"exif", b"icc", "PNG", ("note",), (300, 300))
    own = photo.with_pixels(noise(5, 8, 3), np.full((5, 8), 7, np.uint8))
    assert (own.alpha == 7).all()
    with pytest.raises(UsageError, match="float64"):
        photo.with_pixels(np.zeros((5, 5, 3)))
    with pytest.raises(UsageError, match="alpha must be"):
        photo.with_pixels(noise(5, 8, 3), noise(5, 9))


def test_resizing_sizes_and_errors():
    pixels = read_image(ASTRONAUT).pixels
    small = resize_to(pixels, 32, 64)
    assert small.shape == (32, 64, 3)
    assert small.flags.writeable
    assert np.abs(small.mean((0, 1)) - pixels.mean((0, 1))).max() < 1
    exact = np.asarray(Image.fromarray(pixels).resize((64, 32), Image.Resampling.LANCZOS))
    assert np.abs(small.astype(int) - exact).mean() < 1
    assert resize_to(pixels, 256, 256) is pixels
    wide = pixels[:64]
    assert resize_long_side(wide, 128).shape == (32, 128, 3)
    assert resize_long_side(wide, 512) is wide
    assert resize_long_side(wide, 512, enlarge=True).shape == (128, 512, 3)
    assert resize_long_side(pixels[:1], 100).shape == (1, 100, 3)
    assert resize_long_side(pixels[..., 0], 100).shape == (100, 100)
    for function in (lambda: resize_to(pixels, 0, 5), lambda: resize_long_side(pixels, 0)):
        with pytest.raises(UsageError, match="at least 1"):
            function()
    with pytest.raises(UsageError, match="float64"):
        resize_to(pixels / 255, 5, 5)


def test_to_pil_keeps_pixels_and_alpha():
    photo = Photo(noise(4, 5, 3))
    assert np.array_equal(np.asarray(to_pil(photo)), photo.pixels)
    clear = Photo(photo.pixels[::-1], noise(4, 5))
    both = np.dstack([clear.pixels, clear.alpha])
    assert np.array_equal(np.asarray(to_pil(clear)), both)


def test_suffixes_and_no_import_of_littlecms():
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"} <= READABLE_SUFFIXES
    code = "import sys, fast_style.images; print('PIL.ImageCms' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_large_jpeg_is_decoded_at_a_reduced_size(tmp_path: Path) -> None:
    with Image.open(ASTRONAUT) as photo:
        large = photo.resize((1024, 800), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=95)
    large.save(tmp_path / "large.png")
    small = read_image(tmp_path / "large.jpg", at_least=190)
    assert small.pixels.shape == (200, 256, 3)
    expected = np.asarray(large.resize((256, 200), Image.Resampling.BOX), np.float64)
    assert np.abs(small.pixels - expected).mean() < 3
    assert read_image(tmp_path / "large.jpg", at_least=500).pixels.shape == (800, 1024, 3)
    assert read_image(tmp_path / "large.png", at_least=190).pixels.shape == (800, 1024, 3)
