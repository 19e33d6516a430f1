"""The pictures in a folder, and what to call what is made of them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from fast_style.images import READABLE_SUFFIXES, WRITABLE_SUFFIXES, format_from_suffix, suffix_for

__all__ = ["is_picture_name", "output_name", "pictures_in"]


def pictures_in(
    folder: str | os.PathLike[str],
    leave_out: str | os.PathLike[str],
    *,
    recursive: bool,
    on_error: Callable[[OSError], None],
) -> Iterator[Path]:
    """Find the pictures in a folder by their suffix, sorted, without hidden ones.

    Args:
        folder: where to look.
        leave_out: a folder that is not searched. A second run must not take the first one's output
            for input.
        recursive: whether the folders in it are searched too.
        on_error: is told of a folder that cannot be read; the others go on.
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
            # A pipe in a folder would be waited for without end; a dead link is named when opened.
            if path.is_file() or path.is_symlink():
                yield path
        if not recursive:
            return


def is_picture_name(name: str) -> bool:
    """Tell whether a file of this name is taken for a picture: by its suffix, unless hidden."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in READABLE_SUFFIXES


def output_name(path: PurePath, format: str | None) -> str:
    """Give the name of an output file, with the input's suffix if that fits the format.

    Args:
        path: the input's.
        format: Pillow's name of the output format; that of the input where None.
    """
    suffix = path.suffix
    if suffix.lower() in WRITABLE_SUFFIXES:
        told = format_from_suffix(path)
        return path.name if format in (None, told) else path.stem + suffix_for(format)
    stem = path.stem if suffix.lower() in READABLE_SUFFIXES else path.name
    return stem + suffix_for(format)
