"""Where the files of jobs are: a folder, or whatever fsspec knows by a URL.

A file is there whole or not at all: in a folder by a rename, in an object store by its nature.
"""

import contextlib
import os
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from fast_style.errors import MissingExtraError, UsageError
from fast_style.storage.atomic_write import replace_file

_LEFT_BY_A_KILL = ".fast-style-"  # what `atomic` calls its temporary files


class Store:
    """Files by names with slashes, relative to one place; safe to use from several threads.

    Names are made by the callers, never by clients.
    """

    def __init__(self, place: str) -> None:
        """Look at the place, which is made if it is a folder.

        Args:
            place: a folder, or a URL such as `s3://bucket/jobs`.

        Raises:
            UsageError: the URL is of a kind that fsspec does not know, or the folder cannot be
                made.
            MissingExtraError: fsspec, or the package it needs for this URL, is not installed.
        """
        try:
            import fsspec
        except ModuleNotFoundError as error:
            raise MissingExtraError("a place for jobs", "fsspec", "serve") from error
        try:
            self._fs, root = fsspec.core.url_to_fs(place)
        except ImportError as error:
            scheme = place.partition("://")[0]
            raise UsageError(
                f"the place for results is {place!r}, and fsspec needs another package for "
                f"{scheme}: {error}"
            ) from error
        except ValueError as error:
            raise UsageError(
                f"the place for results is {place!r}; expected a folder or a URL that fsspec "
                f"knows ({error})"
            ) from error
        self._root = str(root).rstrip("/")
        protocol = self._fs.protocol
        self._local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)
        if self._local:
            try:
                Path(self._root).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(
                    f"the folder for results {self._root} cannot be made: {error.strerror}"
                ) from error

    def path(self, name: str) -> Path | None:
        """Give the path of a file if the store is a folder, else None; it need not exist."""
        return Path(self._root, name) if self._local else None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all; one that is there is replaced.

        Raises:
            OSError: it cannot be written.
        """
        if self._local:
            target = Path(self._root, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, data)
        else:
            self._fs.pipe_file(self._at(name), data)

    def write_stream(self, name: str, stream: IO[bytes]) -> None:
        """Write a file from a stream at its beginning, without holding it in memory.

        Raises:
            OSError: it cannot be written.
        """
        stream.seek(0)
        if not self._local:
            self._upload(name, stream)
            return
        target = Path(self._root, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{_LEFT_BY_A_KILL}{uuid.uuid4().hex}.tmp")
        try:
            with open(temporary, "xb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def _upload(self, name: str, stream: IO[bytes]) -> None:
        """Copy a stream into an object store, which shows a file when it is closed."""
        out = self._fs.open(self._at(name), "wb")
        try:
            shutil.copyfileobj(stream, out, 1 << 20)
        except BaseException:
            # Leaving a `with` would close it, and what was copied so far would be the file.
            with contextlib.suppress(Exception):
                out.discard()
                out.closed = True
            raise
        out.close()

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: there is none of that name.
            OSError: it cannot be read.
        """
        return cast(bytes, self._fs.cat_file(self._at(name)))

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; it can seek.

        Raises:
            FileNotFoundError: there is none of that name.
            OSError: it cannot be read.
        """
        return cast(BinaryIO, self._fs.open(self._at(name), "rb"))

    def exists(self, name: str) -> bool:
        """Tell whether there is a file or folder of that name."""
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self._at(name)))

    def names(self, folder: str = "") -> list[str]:
        """List what is directly in a folder, sorted; nothing if there is no such folder."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(self._at(folder), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = (str(path).rstrip("/").rpartition("/")[2] for path in found)
        return sorted(name for name in names if name and not name.startswith(_LEFT_BY_A_KILL))

    def delete(self, name: str) -> None:
        """Delete a file or a folder with all that is in it; nothing happens if it is not there.

        Raises:
            OSError: it cannot be deleted.
        """
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._at(name), recursive=True)
        self._fs.invalidate_cache()

    def age(self, folder: str) -> float | None:
        """Tell how many seconds ago the newest file in a folder was written; None if unknown."""
        newest = None
        try:
            for path, details in self._fs.find(self._at(folder), detail=True).items():
                changed = _changed(details) or self._fs.modified(path)
                newest = changed if newest is None else max(newest, changed)
        except (NotImplementedError, FileNotFoundError, KeyError):
            return None
        return None if newest is None else (datetime.now(UTC) - newest).total_seconds()

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


def _changed(details: dict[str, Any]) -> datetime | None:
    stamp = details.get("mtime", details.get("LastModified", details.get("created")))
    if isinstance(stamp, int | float):
        return datetime.fromtimestamp(stamp, UTC)
    if isinstance(stamp, datetime):
        return stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
    return None
