"""Files in a folder, or in whatever storage fsspec knows by a URL (S3, SFTP, HDFS and others).

A file is written completely or not at all: in a folder by renaming a temporary file; in an object
store by one PUT, which shows the whole object or nothing; elsewhere (SFTP, HDFS, SMB), where
readers would see a file grow, by moving a temporary file. A folder needs no fsspec.
"""

import contextlib
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from fast_style.errors import MissingExtraError, UsageError
from fast_style.storage.atomic_write import is_temporary_name, replace_file, temporary_name

__all__ = [
    "ObjectStore",
    "absolute_location",
    "is_url",
    "local_path",
    "open_filesystem",
    "read_url",
    "short_reason",
]

_ATOMIC_PUT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory"}
"""Protocols that show a new file when it is complete."""

_CHUNK = 1 << 20


class ObjectStore:
    """Files by relative names with slashes, in one folder or below one URL; safe for threads.

    Names are made by the callers, never by clients.

    Attributes:
        location: the folder or URL.
        folder: the folder, or None for a URL.
    """

    def __init__(self, location: str, *, temporary_folder: str | None = None, extra: str) -> None:
        """Open a store; nothing is created before something is written.

        Args:
            location: a folder, or a URL such as `s3://bucket/jobs`.
            temporary_folder: where temporary files go, relative to the store, if not beside each
                file. In one folder, those that a kill leaves behind are easy to find and delete.
            extra: the optional extra that installs fsspec, for the error message.

        Raises:
            MissingExtraError: it is a URL, and fsspec is not installed.
            UsageError: fsspec does not know such URLs, or needs another package for them.
        """
        self.location = location
        self._temporary_folder = temporary_folder
        path = local_path(location)
        self.folder = None if path is None else Path(path).expanduser().absolute()
        if self.folder is None:
            self._system, root = open_filesystem(location, extra=extra)
            self._root = root.rstrip("/")
            known = self._system.protocol
            protocols = (known,) if isinstance(known, str) else known
            self._atomic_put = not _ATOMIC_PUT.isdisjoint(protocols)

    def create_folder(self) -> None:
        """Create the folder of a store that is a folder.

        Raises:
            UsageError: it cannot be created.
        """
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(
                    f"the folder {self.folder} cannot be created: {error.strerror}"
                ) from error

    def check_writable(self) -> None:
        """Check that files can be written, if the store is a folder.

        Raises:
            UsageError: they cannot.
        """
        if self.folder is not None:
            try:
                with tempfile.TemporaryFile(dir=self.folder):
                    pass
            except OSError as error:
                raise UsageError(
                    f"the folder {self.folder} cannot be written: {error.strerror}"
                ) from error

    def url(self, name: str) -> str:
        """Return the path or URL of a file, as users know it."""
        return f"{self.location}/{name}" if self.folder is None else str(self.folder / name)

    def path(self, name: str) -> Path | None:
        """Return the path of a file if the store is a folder, else None; it need not exist."""
        return None if self.folder is None else self.folder / name

    def write(self, name: str, data: bytes) -> None:
        """Write a file completely or not at all; one that is there is replaced.

        Raises:
            Exception: it cannot be written: OSError in a folder, other kinds in other storage.
        """
        if self.folder is not None:
            self._write_to_folder(self.folder, name, data)
        elif self._atomic_put:
            self._system.pipe_file(self._at(name), data)
        else:
            temporary = self._remote_temporary(name)
            self._system.pipe_file(temporary, data)
            self._system.mv(temporary, self._at(name))

    def write_stream(self, name: str, stream: IO[bytes]) -> None:
        """Write a file from a stream, read from its beginning, without holding it in memory.

        Raises:
            Exception: as `write`, or what reading the stream raises.
        """
        stream.seek(0)
        if self.folder is not None:
            self._write_to_folder(self.folder, name, stream)
        elif self._atomic_put:
            self._upload(self._at(name), stream)
        else:
            temporary = self._remote_temporary(name)
            self._upload(temporary, stream)
            self._system.mv(temporary, self._at(name))

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: there is none of that name.
            Exception: it cannot be read: OSError in a folder, other kinds in other storage.
        """
        if self.folder is not None:
            return (self.folder / name).read_bytes()
        return cast(bytes, self._system.cat_file(self._at(name)))

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; it can seek.

        Raises:
            FileNotFoundError: there is none of that name.
            Exception: it cannot be read, as in `read`.
        """
        if self.folder is not None:
            return open(self.folder / name, "rb")
        return cast(BinaryIO, self._system.open(self._at(name), "rb"))

    def exists(self, name: str) -> bool:
        """Return whether there is a file or folder of that name."""
        if self.folder is not None:
            return (self.folder / name).exists()
        self._system.invalidate_cache(self._at(name))
        return bool(self._system.exists(self._at(name)))

    def names(self, folder: str = "") -> list[str]:
        """List what is directly in a folder, sorted; nothing if there is no such folder."""
        try:
            if self.folder is not None:
                found = os.listdir(self.folder / folder)
            else:
                self._system.invalidate_cache()
                paths = self._system.ls(self._at(folder), detail=False)
                found = [str(path).rstrip("/").rpartition("/")[2] for path in paths]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in found if name and not is_temporary_name(name))

    def delete_file(self, name: str) -> None:
        """Delete a file, if it is there.

        Raises:
            Exception: it cannot be deleted: OSError in a folder, other kinds in other storage.
        """
        with contextlib.suppress(FileNotFoundError):
            if self.folder is not None:
                (self.folder / name).unlink()
            else:
                self._system.rm_file(self._at(name))

    def delete_folder(self, name: str, *, ignore_errors: bool = False) -> None:
        """Delete a folder with all that is in it, if it is there.

        Args:
            name: the folder.
            ignore_errors: in a store that is a folder, leave what cannot be deleted.

        Raises:
            Exception: it cannot be deleted: OSError in a folder, other kinds in other storage.
        """
        with contextlib.suppress(FileNotFoundError):
            if self.folder is not None:
                shutil.rmtree(self.folder / name, ignore_errors=ignore_errors)
                return
            self._system.invalidate_cache()
            self._system.rm(self._at(name), recursive=True)
        if self.folder is None:
            self._system.invalidate_cache()

    def age(self, folder: str) -> float | None:
        """Return the seconds since the newest file in a folder was written; None if unknown."""
        if self.folder is not None:
            return _age_of_folder(self.folder / folder)
        newest = None
        try:
            for path, details in self._system.find(self._at(folder), detail=True).items():
                changed = _time_of_change(details) or self._system.modified(path)
                newest = changed if newest is None else max(newest, changed)
        except (NotImplementedError, FileNotFoundError, KeyError):
            return None
        return None if newest is None else (datetime.now(UTC) - newest).total_seconds()

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _write_to_folder(self, folder: Path, name: str, data: bytes | IO[bytes]) -> None:
        path, scratch = folder / name, None
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._temporary_folder is not None:
            scratch = folder / self._temporary_folder
            scratch.mkdir(parents=True, exist_ok=True)
        replace_file(path, data, scratch=scratch)

    def _remote_temporary(self, name: str) -> str:
        """Return the path of a temporary file for `name`; the folders of both are created."""
        folder = self._temporary_folder
        if folder is None:
            folder = name.rpartition("/")[0]
        temporary = self._at(f"{folder}/{temporary_name()}" if folder else temporary_name())
        for path in (temporary, self._at(name)):
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        return temporary

    def _upload(self, path: str, stream: IO[bytes]) -> None:
        """Copy a stream into a remote file; an object store shows it when it is closed."""
        out = self._system.open(path, "wb")
        try:
            shutil.copyfileobj(stream, out, _CHUNK)
        except BaseException:
            # Leaving a `with` would close it, and what was copied so far would be the file.
            with contextlib.suppress(Exception):
                out.discard()
                out.closed = True
            raise
        out.close()


