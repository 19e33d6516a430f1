"""Find the pictures in a folder, and name the output files."""

import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from fast_style.images import READABLE_SUFFIXES, WRITABLE_SUFFIXES, format_from_suffix, suffix_for

__all__ = ["find_pictures", "fold_name", "is_picture_name", "output_name"]


def find_pictures(
    folder: str | os.PathLike[str],
    leave_out: str | os.PathLike[str],
    *,
    recursive: bool,
    on_error: Callable[[OSError], None],
) -> Iterator[Path]:
    """Find the pictures in a folder by their suffix, sorted, skipping hidden files and folders.

    Args:
        folder: where to look.
        leave_out: a folder that is not searched: the output of an earlier run must not become
            input.
        recursive: whether its subfolders are searched too.
        on_error: called for a folder that cannot be read; the search continues.
    """
    own_output = os.path.realpath(leave_out)
    for here, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(here, name)) != own_output
        )
        for name in sorted(files):
            path = Path(here, name)
            if not is_picture_name(name):
                continue
            # Not pipes, which would block for ever. A broken link is reported when it is opened.
            if path.is_file() or path.is_symlink():
                yield path
        if not recursive:
            return


def is_picture_name(name: str) -> bool:
    """Return whether a file name has a picture's suffix and is not hidden."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in READABLE_SUFFIXES


def output_name(path: PurePath, format: str | None) -> str:
    """Return the name of an output file, with the input's suffix if that fits the format.

    Args:
        path: the input's.
        format: Pillow's name of the output format; None for that of the input.
    """
    suffix = path.suffix
    if suffix.lower() in WRITABLE_SUFFIXES:
        own_format = format_from_suffix(path)
        return path.name if format in (None, own_format) else path.stem + suffix_for(format)
    stem = path.stem if suffix.lower() in READABLE_SUFFIXES else path.name
    return stem + suffix_for(format)


def fold_name(name: str) -> str:
    """Return a key that is equal for file names that some file systems treat as one.

    Such names differ in case (A.png, a.png) or in how accents are encoded. They are compared by
    this key on all systems, so that a command gives the same names everywhere.
    """
    return unicodedata.normalize("NFC", name).casefold()
