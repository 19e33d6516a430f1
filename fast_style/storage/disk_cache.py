"""Caches on disk: compiled networks, predicted styles, refined styles.

No failure of a cache is an error: what it would have given is computed again. Each file begins with
the SHA-256 of the rest, so that a truncated or damaged file is never used, and it is renamed into
place when complete, so that another process never reads a half-written one.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from fast_style.storage.atomic_write import replace_file

_SUFFIX = ".blob"
_DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """Return the folder of all caches, which need not exist.

    It is below `$XDG_CACHE_HOME` if that variable is set, else below the platform's cache folder.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the specification ignores relative ones
        return Path(given, "fast-style")
    return user_cache_path("fast-style", appauthor=False)


class DiskCache:
    """One kind of content by key; the least recently used files are deleted.

    Attributes:
        name: its folder below `cache_folder()`.
        limit: number of files to keep.
    """

    def __init__(self, name: str, limit: int) -> None:
        """See the class."""
        self.name, self.limit = name, limit

    @property
    def folder(self) -> Path:
        """The folder of its files, which need not exist."""
        return cache_folder() / self.name

    def load(self, key: str) -> bytes | None:
        """Return the content stored under a key; None if it is missing or damaged."""
        try:
            path = self.folder / f"{key}{_SUFFIX}"
            with path.open("rb", buffering=0) as file:  # read() in one piece
                digest, stored = file.read(_DIGEST), file.read()
        except (OSError, RuntimeError):  # RuntimeError: a user without a home folder
            return None
        if hashlib.sha256(stored).digest() != digest:
            return None
        with suppress(OSError):
            os.utime(path)  # marks it as recently used
        return stored

    def store(self, key: str, content: bytes) -> None:
        """Store content under a key; does nothing if the folder cannot be written."""
        with suppress(OSError, RuntimeError):
            folder = self.folder
            # Readable for this user only: loading a compiled model executes it.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(folder / f"{key}{_SUFFIX}", hashlib.sha256(content).digest() + content)
            self._remove_oldest(folder)

    def _remove_oldest(self, folder: Path) -> None:
        ages = []
        for path in folder.glob(f"*{_SUFFIX}"):
            with suppress(OSError):  # another process may have deleted it
                ages.append((path.stat().st_mtime, path))
        for _, path in sorted(ages)[: -self.limit]:
            with suppress(OSError):
                path.unlink()
