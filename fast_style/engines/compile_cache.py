"""Cache of compiled models on disk.

No failure of the cache is an error: the model is then compiled. Each file begins with the SHA-256
of the rest, so that a truncated or damaged file is never loaded, and it is renamed into place when
complete, so that another process never reads a half-written one.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from fast_style.storage.atomic_write import replace_file

LIMIT = 24
"""Number of files to keep; the least recently used is deleted first. Each is about as large as the
model file."""

_SUFFIX = ".blob"
_DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """Return the folder for compiled models, which need not exist.

    It is below `$XDG_CACHE_HOME` if that variable is set, else below the platform's cache folder.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the specification ignores relative ones
        return Path(given, "fast-style", "compiled")
    return user_cache_path("fast-style", appauthor=False) / "compiled"


def load_blob(key: str) -> bytes | None:
    """Return the content stored under a key; None if it is missing or damaged."""
    try:
        path = cache_folder() / f"{key}{_SUFFIX}"
        content = path.read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: a user without a home folder
        return None
    digest, blob = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(blob).digest() != digest:
        return None
    with suppress(OSError):
        os.utime(path)  # marks it as recently used
    return blob


def store_blob(key: str, blob: bytes) -> None:
    """Store a compiled model; does nothing if the folder cannot be written."""
    with suppress(OSError, RuntimeError):
        folder = cache_folder()
        # Readable for this user only: loading a compiled model executes it.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(folder / f"{key}{_SUFFIX}", hashlib.sha256(blob).digest() + blob)
        _remove_oldest(folder)


def _remove_oldest(folder: Path) -> None:
    ages = []
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(OSError):  # another process may have deleted it
            ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages)[:-LIMIT]:
        with suppress(OSError):
            path.unlink()
