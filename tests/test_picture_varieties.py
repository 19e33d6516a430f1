"""Varieties of files that Pillow reads wrongly or not at all: right, or refused in a sentence."""

import contextlib
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fast_style.errors import UnreadableImageError
from fast_style.images import READABLE_SUFFIXES, Photo, encode_image, other_decoders, read_image
from fast_style.images.formats import read_claimed_size
from tests.commands import failure, invoke

DATA = Path(__file__).parent / "data" / "pictures"
ROWS, COLUMNS = np.mgrid[:33, :41]
RED, GREEN, BLUE = COLUMNS / 40, ROWS / 32, (ROWS + COLUMNS) / 72
OPACITY = np.clip((COLUMNS - 5) / 30, 0, 1)
RGB = np.stack([RED, GREEN, BLUE], -1)


def distance(photo, expected):
    """The largest difference from values in [0, 1], in levels."""
    return np.abs(photo.pixels - expected * 255).max()


@pytest.fixture(params=["codecs", "without"])
def codecs(request, monkeypatch):
    """With the extra, and as if it were not installed."""
    if request.param == "without":
        monkeypatch.setattr(other_decoders, "installed", lambda package: False)
        return False
    for package in ("imagecodecs", "tifffile"):
        pytest.importorskip(package)
    return True


def read_or_refused(data, codecs):
    """The picture; None where it is refused with the name of the extra."""
    if codecs:
        return read_image(data)
    with contextlib.suppress(UnreadableImageError):
        return read_image(data)
    with pytest.raises(UnreadableImageError, match=r"fast-style\[codecs\]|unknown pixel mode"):
        read_image(data)
    return None


