"""Writing pictures: what each format holds, and atomic writes."""

import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fast_style.errors import ImageWriteError, UsageError
from fast_style.images import (
    READABLE_SUFFIXES,
    WRITABLE_SUFFIXES,
    Photo,
    encode_image,
    format_from_suffix,
    read_image,
    suffix_for,
    write_image,
)

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.jpg"


@pytest.fixture(scope="module")
def photo():
    return read_image(ASTRONAUT)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("suffix", sorted(WRITABLE_SUFFIXES))
def test_every_writable_suffix_is_written(photo, tmp_path, suffix):
    assert suffix in READABLE_SUFFIXES
    path = tmp_path / f"out{suffix.upper()}"
    assert write_image(photo, path) == ()
    again = read_image(path)
    assert again.format == format_from_suffix(path)
    assert suffix_for(again.format) in WRITABLE_SUFFIXES
    assert format_from_suffix("x" + suffix_for(again.format)) == again.format
    error = np.abs(again.pixels.astype(int) - photo.pixels)
    assert error.mean() < (0.01 if again.format in ("PNG", "TIFF", "BMP") else 2.5)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_other_suffixes_are_refused(photo, tmp_path):
    for name, words in (("a.xyz", r"suffix \.xyz.*\.jpg.*\.png"), ("a", "no suffix")):
        with pytest.raises(ImageWriteError, match=words):
            write_image(photo, tmp_path / name)
    with pytest.raises(ImageWriteError, match=r"GIF is not a format.*JPEG"):
        encode_image(photo, format="GIF")
    assert suffix_for("GIF") == suffix_for(None) == ".png"
    assert suffix_for("jpeg") == ".jpg"
    assert list(tmp_path.iterdir()) == []
    write_image(photo, tmp_path / "a.xyz", format="png")
    assert read_image(tmp_path / "a.xyz").format == "PNG"


def test_quality_changes_the_size(photo):
    sizes = [len(encode_image(photo, format="JPEG", quality=q)[0]) for q in (1, 50, 95, 100)]
    assert sizes == sorted(sizes)
    assert len(encode_image(photo, format="JPEG")[0]) == sizes[2]
    for quality in (0, 101, -5, 90.5, "high"):
        with pytest.raises(UsageError, match="from 1 to 100"):
            encode_image(photo, format="JPEG", quality=quality)


def test_jpeg_keeps_fine_colour(photo):
    with Image.open(io.BytesIO(encode_image(photo, format="JPEG")[0])) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("format", ["JPEG", "BMP"])
def test_alpha_is_flattened_on_white(format):
    pixels, alpha = noise(16, 16, 3) // 128 * 255, np.zeros((16, 16), np.uint8)
    alpha[:, 8:] = 128
    pixels[:, 8:] = (200, 100, 0)
    data, notes = encode_image(Photo(pixels, alpha), format=format)
    assert notes == (f"{format} has no transparency: put on white",)
    again = read_image(data)
    assert again.alpha is None
    assert np.abs(again.pixels[:, :8].astype(int) - 255).max() <= 3
    expected = 255 - (255 - np.array([200, 100, 0])) * 128 / 255
    assert np.abs(again.pixels[:, 8:] - expected).max() <= (0.5 if format == "BMP" else 3)


def test_exif_too_big_for_jpeg_is_left_out():
    exif = Image.Exif()
    exif[0x927C] = os.urandom(70_000)
    photo = Photo(noise(8, 8, 3), exif=exif.tobytes())
    data, notes = encode_image(photo, format="JPEG")
    assert "more than JPEG can hold" in notes[0]
    assert read_image(data).exif is None
    data, notes = encode_image(photo, format="PNG")
    assert notes == ()
    assert len(read_image(data).exif) > 70_000


def test_metadata_that_cannot_be_written_is_noted():
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = Photo(noise(8, 8, 3), exif=exif.tobytes(), icc_profile=icc)
    notes = encode_image(photo, format="BMP")[1]
    assert ["profile" in note or "EXIF" in note for note in notes] == [True, True]
    broken = Photo(noise(8, 8, 3), exif=b"nonsense", icc_profile=b"nonsense")
    data, notes = encode_image(broken, format="PNG")
    assert ["broken" in notes[0], "damaged" in notes[1]] == [True, True]
    assert np.array_equal(read_image(data).pixels, broken.pixels)


def test_sides_too_long_for_a_format_are_refused():
    long = Photo(np.zeros((1, 70_000, 3), np.uint8))
    with pytest.raises(ImageWriteError, match=r"JPEG holds at most 65500.*70000x1.*PNG"):
        encode_image(long, format="JPEG")
    with pytest.raises(ImageWriteError, match=r"WebP holds at most 16383"):
        encode_image(long, format="WEBP")
    assert read_image(encode_image(long, format="PNG")[0]).width == 70_000
    edge = Photo(np.zeros((1, 65_500, 3), np.uint8))
    assert read_image(encode_image(edge, format="JPEG")[0]).width == 65_500


def test_failed_write_keeps_the_old_file(photo, tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(ImageWriteError, match=r"out\.png.*No space left"):
            write_image(photo, path)
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(ImageWriteError, match="No space left"):
            write_image(photo, path)

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_image(photo, path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_devices_are_written_to(photo):
    with pytest.raises(ImageWriteError, match="/dev/full could not be written: No space"):
        write_image(photo, "/dev/full", format="PNG")
    write_image(photo, "/dev/null", format="PNG")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_unwritable_paths_are_refused(photo, tmp_path, monkeypatch):
    with pytest.raises(ImageWriteError, match=r"none.out\.png could not be written: there is no"):
        write_image(photo, tmp_path / "none" / "out.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageWriteError, match="it is a folder"):
        write_image(photo, tmp_path / "folder.png")
    with pytest.raises(ImageWriteError, match="could not be written"):
        write_image(photo, "null\0.png")
    path = tmp_path / "kept.png"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.access", lambda *args: False)  # tests may run as the super-user
    with pytest.raises(ImageWriteError, match="write-protected"):
        write_image(photo, path)
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(os.name == "nt", reason="permissions and links of POSIX")
def test_permissions_and_links_are_kept(photo, tmp_path):
    path = tmp_path / "out.png"
    old = os.umask(0o027)
    try:
        write_image(photo, path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    link = tmp_path / "link.png"
    link.symlink_to(path)
    before = path.read_bytes()
    write_image(photo.with_pixels(photo.pixels[::-1]), link)
    assert link.is_symlink()
    assert path.read_bytes() != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_names_of_maximal_length_are_written(photo, tmp_path):
    path = tmp_path / ("n" * 251 + ".png")
    write_image(photo, path)
    assert np.array_equal(read_image(path).pixels, photo.pixels)
