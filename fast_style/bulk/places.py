"""Where pictures are and go to: a folder of this machine, or whatever fsspec knows by a URL.

A file is there whole or not at all. Folders need no fsspec.
"""

import importlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fast_style.errors import BulkError, FastStyleError, MissingExtraError, UsageError
from fast_style.storage.atomic_write import replace_file

# One PUT shows the whole object or nothing. Elsewhere (sftp, hdfs, smb) a file is seen as it grows,
# so it is written under another name and moved.
_ONE_PUT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory"}


def is_url(place: str) -> bool:
    """Tell whether a text is a URL for fsspec, and not a path of this machine."""
    return "://" in place


def local_path(place: str) -> str | None:
    """Give the path that a text stands for on this machine, `file://` included; None for others."""
    if place.startswith("file://"):
        return place.removeprefix("file://")
    return None if is_url(place) else place


def filesystem(url: str) -> tuple[Any, str]:
    """Give fsspec's file system for a URL, and the path in it.

    Raises:
        MissingExtraError: fsspec is not installed.
        UsageError: fsspec does not know such URLs, or needs a package that is not installed.
    """
    fsspec = require("fsspec", "a URL")
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise UsageError(f"{url} needs another package: {error}") from error
    except ValueError as error:
        raise UsageError(f"{url} is not a URL that fsspec knows: {error}") from error
    return system, str(path)


def require(package: str, feature: str) -> Any:
    """Import a package of the extra `bulk`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature, package, "bulk") from error


def reason(error: BaseException) -> str:
    """Say in a few words why a place could not be reached."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:300] or type(error).__name__


class Place:
    """Files by names with slashes, below one folder or URL; safe to use from several threads."""

    def __init__(self, where: str) -> None:
        """Take the place; nothing is made before something is written.

        Args:
            where: a folder or a URL, made whole already: see `absolute`.

        Raises:
            MissingExtraError: it is a URL, and fsspec is not installed.
            UsageError: fsspec does not know such URLs.
        """
        self.where = where
        path = local_path(where)
        self.folder = None if path is None else Path(path)
        if self.folder is None:
            self._system, root = filesystem(where)
            self._root = root.rstrip("/")
            known = self._system.protocol
            self._one_put = not _ONE_PUT.isdisjoint((known,) if isinstance(known, str) else known)

    def url(self, name: str) -> str:
        """Give the path or URL of a file, as the user knows it."""
        return f"{self.where}/{name}" if self.folder is None else str(self.folder / name)

    def write(self, name: str, data: bytes, *, scratch: str) -> None:
        """Write a file, whole or not at all; one that is there is replaced.

        Args:
            name: the file's.
            data: its bytes.
            scratch: the folder, of this place, for temporary files. In one folder, what a kill
                leaves of them is found again, among millions of pictures it is not.

        Raises:
            Exception: it cannot be written; remote file systems have errors of their own.
        """
        if self.folder is not None:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.folder / scratch
            temporary.mkdir(parents=True, exist_ok=True)
            replace_file(path, data, scratch=temporary)
        elif self._one_put:
            self._system.pipe_file(self._at(name), data)
        else:
            temporary_name = self._at(f"{scratch}/{secrets.token_hex(8)}.tmp")
            for path_name in (temporary_name, self._at(name)):
                self._system.makedirs(path_name.rpartition("/")[0], exist_ok=True)
            self._system.pipe_file(temporary_name, data)
            self._system.mv(temporary_name, self._at(name))

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        if self.folder is not None:
            return (self.folder / name).read_bytes()
        data: bytes = self._system.cat_file(self._at(name))
        return data

    def names(self, folder: str) -> list[str]:
        """Name the files in a folder, sorted, from the place on; none if it is not there."""
        if self.folder is not None:
            with suppress(FileNotFoundError):
                found = os.listdir(self.folder / folder)
                return sorted(f"{folder}/{name}" for name in found)
            return []
        self._system.invalidate_cache()
        try:
            paths = self._system.ls(self._at(folder), detail=False)
        except FileNotFoundError:
            return []
        last = (str(path).rstrip("/").rpartition("/")[2] for path in paths)
        return sorted(f"{folder}/{name}" for name in last if name)

    def exists(self, name: str) -> bool:
        """Tell whether a file is there."""
        if self.folder is not None:
            return (self.folder / name).exists()
        self._system.invalidate_cache(self._at(name))
        return bool(self._system.exists(self._at(name)))

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        if self.folder is not None:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            return
        with suppress(FileNotFoundError):
            self._system.invalidate_cache()
            self._system.rm(self._at(name), recursive=True)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            if self.folder is not None:
                (self.folder / name).unlink()
            else:
                self._system.rm_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Put what goes wrong meanwhile into a sentence: `what` cannot be done."""
        try:
            yield
        except FastStyleError:
            raise
        except Exception as error:  # remote file systems raise anything
            raise BulkError(f"{self.where} {what}: {reason(error)}") from error


def absolute(place: str) -> str:
    """Make a path whole, so that it means the same in every process; URLs keep their form."""
    path = local_path(place)
    return place.rstrip("/") if path is None else os.path.realpath(path)


def read_bytes(source: str) -> bytes:
    """Read a file by its URL.

    Raises:
        Exception: of the remote file system's own kinds.
    """
    system, path = filesystem(source)
    data: bytes = system.cat_file(path)
    return data
