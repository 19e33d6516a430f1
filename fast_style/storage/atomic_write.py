"""Writing a file completely or not at all."""

import contextlib
import os
import re
import shutil
import stat
from pathlib import Path
from typing import IO

TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".fast-style-", ".tmp"
"""How names of temporary files begin and end; a process that is killed may leave some behind."""

_CHUNK = 1 << 20
_DESCRIPTOR = re.compile(r"/dev/fd/(\d+)|/proc/self/fd/(\d+)|/dev/std(out|err)")


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a pipe, a device or an open descriptor, such as `/dev/stdout`.

    Shells pass such a path for `>(command)`. It is written to, and never replaced by a file.
    """
    if descriptor_of(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def descriptor_of(path: str | os.PathLike[str]) -> int | None:
    """Return the number of the open descriptor that a path stands for; None if it is none."""
    found = _DESCRIPTOR.fullmatch(os.fspath(path)) if os.name == "posix" else None
    if found is None:
        return None
    return int(found[1] or found[2] or {"out": 1, "err": 2}[found[3]])


def replace_file(path: Path, data: bytes | IO[bytes], *, scratch: Path | None = None) -> None:
    """Write a temporary file beside `path` and move it there once it is complete.

    Whatever goes wrong, `path` holds what it held before and the temporary file is gone. A link is
    followed, a file that was there keeps its permissions, a new one gets those the umask gives.

    Args:
        path: the file.
        data: its bytes, or a stream to copy from its current position.
        scratch: a folder for the temporary file, of the same file system, instead of beside `path`.

    Raises:
        OSError: the folder is not there or not writable, the disk is full, `path` is a folder or a
            write-protected file.
        ValueError: the path holds a null character.
    """
    descriptor = descriptor_of(path)
    if descriptor is not None:
        # As it is: opening it again would begin a file anew, which `>> file` must not.
        with open(os.dup(descriptor), "wb") as file:
            _write(file, data)
        return
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None:
        if stat.S_ISDIR(mode):
            raise IsADirectoryError("it is a folder, and the path of a file was expected")
        if not os.access(target, os.W_OK):
            raise PermissionError("the file that is there is write-protected")
        if not stat.S_ISREG(mode):
            # Pipes and devices must not be replaced by a file.
            with open(target, "wb") as file:
                _write(file, data)
            return
    # Not the tempfile module: that would make a file only its owner can read, whatever the umask.
    # The name does not repeat the target's, which may be as long as names can be.
    folder = target.parent if scratch is None else scratch
    temporary = folder / temporary_name()
    try:
        with open(temporary, "xb") as file:
            _write(file, data)
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def temporary_name() -> str:
    """Return a new name for a temporary file."""
    return f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}{TEMPORARY_SUFFIX}"


def is_temporary_name(name: str) -> bool:
    """Return whether a file's name is one of `temporary_name`."""
    return name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX)


def _write(file: IO[bytes], data: bytes | IO[bytes]) -> None:
    if isinstance(data, bytes | bytearray | memoryview):
        file.write(data)
    else:
        shutil.copyfileobj(data, file, _CHUNK)
