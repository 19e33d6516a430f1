"""Find the pictures in a folder, and name the output files.

Every command that takes a folder searches it with `find_pictures`: the same files count as pictures
everywhere, and links cannot make a search endless.
"""

import os
import stat
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from fast_style.images import READABLE_SUFFIXES, WRITABLE_SUFFIXES, format_from_suffix, suffix_for
from fast_style.images.left_out import LeftOut

__all__ = [
    "LeftOut",
    "find_pictures",
    "fold_name",
    "is_picture_name",
    "is_video_name",
    "output_name",
]

_WRITABLE_VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm"})
_VIDEO_SUFFIXES = _WRITABLE_VIDEO_SUFFIXES | {".3gp", ".avi", ".m2ts", ".mpeg", ".mpg", ".mts"}


def find_pictures(
    folder: str | os.PathLike[str],
    leave_out: str | os.PathLike[str] | None = None,
    *,
    recursive: bool,
    on_error: Callable[[OSError], None],
    left_out: LeftOut | None = None,
    accept: Callable[[str], bool] | None = None,
) -> Iterator[Path]:
    """Find the pictures in a folder by their suffix; hidden files and folders are skipped.

    Links are followed after everything else, and each folder and linked file is visited once,
    however many links lead to it. Pictures come sorted within each folder.

    Args:
        folder: where to look.
        leave_out: a folder that is not searched: the output of an earlier run must not become
            input.
        recursive: whether its subfolders are searched too.
        on_error: called for a folder that cannot be read; the search continues.
        left_out: counts the files that are no readable pictures.
        accept: tells by a file's name whether it is wanted; `is_picture_name` if None.
    """
    root, counts = os.path.realpath(folder), LeftOut() if left_out is None else left_out
    search = _Search(root, recursive, on_error, counts, accept or is_picture_name)
    if leave_out is not None:
        search.visited.add(os.path.realpath(leave_out))
    yield from search.walk(Path(folder))
    while search.links:
        yield from search.follow(search.links.popleft())


class _Search:
    """The state of one search: the folders and link targets that were visited, the links to go."""

    def __init__(
        self,
        root: str,
        recursive: bool,
        on_error: Callable[[OSError], None],
        left_out: LeftOut,
        accept: Callable[[str], bool],
    ) -> None:
        self._root, self._recursive = root, recursive
        self._on_error, self._left_out, self._accept = on_error, left_out, accept
        self.visited = {root}  # real paths
        self.links: deque[Path] = deque()

    def walk(self, start: Path) -> Iterator[Path]:
        """Yield the pictures below a folder, without following links."""
        for here, folders, files in os.walk(start, onerror=self._on_error):
            folders[:] = [
                name
                for name in sorted(folders)
                if not name.startswith(".") and self._enters(Path(here, name))
            ]
            for name in sorted(files):
                path = Path(here, name)
                if not self._accept(name):
                    self._left_out.add(name)
                elif self._is_file(path):
                    yield path
            if not self._recursive:
                return

    def follow(self, link: Path) -> Iterator[Path]:
        """Yield the picture or the pictures that a link leads to, unless they were visited."""
        real = os.path.realpath(link)
        if not os.path.exists(real):
            yield link  # opening it reports that the link is broken
        elif os.path.isdir(real):
            if real not in self.visited and not self._is_above(real):
                self.visited.add(real)
                yield from self.walk(link)
        elif not os.path.isfile(real):
            self._left_out.add_special()
        elif real not in self.visited:
            self.visited.add(real)
            folder, name = os.path.split(real)
            if not (folder in self.visited and self._accept(name)):
                yield link

    def _enters(self, folder: Path) -> bool:
        """Return whether to search a subfolder now; keep links for later."""
        if self._recursive and folder.is_symlink():
            self.links.append(folder)
            return False
        real = os.path.realpath(folder)
        if real in self.visited:
            return False
        if not self._recursive:
            self._left_out.folders += 1
            return False
        self.visited.add(real)
        return True

    def _is_above(self, folder: str) -> bool:
        """Return whether a real path contains the searched folder: the link closes a loop."""
        return self._root.startswith(os.path.join(folder, ""))

    def _is_file(self, path: Path) -> bool:
        """Return whether a path is a file, as most are; keep links for later, count the rest."""
        try:
            mode = path.lstat().st_mode
        except OSError:
            return True  # it has just been deleted: opening it says so
        if stat.S_ISLNK(mode):
            self.links.append(path)
        elif not stat.S_ISREG(mode):
            # Not pipes, which block for ever.
            self._left_out.add_special()
        return stat.S_ISREG(mode)


def is_picture_name(name: str) -> bool:
    """Return whether a file name has a picture's suffix and is not hidden."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in READABLE_SUFFIXES


def is_video_name(name: str) -> bool:
    """Return whether a file name has a video's suffix and is not hidden."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in _VIDEO_SUFFIXES


def output_name(path: PurePath, format: str | None) -> str:
    """Return the name of an output file, with the input's suffix if that fits the format.

    Args:
        path: the input's.
        format: Pillow's name of the output format; None for that of the input. Not for videos.
    """
    suffix = path.suffix
    if is_video_name(path.name):
        return path.name if suffix.lower() in _WRITABLE_VIDEO_SUFFIXES else f"{path.stem}.mp4"
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
