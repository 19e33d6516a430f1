"""Untrusted ZIP archives of photos: checked before anything is unpacked."""

import io
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from fast_style.errors import ArchiveError, UnreadableImageError
from fast_style.images import READABLE_SUFFIXES, WRITABLE_SUFFIXES, suffix_for
from fast_style.images.folder import fold_name

MAX_RATIO = 200.0
"""The largest ratio of unpacked to packed size; drawings as BMP or TIFF reach about a hundred."""

MAX_NAME_LENGTH = 512

_DIRECTORY_ENTRY = 1024
"""Bytes of the archive's directory that one photo may take."""

_UNCHECKED_BYTES = 1 << 20  # smaller photos may have any ratio

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an archive.

    Attributes:
        photos: the most photos.
        unpacked: the most bytes of all photos, unpacked.
        each: the most bytes of one photo, unpacked.
    """

    photos: int
    unpacked: int
    each: int = 512 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A photo in an archive.

    Attributes:
        name: in the archive, a relative path with slashes.
        size: unpacked, in bytes.
    """

    name: str
    size: int

    def target(self, format: str | None) -> str:
        """Return a name for its stylized picture; `name_targets` makes them unique."""
        path = PurePosixPath(self.name)
        suffix = path.suffix.lower()
        if format is None and suffix in WRITABLE_SUFFIXES:
            return self.name
        known = suffix in READABLE_SUFFIXES | WRITABLE_SUFFIXES
        stem = path.stem if known else path.name
        return str(path.with_name(stem + suffix_for(format)))


class PhotoArchive:
    """An archive whose directory was read and is within the limits.

    Folders, hidden files and `__MACOSX` are skipped. Whether a file is a picture is checked when it
    is read; one that is not does not make the archive invalid.

    Attributes:
        members: its photos, in its order.
    """

    def __init__(self, stream: IO[bytes], limits: Limits) -> None:
        """Read the directory; nothing is unpacked.

        Args:
            stream: the archive, which stays open as long as photos are read.
            limits: the limits of the archive.

        Raises:
            ArchiveError: it is not a ZIP archive or damaged, beyond a limit, encrypted, or has
                names that lead out of it, links, or the same name twice.
        """
        self._archive = _open(stream, limits)
        self._infos: list[zipfile.ZipInfo] = []
        self.members: list[Member] = []
        seen: set[str] = set()
        total = 0
        for info in self._archive.infolist():
            if info.is_dir():
                continue
            name = _checked_name(info)
            if any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")):
                continue
            if len(self.members) >= limits.photos:
                raise ArchiveError(
                    f"the archive has more than {limits.photos} photos: send it in several parts"
                )
            if fold_name(name) in seen:
                raise ArchiveError(f"the archive has {name!r} twice: rename one of the two")
            seen.add(fold_name(name))
            _check_size(info, name, limits)
            total += info.file_size
            if total > limits.unpacked:
                raise ArchiveError(
                    f"the photos of the archive have more than {limits.unpacked / 1e6:,.0f} "
                    "megabytes unpacked: send it in several parts"
                )
            self.members.append(Member(name, info.file_size))
            self._infos.append(info)
        if not self.members:
            raise ArchiveError("there is no photo in the archive")

    def read(self, position: int) -> bytes:
        """Unpack the photo at a position in `members`, at most the size in its entry.

        Raises:
            UnreadableImageError: it is damaged.
        """
        member, pieces = self.members[position], []
        left = member.size
        try:
            with self._archive.open(self._infos[position]) as packed:
                # Reading one byte more than there is makes zipfile check the checksum.
                while piece := packed.read(min(_CHUNK, left + 1)):
                    pieces.append(piece)
                    left -= len(piece)
                    if left < 0:
                        break
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
            raise UnreadableImageError(
                f"{member.name} is damaged in the archive ({error}); pack it again"
            ) from error
        if left:
            raise UnreadableImageError(
                f"{member.name} is damaged in the archive: its size is not what it should be"
            )
        return b"".join(pieces)


def name_targets(members: list[Member], format: str | None) -> list[str]:
    """Return unique names for the stylized pictures: `a.gif`, `a.png` become `a.png`, `a-2.png`.

    Args:
        members: those of a `PhotoArchive`.
        format: Pillow's name of their format; None keeps that of each photo.
    """
    taken: set[str] = set()
    targets = []
    for member in members:
        path = PurePosixPath(member.target(format))
        target, number = str(path), 1
        while fold_name(target) in taken:
            number += 1
            target = str(path.with_stem(f"{path.stem}-{number}"))
        taken.add(fold_name(target))
        targets.append(target)
    return targets


def _open(stream: IO[bytes], limits: Limits) -> zipfile.ZipFile:
    # zipfile reads the whole directory at once.
    limit = limits.photos * _DIRECTORY_ENTRY + (1 << 17)
    try:
        return zipfile.ZipFile(cast(BinaryIO, _Bounded(stream, limit)))
    except ArchiveError:
        raise
    # Damaged headers raise other errors too, such as struct.error and UnicodeDecodeError.
    except Exception as error:
        raise ArchiveError(
            f"the archive is not a ZIP file, or is damaged ({str(error) or type(error).__name__}); "
            "pack the photos again"
        ) from error


class _Bounded(io.RawIOBase):
    """A stream that refuses to read more than a limit at once."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self._limit = stream, limit

    def read(self, size: int = -1) -> bytes:
        if size > self._limit or (size < 0 and self._remaining() > self._limit):
            raise ArchiveError(
                "the directory of the archive is too large for the photos that it may have: send "
                "it in several parts"
            )
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def _remaining(self) -> int:
        here = self._stream.tell()
        end = self._stream.seek(0, io.SEEK_END)
        self._stream.seek(here)
        return end - here


def _checked_name(info: zipfile.ZipInfo) -> str:
    name, shown = info.filename, info.filename[:80]
    parts = name.split("/")
    if (
        len(name) > MAX_NAME_LENGTH
        or not name.isprintable()
        or "\\" in info.orig_filename
        or name.startswith("/")
        or ":" in name
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise ArchiveError(
            f"the archive has a file of the name {shown!r}; expected relative names with slashes "
            f"and no .. or : in them, of at most {MAX_NAME_LENGTH} characters"
        )
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ArchiveError(f"{shown!r} in the archive is a link or device: pack the photo itself")
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveError(f"{shown!r} in the archive is encrypted: pack it without a password")
    if info.compress_type not in _METHODS:
        raise ArchiveError(
            f"{shown!r} in the archive is compressed by an unsupported method: use plain ZIP "
            "(deflate)"
        )
    return name


def _check_size(info: zipfile.ZipInfo, name: str, limits: Limits) -> None:
    if info.file_size > limits.each:
        raise ArchiveError(
            f"{name!r} has {info.file_size / 1e6:,.0f} megabytes unpacked, and a photo may have "
            f"{limits.each / 1e6:,.0f}"
        )
    ratio = info.file_size / max(1, info.compress_size)
    if info.file_size > _UNCHECKED_BYTES and ratio > MAX_RATIO:
        raise ArchiveError(
            f"{name!r} unpacks to {ratio:,.0f} times its size, more than the {MAX_RATIO:g} of any "
            "photo: it looks like a ZIP bomb"
        )