def is_url(location: str) -> bool:
    """Return whether a text is a URL for fsspec, and not a path of this machine."""
    return "://" in location


def local_path(location: str) -> str | None:
    """Return the path that a text stands for on this machine, `file://` included; None for URLs."""
    if location.startswith("file://"):
        path = location.removeprefix("file://")
        return path.lstrip("/") if os.name == "nt" and path[2:3] == ":" else path
    return None if is_url(location) else location


def absolute_location(location: str) -> str:
    """Return a path as an absolute one, the same for every process; URLs keep their form."""
    path = local_path(location)
    return location.rstrip("/") if path is None else os.path.realpath(path)


def open_filesystem(url: str, *, extra: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Args:
        url: the URL.
        extra: the optional extra that installs fsspec, for the error message.

    Raises:
        MissingExtraError: fsspec is not installed.
        UsageError: fsspec does not know such URLs, or needs another package for them.
    """
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtraError("a URL", "fsspec", extra) from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise UsageError(f"fsspec needs another package for {url}: {error}") from error
    except ValueError as error:
        raise UsageError(
            f"{url} is not a URL that fsspec knows ({error}): give a folder, or a URL such as "
            "s3://bucket/folder"
        ) from error
    return system, str(path)


def read_url(url: str, *, extra: str) -> bytes:
    """Read a file by its URL.

    Args:
        url: the URL.
        extra: as for `open_filesystem`.

    Raises:
        MissingExtraError: as `open_filesystem`.
        UsageError: as `open_filesystem`.
        Exception: it cannot be read; remote file systems have errors of their own.
    """
    system, path = open_filesystem(url, extra=extra)
    return cast(bytes, system.cat_file(path))


def short_reason(error: BaseException) -> str:
    """Return in a few words why a file could not be reached."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:300] or type(error).__name__


def _age_of_folder(folder: Path) -> float | None:
    newest = None
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                changed = os.stat(os.path.join(parent, name)).st_mtime
                newest = changed if newest is None else max(newest, changed)
    return None if newest is None else datetime.now(UTC).timestamp() - newest


def _time_of_change(details: dict[str, Any]) -> datetime | None:
    stamp = details.get("mtime", details.get("LastModified", details.get("created")))
    if isinstance(stamp, int | float):
        return datetime.fromtimestamp(stamp, UTC)
    if isinstance(stamp, datetime):
        return stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
    return None
