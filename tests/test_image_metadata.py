"""EXIF, GPS and resolution in every format that is written, and what --strip leaves out."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fast_style.images import Photo, encode_image, read_image
from tests.commands import invoke

DATA = Path(__file__).parent / "data" / "pictures"
CAMERA, PLACE = 0x8769, 0x8825


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def full_exif():
    """EXIF with every kind of tag: text, rationals, signed ones, bytes, nested directories."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132] = "Maker", "Modell ä", "2024:05:06 07:08:09"
    exif[0x9C9B] = "title".encode("utf-16-le")
    exif[CAMERA] = {
        0x829A: 0.004,
        0x9204: -0.33,
        0x8827: 400,
        0x9286: b"ASCII\0\0\0hello",
        0x927C: b"maker's secret",
        0xA002: 12,
        0xA003: 8,
        0xA005: {1: "R98", 2: b"0100"},
    }
    exif[PLACE] = {0: b"\2\3\0\0", 1: "N", 2: (48.0, 51.0, 30.25), 3: "E", 4: (2.0, 17.0, 40.0)}
    return exif.tobytes()


def tags_of(data, ifd=None):
    with Image.open(io.BytesIO(data)) as image:
        exif = image.getexif()
        return dict(exif if ifd is None else exif.get_ifd(ifd))


@pytest.mark.parametrize("alpha", [None, noise(8, 12)])
def test_tiff_keeps_exif_and_place(alpha):
    photo = Photo(noise(8, 12, 3), alpha, exif=full_exif())
    data, notes = encode_image(photo, format="TIFF")
    assert notes == ()
    with Image.open(io.BytesIO(data)) as image:
        assert (image.mode, image.info["compression"]) == (
            "RGB" if alpha is None else "RGBA",
            "tiff_adobe_deflate",
        )
    again = read_image(data)
    assert np.array_equal(again.pixels, photo.pixels)
    assert np.array_equal(again.alpha, alpha) if alpha is not None else again.alpha is None
    assert tags_of(data)[0x010F] == "Maker"
    camera, place = tags_of(data, CAMERA), tags_of(data, PLACE)
    assert (float(camera[0x829A]), float(camera[0x9204]), camera[0x8827]) == (0.004, -0.33, 400)
    assert camera[0x9286] == b"ASCII\0\0\0hello"
    assert tuple(map(float, place[2])) == (48.0, 51.0, 30.25)
    # And from there into a TIFF again, as a folder of TIFFs is stylized.
    once_more, notes = encode_image(again, format="TIFF")
    assert notes == ()
    assert tags_of(once_more, PLACE) == place


def test_tiff_of_several_strips_is_exact():
    photo = Photo(noise(700, 600, 3))
    data, _ = encode_image(photo, format="TIFF")
    assert np.array_equal(read_image(data).pixels, photo.pixels)


def test_a_photo_with_exposure_time_becomes_a_tiff():
    photo = read_image(DATA / "exif_exposure_time.jpg")
    data, notes = encode_image(photo, format="TIFF")
    assert notes == ()
    assert float(tags_of(data, CAMERA)[0x829A]) == 0.004


def test_tags_that_a_tiff_cannot_hold_are_left_out_and_said():
    exif = Image.Exif()
    exif[0x010F], exif[PLACE] = "Maker", {1: "N", 2: (48.0, 51.0, 30.25)}
    block = bytearray(exif.tobytes())
    at = block.index(b"\x01\x0f\x00\x02")
    block[at + 2 : at + 4] = b"\x00\x0c"  # text that claims to be a number
    data, notes = encode_image(Photo(noise(4, 5, 3), exif=bytes(block)), format="TIFF")
    assert notes == ("TIFF cannot hold 1 of the EXIF tags: left out",)
    assert tags_of(data, PLACE)[1] == "N"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "AVIF"])
@pytest.mark.parametrize("exif", [None, full_exif()])
def test_resolution_is_kept(format, exif):
    source = io.BytesIO()
    Image.fromarray(noise(8, 12, 3)).save(source, "PNG", dpi=(300, 150))
    photo = read_image(source.getvalue())
    assert photo.dpi == pytest.approx((300, 150), abs=0.02)
    photo = Photo(photo.pixels, exif=exif, dpi=photo.dpi)
    again = read_image(encode_image(photo, format=format)[0])
    assert again.dpi == pytest.approx((300, 150), abs=0.02)
    if exif is not None and format != "BMP":
        assert tags_of(encode_image(again, format="PNG")[0])[0x010F] == "Maker"


def test_no_resolution_is_invented():
    assert read_image(noise(4, 5, 3)).dpi is None
    source = io.BytesIO()
    Image.fromarray(noise(4, 5, 3)).save(source, "PNG")
    assert read_image(source.getvalue()).dpi is None
    for format in ("JPEG", "PNG", "WEBP"):
        data, _ = encode_image(Photo(noise(4, 5, 3)), format=format)
        assert read_image(data).dpi is None
        assert read_image(data).exif is None


def test_stripping_leaves_out_the_place_or_everything():
    photo = Photo(noise(8, 12, 3), exif=full_exif(), dpi=(300, 300))
    assert photo.strip_metadata(None) is photo
    data, _ = encode_image(photo.strip_metadata("location"), format="JPEG")
    assert tags_of(data, PLACE) == {}
    assert PLACE not in tags_of(data)
    camera = tags_of(data, CAMERA)
    assert 0x927C not in camera  # the maker's note may hold the place as well
    assert (float(camera[0x829A]), tags_of(data)[0x010F]) == (0.004, "Maker")
    assert photo.strip_metadata("all").exif is None
    assert photo.strip_metadata("all").dpi == (300, 300)


@pytest.mark.parametrize(("strip", "left"), [(None, True), ("location", False), ("all", False)])
def test_stylize_strips_what_it_is_asked_to(workplace, strip, left):
    source = workplace / "photo.jpg"
    source.write_bytes(encode_image(Photo(noise(40, 48, 3), exif=full_exif()), format="JPEG")[0])
    options = [] if strip is None else ["--strip", strip]
    invoke("stylize", "photo.jpg", "--style", "wheat-field", "-o", "out.jpg", *options)
    data = (workplace / "out.jpg").read_bytes()
    assert bool(tags_of(data, PLACE)) is left
    assert bool(tags_of(data, CAMERA)) is (strip != "all")
