"""Which outputs of `stylize --skip-existing` are finished, and why the others are made again."""

import os
from collections import Counter
from collections.abc import Sequence

from fast_style.errors import ImageError
from fast_style.images import keeps_exif
from fast_style.images.provenance import Provenance, read_provenance
from fast_style.inference.pipeline import PictureTask

__all__ = ["describe_redone", "find_finished"]


def find_finished(
    tasks: Sequence[PictureTask], provenance: Provenance | None
) -> tuple[list[PictureTask], dict[PictureTask, str]]:
    """Find the tasks whose output is there and is what they would write.

    Args:
        tasks: the tasks; those that write to a stream are never finished.
        provenance: how the pictures are made; None compares dates alone.

    Returns:
        The finished ones, and for each unfinished one whose output exists the reason, such as
        "empty".
    """
    finished, redone = [], {}
    for task in tasks:
        if not os.path.isfile(task.target):
            continue
        reason = _why_unfinished(task, provenance)
        if reason:
            redone[task] = reason
        else:
            finished.append(task)
    return finished, redone


def describe_redone(redone: dict[PictureTask, str]) -> str:
    """Return how many outputs are made again and why, such as "2 empty, 1 of another style"."""
    counts = Counter(redone.values())
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())


def _why_unfinished(task: PictureTask, provenance: Provenance | None) -> str:
    try:
        made = os.stat(task.target)
        if not made.st_size:
            return "empty"
        if os.path.exists(task.source) and os.stat(task.source).st_mtime_ns > made.st_mtime_ns:
            return "older than the photo"
        # Animations have no note: those who read them differ in where they look for EXIF.
        if provenance is None or task.moving or not keeps_exif(task.target):
            return ""
        found = read_provenance(task.target)
    except (ImageError, OSError):
        return "damaged"
    if found is None:
        return "without a note of how it was made"
    return provenance.of_source(task.source).difference(found)
