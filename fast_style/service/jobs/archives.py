"""ZIP archives of photos from strangers: what is in them, settled before anything is unpacked."""

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

MOST_RATIO = 200.0
"""How many times as large as packed a photo may be: above that it is no photo. Drawings as BMP or
TIFF get to about a hundred."""

LONGEST_NAME = 512

_DIRECTORY_ENTRY = 1024
"""Bytes of the directory at the archive's end that a photo may take."""

_FREE_RATIO = 1 << 20  # photos that unpack to less may have any ratio

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold.

    Attributes:
        photos: so many at most.
        unpacked: so many bytes at most, all photos together.
        each: so many bytes at most, one photo.
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
        """Name its stylized picture, see `name_targets` for all of them."""
        path = PurePosixPath(self.name)
        suffix = path.suffix.lower()
        if format is None and suffix in WRITABLE_SUFFIXES:
            return self.name
        known = suffix in READABLE_SUFFIXES | WRITABLE_SUFFIXES
        stem = path.stem if known else path.name
        return str(path.with_name(stem + suffix_for(format)))


class PhotoArchive:
    """An archive whose directory has been read and found within the limits.

    Folders and what file managers leave (`__MACOSX`, hidden files) are passed over. Whether a
    photo is one shows when it is read; that is its own matter and not the archive's.

    Attributes:
        members: its photos, in its order.
    """

    def __init__(self, stream: IO[bytes], limits: Limits) -> None:
        """Read the directory; nothing is unpacked.

        Args:
            stream: the archive, which stays open as long as photos are read.
            limits: what it may hold.

        Raises:
            ArchiveError: it is no ZIP archive or damaged, beyond a limit, encrypted, or has names
                that lead out of it, links, or the same name twice.
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
        """Unpack the photo at a position in `members`, never more than its entry says.

        Raises:
            UnreadableImageError: it is damaged.
        """
        member, pieces = self.members[position], []
        left = member.size
        try:
            with self._archive.open(self._infos[position]) as packed:
                # One byte more than there is makes the end, and with it the checksum, be looked at.
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
    """Name the stylized pictures, each once: of `a.gif` and `a.png` the second becomes `a-2.png`.

    Args:
        members: those of a `PhotoArchive`.
        format: Pillow's name of the format that is asked for; None keeps that of each photo.
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
    # Python reads the whole directory before it can be counted.
    most = limits.photos * _DIRECTORY_ENTRY + (1 << 17)
    try:
        return zipfile.ZipFile(cast(BinaryIO, _Bounded(stream, most)))
    except ArchiveError:
        raise
    # Damaged headers raise other things too, such as struct.error and UnicodeDecodeError.
    except Exception as error:
        raise ArchiveError(
            f"the archive is no ZIP file, or is damaged ({str(error) or type(error).__name__}); "
            "pack the photos again"
        ) from error


class _Bounded(io.RawIOBase):
    """A stream that is never read in larger pieces than a limit."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._most = stream, most

    def read(self, size: int = -1) -> bytes:
        if size > self._most or (size < 0 and self._rest() > self._most):
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

    def _rest(self) -> int:
        here = self._stream.tell()
        end = self._stream.seek(0, io.SEEK_END)
        self._stream.seek(here)
        return end - here


def _checked_name(info: zipfile.ZipInfo) -> str:
    name, shown = info.filename, info.filename[:80]
    parts = name.split("/")
    if (
        len(name) > LONGEST_NAME
        or not name.isprintable()
        or "\\" in info.orig_filename
        or name.startswith("/")
        or ":" in name
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise ArchiveError(
            f"the archive has a file of the name {shown!r}; expected relative names with slashes "
            f"and no .. or : in them, of at most {LONGEST_NAME} characters"
        )
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ArchiveError(f"{shown!r} in the archive is a link or device: pack the photo itself")
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveError(f"{shown!r} in the archive is encrypted: pack it without a password")
    if info.compress_type not in _METHODS:
        raise ArchiveError(
            f"{shown!r} in the archive is packed in a way that is not read here: use plain ZIP "
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
    if info.file_size > _FREE_RATIO and ratio > MOST_RATIO:
        raise ArchiveError(
            f"{name!r} unpacks to {ratio:,.0f} times its size, and photos do to less than "
            f"{MOST_RATIO:g}: it looks like a bomb"
        )
