"""The masks of many photos: files of their own names in a folder, or one file for all."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Literal

from fast_style.errors import UnreadableImageError
from fast_style.images.folder import find_pictures, fold_name
from fast_style.images.masks import Mask, read_mask
from fast_style.inference.guides import ALPHA, Guides, read_colors

__all__ = ["GuideFiles"]


class GuideFiles:
    """Reads the masks of each photo; safe for threads.

    Attributes:
        count: number of masks of a photo.
    """

    def __init__(self, masks: Sequence[str] = (), colors_of: str | None = None) -> None:
        """Find the masks; pictures that serve all photos are read here.

        Args:
            masks: for each: a picture's path, `alpha` for each photo's own opacity, or a folder
                with a picture for each photo, of the photo's name with any suffix. Subfolders are
                searched; of several of one name, that in the folders most like the photo's is
                taken.
            colors_of: the path of the picture whose colours are taken.

        Raises:
            ImageError: a file cannot be read.
        """
        self._masks = [_MaskFolder(one) if os.path.isdir(one) else _read(one) for one in masks]
        self.count = len(masks)
        self._colors = None if colors_of is None else read_colors(colors_of)

    def read(self, photo: str) -> Guides:
        """Read the masks of a photo.

        Args:
            photo: its path or URL.

        Raises:
            ImageError: there is none for it, or it cannot be read.
        """
        masks = [one.read(photo) if isinstance(one, _MaskFolder) else one for one in self._masks]
        return Guides(masks, self._colors)


class _MaskFolder:
    """A folder with a mask for each photo."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._paths: dict[tuple[str, ...], Path] | None = None
        self._lock = threading.Lock()

    def read(self, photo: str) -> Mask:
        parts = _key(PurePath(photo))
        paths = self._list()
        # From the whole path to the name alone: the longest that is there.
        path = next((paths[key] for i in range(len(parts)) if (key := parts[i:]) in paths), None)
        if path is None:
            name = PurePath(photo).stem
            raise UnreadableImageError(
                f"{photo}: there is no mask for it in {self._folder}; expected {name}.png, or "
                "another picture of that name"
            )
        return read_mask(path)

    def _list(self) -> dict[tuple[str, ...], Path]:
        with self._lock:
            if self._paths is None:
                paths: dict[tuple[str, ...], Path] = {}
                for path in find_pictures(self._folder, recursive=True, on_error=_raise):
                    parts = _key(path.relative_to(self._folder))
                    for start in range(len(parts)):
                        paths.setdefault(parts[start:], path)
                self._paths = paths
            return self._paths


def _read(path: str) -> Mask | Literal["alpha"]:
    return ALPHA if path == ALPHA else read_mask(path)


def _key(path: PurePath) -> tuple[str, ...]:
    return tuple(fold_name(part) for part in (*path.parts[:-1], path.stem))


def _raise(error: OSError) -> None:
    raise UnreadableImageError(
        f"the folder of masks {error.filename} cannot be read: {error.strerror}"
    ) from error