KINDS = {
    "gray": ([RED], "minisblack"),
    "white": ([1 - RED], "miniswhite"),
    "gray-alpha": ([RED, OPACITY], "minisblack"),
    "rgb": ([RED, GREEN, BLUE], "rgb"),
    "rgba": ([RED, GREEN, BLUE, OPACITY], "rgb"),
    "cmyk": ([1 - RED, 1 - GREEN, 1 - BLUE, 0 * RED], "separated"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_tiffs_of_every_depth_and_layout(kind, codecs):
    tifffile = pytest.importorskip("tifffile")
    planes, photometric = KINDS[kind]
    expected = np.stack([RED] * 3, -1) if kind in ("gray", "white", "gray-alpha") else RGB
    options = {"extrasamples": ["unassalpha"]} if "a" in kind.removeprefix("gray") else {}
    options = {} if kind in ("gray", "white", "cmyk", "rgb") else options
    read = 0
    for type, planar, packed, order in itertools.product(
        ("u1", "u2", "u4", "f4"), ("contig", "separate"), (None, "zlib"), "<>"
    ):
        if planar == "separate" and len(planes) == 1:
            continue
        whole = 1.0 if type == "f4" else np.iinfo(type).max
        samples = np.stack(planes, 0 if planar == "separate" else -1) * whole
        samples = (samples if type == "f4" else np.rint(samples)).astype(order + type)
        if len(planes) == 1:
            samples = samples[..., 0]
        layout = {"planarconfig": planar} if len(planes) > 1 else {}
        buffer = io.BytesIO()
        tifffile.TiffWriter(buffer, byteorder=order).write(
            samples, photometric=photometric, compression=packed, metadata=None, **layout, **options
        )
        photo = read_or_refused(buffer.getvalue(), codecs)
        if photo is None:
            continue
        read += 1
        assert distance(photo, expected) < 1.01, (type, planar, packed, order)
        if options:
            assert np.abs(photo.alpha - OPACITY * 255).max() < 1.01
        assert photo.format == "TIFF"
    assert read >= (4 if not codecs else 16)


@pytest.mark.parametrize("bits", [4, 8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_2000_of_every_depth(bits, channels, codecs):
    imagecodecs = pytest.importorskip("imagecodecs")
    planes = {1: [RED], 2: [RED, OPACITY], 3: [RED, GREEN, BLUE], 4: [RED, GREEN, BLUE, OPACITY]}
    samples = np.rint(np.stack(planes[channels], -1) * (2**bits - 1))
    samples = samples.astype(np.uint8 if bits <= 8 else np.uint16)
    layout = {} if channels == 1 else {"planar": False}
    for container in ("jp2", "j2k"):
        data = imagecodecs.jpeg2k_encode(
            samples[..., 0] if channels == 1 else samples,
            level=0,
            reversible=True,
            codecformat=container,
            bitspersample=bits,
            **layout,
        )
        photo = read_or_refused(data, codecs)
        if photo is None:
            assert bits != 8
            continue
        step = 255 / (2**bits - 1) / 2 + 1  # what so few bits can hold
        assert distance(photo, RGB if channels > 2 else np.stack([RED] * 3, -1)) < step
        if channels in (2, 4):
            assert np.abs(photo.alpha - OPACITY * 255).max() < step
        assert photo.format == "JPEG2000"


def test_the_files_that_were_read_wrongly(codecs):
    expected = {  # means of the channels, by tifffile and imagecodecs
        "issue411-ycc420.jp2": (68.5, 138.5, 46.4),
        "tm_graya_u8_separate_deflate_le_strip.tif": (153.2, 153.2, 153.2),
        "tm_miniswhite_f32_contig_none_le_strip.tif": (153.2, 153.2, 153.2),
        "tm_miniswhite_u16_contig_none_le_strip.tif": (153.2, 153.2, 153.2),
        "tm_rgb_u16_separate_none_le_strip.tif": (144.4, 155.7, 163.0),
        "white_16bit_rgb_lossless.jp2": (186, 186, 186),
    }
    for name, means in expected.items():
        photo = read_or_refused(DATA / name, codecs)
        assert (photo is not None) is codecs
        if photo is not None:
            assert photo.pixels.mean((0, 1)) == pytest.approx(means, abs=0.1), name
            assert photo.alpha is None or photo.alpha.any()


def test_raw_files_are_refused_by_their_kind(tmp_path):
    with pytest.raises(UnreadableImageError, match=r"is a DNG.*only a preview: develop it"):
        read_image(DATA / "like_dng_thumbnail_first.dng")
    for start in (b"II*\0\x10\0\0\0CR\x02\0", b"IIU\0\x18\0\0\0", b"FUJIFILMCCD-RAW 0201"):
        with pytest.raises(UnreadableImageError, match="camera's raw file: develop it"):
            read_image(start + bytes(200))
    small = io.BytesIO()
    Image.new("RGB", (40, 30)).save(small, "TIFF", tiffinfo={0x00FE: 1})
    with pytest.raises(UnreadableImageError, match="only a preview"):
        read_image(small.getvalue())


def test_avif_whose_alpha_lacks_its_size_is_read():
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(DATA / "alpha_without_size.avif")
    photo = read_image(DATA / "alpha_without_size.avif")
    rows, columns = np.mgrid[:64, :96]
    expected = np.stack([columns * 2, rows * 3, rows + columns], -1)
    assert np.abs(photo.pixels - expected).max() <= 6
    assert np.abs(photo.alpha - np.clip((columns - 10) * 4, 0, 255)).max() <= 6
    data = (DATA / "alpha_without_size.avif").read_bytes()
    for length in range(20, len(data), 37):  # cut off, it is refused as any other
        with pytest.raises(UnreadableImageError):
            read_image(data[:length])


class TestHeic:
    """HEIC, by the extra `heif`."""

    @pytest.fixture(autouse=True)
    def library(self):
        self.heif = pytest.importorskip("pillow_heif")

    def test_a_picture_is_written_and_read(self):
        alpha = np.rint(OPACITY * 255).astype(np.uint8)
        photo = Photo(np.rint(RGB * 255).astype(np.uint8), alpha, dpi=(300, 300))
        data, notes = encode_image(photo, format="heic")
        again = read_image(data)
        assert (notes, again.format, again.dpi) == ((), "HEIF", (300, 300))
        assert distance(again, RGB) < 6
        assert np.abs(again.alpha.astype(int) - alpha).max() < 6

    def test_a_phone_photo_is_upright_with_its_profile_and_exif(self):
        from PIL import ImageCms

        stored = np.zeros((40, 60, 3), np.uint8)
        stored[:20, :, 0], stored[20:, :, 2] = 250, 250  # red above blue
        icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "Phone"
        image = Image.fromarray(stored)
        file, buffer = self.heif.from_pillow(image), io.BytesIO()
        file.save(buffer, quality=95, exif=exif.tobytes(), icc_profile=icc)
        photo = read_image(buffer.getvalue())
        assert photo.icc_profile == icc
        assert b"Phone" in photo.exif
        turned = np.rot90(stored, -1).astype(int)  # red to the right of blue
        assert np.median(np.abs(photo.pixels - turned)) < 12

    @pytest.mark.parametrize("bits", [10, 12])
    def test_deep_pictures_are_read(self, bits, monkeypatch):
        monkeypatch.setattr(self.heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
        file, buffer = self.heif.HeifFile(), io.BytesIO()
        samples = np.rint(RGB * 65535).astype(np.uint16)
        file.add_frombytes("RGB;16", (41, 33), samples.tobytes())
        file.save(buffer, quality=-1, chroma=444)
        assert distance(read_image(buffer.getvalue()), RGB) < 2

    def test_the_command_reads_a_folder_of_them(self, workplace):
        folder = workplace / "phone"
        folder.mkdir()
        photo = Photo(np.rint(RGB * 255).astype(np.uint8))
        (folder / "IMG_1.HEIC").write_bytes(encode_image(photo, format="heic")[0])
        assert ".heic" in READABLE_SUFFIXES
        invoke("stylize", "phone", "--style", "wheat-field", "-o", "out")
        assert read_image(workplace / "out" / "IMG_1.HEIC").format == "HEIF"


def test_a_missing_decoder_names_the_extra(workplace, monkeypatch):
    for module in ("pillow_heif", "pillow_jxl.JpegXLImagePlugin"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    (workplace / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    (workplace / "a.jxl").write_bytes(b"\xff\x0a" + bytes(100))
    for name, kind, extra in (("a.heic", "HEIC", "heif"), ("a.jxl", "JPEG XL", "jxl")):
        sentence = failure("stylize", name, "--style", "wheat-field", "-o", "out.png")
        assert f"is a {kind} picture" in sentence
        assert f'pip install "fast-style[{extra}]"' in sentence


class TestJpegXl:
    """JPEG XL, by the extra `jxl`."""

    @pytest.fixture(autouse=True)
    def library(self):
        pytest.importorskip("pillow_jxl")

    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_a_picture_is_read(self, channels):
        planes = [RED, GREEN, BLUE, OPACITY]
        samples = np.rint(np.stack(planes[:channels], -1) * 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(samples[..., 0] if channels == 1 else samples).save(
            buffer, "JXL", lossless=True
        )
        photo = read_image(buffer.getvalue())
        assert photo.format == "JXL"
        assert distance(photo, np.stack([RED] * 3, -1) if channels == 1 else RGB) < 1
        assert (photo.alpha is not None) is (channels == 4)

    @pytest.mark.parametrize(
        "size", [(8, 8), (256, 256), (41, 33), (600, 400), (1200, 1000), (5000, 40), (1, 700)]
    )
    def test_its_size_is_read_before_it_is_decoded(self, size):
        buffer = io.BytesIO()
        for options in ({}, {"use_container": True}):
            Image.new("L", size, 90).save(buffer := io.BytesIO(), "JXL", effort=1, **options)
            assert read_claimed_size("JXL", buffer.getvalue()[:4096]) == size
        with pytest.raises(Exception, match="the limit is 1e-06"):
            read_image(buffer.getvalue(), max_megapixels=1e-6)


class TestLibtiff:
    """What libtiff prints about damaged files."""

    def damaged(self, compression, at):
        image = Image.fromarray(np.random.default_rng(0).random((60, 200)) > 0.5)
        image.save(buffer := io.BytesIO(), "TIFF", compression=compression)
        data = bytearray(buffer.getvalue())
        data[at : at + 12] = np.random.default_rng(at).bytes(12)
        return bytes(data)

    def test_messages_become_notes_and_reach_no_stream(self, capfd):
        notes = [read_image(self.damaged("group4", at)).notes for at in range(300, 900, 60)]
        said = [note for found in notes for note in found]
        assert len(said) >= 5
        assert all(note.startswith("the decoder says: ") for note in said)
        assert any("ad code word" in note for note in said)
        assert capfd.readouterr().err == ""

    def test_messages_are_part_of_the_files_sentence(self, capfd):
        with pytest.raises(UnreadableImageError, match=r"^fax\.tif .*the decoder says: \w+"):
            read_image(self.damaged("tiff_lzw", 300), name="fax.tif")
        assert capfd.readouterr().err == ""

    def test_other_programs_of_the_process_keep_their_messages(self, capfd):
        read_image(self.damaged("group4", 300))
        with Image.open(io.BytesIO(self.damaged("group4", 360))) as image:
            image.load()
        assert "ad code word" in capfd.readouterr().err
