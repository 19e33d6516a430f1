"""Writing a file completely or not at all."""

import contextlib
import os
import secrets
import stat
from pathlib import Path


def replace_file(path: Path, data: bytes, *, scratch: Path | None = None) -> None:
    """Write a temporary file beside `path` and move it there once it is complete.

    Whatever goes wrong, `path` holds what it held before and the temporary file is gone. A link is
    followed, a file that was there keeps its permissions, a new one gets those the umask gives.

    Args:
        path: the file.
        data: its bytes.
        scratch: a folder for the temporary file, of the same file system, instead of beside `path`.

    Raises:
        OSError: the folder is not there or not writable, the disk is full, `path` is a folder or a
            write-protected file.
        ValueError: the path holds a null character.
    """
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
            target.write_bytes(data)
            return
    # Not the tempfile module: that would make a file only its owner can read, whatever the umask.
    # The name does not repeat the target's, which may be as long as names can be.
    folder = target.parent if scratch is None else scratch
    temporary = folder / f".fast-style-{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
