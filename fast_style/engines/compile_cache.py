"""Compiled models on disk.

A cache only ever saves time: whatever is wrong with it, the model is compiled anew. Each file
begins with the SHA-256 of the rest, so that one that is cut short or damaged is never handed to a
compiler's loader, and is renamed into place when complete, so that two processes do not meet in a
half-written one.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from fast_style.storage.atomic_write import replace_file

LIMIT = 24
"""Files to keep; the least recently used go first. One takes about as much as its model file."""

_SUFFIX = ".blob"
_DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """Give the folder for compiled models, which need not exist.

    `$XDG_CACHE_HOME/fast-style` where that variable is set; else the platform's own place.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the specification ignores relative ones
        return Path(given, "fast-style", "compiled")
    return user_cache_path("fast-style", appauthor=False) / "compiled"


def load_blob(key: str) -> bytes | None:
    """Read what was stored under a key; None where it is not there or not sound."""
    try:
        path = cache_folder() / f"{key}{_SUFFIX}"
        content = path.read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: a user without a home folder
        return None
    digest, blob = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(blob).digest() != digest:
        return None
    with suppress(OSError):
        os.utime(path)  # its last use, for the limit
    return blob


def store_blob(key: str, blob: bytes) -> None:
    """Store a compiled model; does nothing where the folder cannot be written."""
    with suppress(OSError, RuntimeError):
        folder = cache_folder()
        # For this user only: a compiled model is code to whoever loads it.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(folder / f"{key}{_SUFFIX}", hashlib.sha256(blob).digest() + blob)
        _remove_oldest(folder)


def _remove_oldest(folder: Path) -> None:
    ages = []
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(OSError):  # another process may have removed it
            ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages)[:-LIMIT]:
        with suppress(OSError):
            path.unlink()
