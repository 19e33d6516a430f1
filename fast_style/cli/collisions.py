"""Outputs of `stylize` that would have one name, and outputs that would overwrite an input."""

import os
import stat
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fast_style.errors import UsageError
from fast_style.images.folder import fold_name
from fast_style.inference.pipeline import STANDARD, PictureTask
from fast_style.storage.atomic_write import temporary_name

__all__ = ["refuse_overwritten_inputs", "separate_outputs"]


def separate_outputs(tasks: Sequence[PictureTask]) -> tuple[list[PictureTask], str]:
    """Give pictures that would be written to one file a file each.

    Pictures of different formats keep their suffix in the name, as in bulk runs: `a.jpg` and
    `a.tif` become `a.jpg.png` and `a.tif.png`. Where that does not help, the later ones are
    numbered: `logo.png`, `logo-2.png`.

    Returns:
        The tasks in their order, and a sentence for the user; "" if no names were changed.
    """
    keys = _Keys(tasks)
    separated = list(tasks)
    shared = _shared(separated, keys)
    separated = [
        _with_own_suffix(task) if is_shared else task
        for task, is_shared in zip(separated, shared, strict=True)
    ]
    separated = _number(separated, keys)
    changed = [
        (task, new) for task, new in zip(tasks, separated, strict=True) if task.target != new.target
    ]
    if not changed:
        return separated, ""
    before, after = changed[0]
    more = f", and {len(changed) - 1} more such" if len(changed) > 1 else ""
    return separated, (
        f"outputs of one name are told apart: {before.source} is written to {after.target}, since "
        f"another picture would be {before.target} too{more}"
    )


def refuse_overwritten_inputs(tasks: Sequence[PictureTask]) -> None:
    """Check that no output is one of the inputs.

    Raises:
        UsageError: an input would be overwritten.
    """
    inputs = {identity: task for task in tasks if (identity := _identity(task.source))}
    for task in tasks:
        identity = _identity(task.target)
        if identity in inputs:
            raise UsageError(
                f"{inputs[identity].source} would be overwritten by a stylized picture: "
                "choose another output (-o)"
            )


class _Keys:
    """Keys of outputs, equal for those that are one file on their file system."""

    def __init__(self, tasks: Sequence[PictureTask]) -> None:
        self._folders: dict[str, str] = {}
        self._folds: dict[str, bool] = {}
        self._counts = Counter(self._fold(*os.path.split(task.target)) for task in tasks)

    def of(self, path: str) -> str:
        folder, name = os.path.split(path)
        folded = self._fold(folder, name)
        # Only where it matters is a file made to find out whether the file system tells case apart.
        if self._counts[folded] < 2 or self._folds_case(self._folders[folder]):
            return folded
        if sys.platform == "darwin":
            name = unicodedata.normalize("NFC", name)
        return os.path.join(self._folders[folder], name)

    def _fold(self, folder: str, name: str) -> str:
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder or os.curdir)
        return os.path.join(self._folders[folder], fold_name(name))

    def _folds_case(self, folder: str) -> bool:
        if folder not in self._folds:
            self._folds[folder] = _folds_case(folder)
        return self._folds[folder]


def _folds_case(folder: str) -> bool:
    """Return whether `A.jpg` and `a.jpg` are one file in a folder that may not exist yet."""
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    probe = os.path.join(folder, temporary_name())
    try:
        with open(probe, "xb"):
            pass
        try:
            return os.path.exists(os.path.join(folder, os.path.basename(probe).upper()))
        finally:
            os.unlink(probe)
    except OSError:  # not writable, which is reported when the first picture is written
        return sys.platform in ("darwin", "win32")


def _shared(tasks: Sequence[PictureTask], keys: _Keys) -> list[bool]:
    """Return for each task whether another one has its output and an input of another format."""
    found = [keys.of(task.target) for task in tasks]
    counts = Counter(found)
    if len(counts) == len(tasks):
        return [False] * len(tasks)
    suffixes: dict[str, set[str]] = {}
    for task, key in zip(tasks, found, strict=True):
        suffixes.setdefault(key, set()).add(_suffix(task))
    return [counts[key] > 1 and len(suffixes[key]) > 1 for key in found]


def _with_own_suffix(task: PictureTask) -> PictureTask:
    path = Path(task.target)
    own = Path(task.source).suffix
    return replace(task, target=str(path.with_name(f"{path.stem}{own}{path.suffix}")))


def _number(tasks: Sequence[PictureTask], keys: _Keys) -> list[PictureTask]:
    """Number the later ones of tasks that have one output."""
    found = [keys.of(task.target) for task in tasks]
    taken = set(found)
    seen: set[str] = set()
    numbered = []
    for task, key in zip(tasks, found, strict=True):
        if key in seen:
            path, number = Path(task.target), 2
            while keys.of(target := str(path.with_stem(f"{path.stem}-{number}"))) in taken:
                number += 1
            task, key = replace(task, target=target), keys.of(target)
            taken.add(key)
        seen.add(key)
        numbered.append(task)
    return numbered


def _suffix(task: PictureTask) -> str:
    return Path(task.source).suffix.lower()


def _identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of a regular file, the same for all links to it; None if missing."""
    if path == STANDARD:
        return None
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    # Not pipes and devices: /dev/stdin and /dev/stdout may be the same terminal.
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
