"""ZIP archives of photos from strangers: what is taken, and what is refused before unpacking."""

import io
import stat
import struct
import zipfile

import pytest

from fast_style.errors import ArchiveError, UnreadableImageError
from fast_style.service.jobs.archives import Limits, Member, PhotoArchive, name_targets

LIMITS = Limits(photos=5, unpacked=20_000_000, each=10_000_000)


def packed(*files, method=zipfile.ZIP_DEFLATED):
    """An archive of names and contents, or of ZipInfos and contents."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return stream


def refused(stream, limits=LIMITS):
    with pytest.raises(ArchiveError) as caught:
        PhotoArchive(stream, limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_photos_are_listed_in_order_and_read(astronaut):
    photo = astronaut.read_bytes()
    stream = packed(
        ("b/photo.jpg", photo),
        ("b/", b""),
        ("a.png", b"no photo, but that is its own matter"),
        ("__MACOSX/b/._photo.jpg", b"resource fork"),
        (".DS_Store", b"what finders leave"),
    )
    archive = PhotoArchive(stream, LIMITS)
    assert archive.members == [Member("b/photo.jpg", len(photo)), Member("a.png", 36)]
    assert archive.read(0) == photo
    assert archive.read(1).startswith(b"no photo")
    assert archive.read(0) == photo


def test_names_of_the_pictures_are_unique():
    names = ["a.gif", "a.png", "A.PNG", "b.JPG", "notes.txt", "x/a.png", "no-suffix"]
    members = [Member(name, 1) for name in names]
    same = name_targets(members, None)
    assert same[:4] == ["a.png", "a-2.png", "A-3.PNG", "b.JPG"]
    assert same[4:] == ["notes.txt.png", "x/a.png", "no-suffix.png"]
    webp = name_targets(members, "WEBP")
    assert webp[:4] == ["a.webp", "a-2.webp", "A-3.webp", "b.webp"]
    assert len({name.casefold() for name in webp}) == len(names)


@pytest.mark.parametrize(
    "name",
    [
        "../escaped.jpg",
        "a/../../escaped.jpg",
        "/etc/passwd",
        "a//b.jpg",
        "./a.jpg",
        "C:/windows.jpg",
        "a\\..\\b.jpg",
        "line\nbreak.jpg",
        "n" * 600 + ".jpg",
    ],
)
def test_names_that_lead_out_of_the_archive_are_refused(name):
    assert "name" in refused(packed((name, b"x")))


def test_names_that_are_equal_to_some_file_systems_are_refused():
    assert "twice" in refused(packed(("a.jpg", b"x"), ("A.JPG", b"y")))
    assert "twice" in refused(packed(("\u00fc.jpg", b"x"), ("u\u0308.jpg", b"y")))


def test_links_and_devices_are_refused():
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        info = zipfile.ZipInfo("link.jpg")
        info.external_attr = (kind | 0o777) << 16
        assert "link or device" in refused(packed((info, b"/etc/passwd")))


def test_too_many_photos_and_none_are_refused():
    assert "more than 5" in refused(packed(*((f"{n}.jpg", b"x") for n in range(6))))
    assert "no photo" in refused(packed((".hidden.jpg", b"x")))
    assert "no photo" in refused(packed())


def test_sizes_are_checked_before_unpacking():
    noise = bytes(range(256)) * 20_000
    assert "may have 1" in refused(packed(("a.jpg", noise)), Limits(5, 20_000_000, 1_000_000))
    three = packed(*((f"{n}.jpg", noise) for n in range(3)), method=zipfile.ZIP_STORED)
    assert "unpacked" in refused(three, Limits(5, 12_000_000))


def test_zip_bomb_is_refused():
    bomb = packed(("bomb.bmp", b"\0" * 9_000_000))
    assert len(bomb.getvalue()) < 20_000
    assert "bomb" in refused(bomb)
    # A small one is none: an even picture of a megabyte may well be packed a thousandfold.
    assert PhotoArchive(packed(("even.bmp", b"\0" * 1_000_000)), LIMITS).members


def test_entry_with_a_wrong_size_is_damaged():
    stream = packed(("a.bmp", b"\0" * 5_000))
    content = bytearray(stream.getvalue())
    # The size in the directory, and in the file's own header.
    for mark, place in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        at = content.index(mark) + place
        assert struct.unpack_from("<I", content, at) == (5_000,)
        struct.pack_into("<I", content, at, 100)
    archive = PhotoArchive(io.BytesIO(content), LIMITS)
    with pytest.raises(UnreadableImageError, match=r"a\.bmp is damaged"):
        archive.read(0)


def test_too_large_directory_is_not_read():
    many = packed(*((f"{n:0500d}.jpg", b"") for n in range(400)))
    assert "directory" in refused(many, Limits(5, 1000))


def test_encrypted_and_unusual_compression_are_refused():
    stream = packed(("a.jpg", b"secret"))
    content = bytearray(stream.getvalue())
    content[content.index(b"PK\1\2") + 8] |= 1
    assert "encrypted" in refused(io.BytesIO(content))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert "plain ZIP" in refused(packed(("a.jpg", b"x" * 100), method=method))


def test_files_that_are_not_archives_are_refused(astronaut):
    whole = packed(("a.jpg", astronaut.read_bytes())).getvalue()
    for content in (b"", b"PK", b"PK\5\6", astronaut.read_bytes(), whole[: len(whole) // 2]):
        assert "not a ZIP" in refused(io.BytesIO(content))


def test_any_damage_is_reported_in_a_sentence(astronaut):
    """For any wrong byte there is an error of the package, or the photo."""
    import numpy as np

    photo = astronaut.read_bytes()[:3000]
    whole = packed(("a.jpg", photo), ("b.jpg", photo)).getvalue()
    random = np.random.default_rng(7)
    seen = set()
    for _ in range(400):
        content = bytearray(whole)
        # The headers rather than the photos, most of the time.
        at = random.integers(len(content) - 160, len(content))
        content[at] = random.integers(256)
        try:
            archive = PhotoArchive(io.BytesIO(content), LIMITS)
            for position in range(len(archive.members)):
                archive.read(position)
            seen.add("read")
        except (ArchiveError, UnreadableImageError) as error:
            seen.add(type(error).__name__)
    assert seen == {"read", "ArchiveError", "UnreadableImageError"}
