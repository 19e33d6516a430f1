"""Animated pictures among the inputs of `stylize`: which they are, and what they are written as."""

import os
from dataclasses import replace
from pathlib import Path

from fast_style.images.animation import ANIMATED_SUFFIXES, is_animated
from fast_style.inference.pipeline import STANDARD, PictureTask
from fast_style.storage.hardware import installed

__all__ = ["WITHOUT_EXTRA", "can_animate", "is_animation_output", "with_frames"]

_ONLY_ANIMATED = (".gif", ".apng")
"""Suffixes of formats that are written for animated pictures, and not for others."""

WITHOUT_EXTRA = (
    "of animated pictures only the first frame is stylized: for all of them, pip install "
    '"fast-style[video]"'
)


def can_animate() -> bool:
    """Return whether what stylizes all frames of a picture is installed."""
    return installed("av") and installed("cv2")


def is_animation_output(source: str, target: str) -> bool:
    """Return whether a file can be written for an animated picture, and for no other."""
    suffix = os.path.splitext(target)[1].lower()
    return suffix in _ONLY_ANIMATED and can_animate() and is_animated(source)


def with_frames(task: PictureTask, format: str | None, *, named: bool) -> PictureTask:
    """Return a task that does all frames of an animated picture, if its output holds them.

    Args:
        task: of a file.
        format: Pillow's name of the output format; that of the input if None.
        named: whether the user has given the name of the output file.
    """
    if STANDARD in (task.source, task.target) or not os.path.isfile(task.source):
        return task
    target = task.target
    if not named and format is None and task.source.lower().endswith(".gif"):
        target = str(Path(target).with_suffix(".gif"))  # a still one becomes a PNG
    holds_frames = os.path.splitext(target)[1].lower() in ANIMATED_SUFFIXES
    if not holds_frames or not is_animated(task.source):
        return task
    return replace(task, target=target, moving=True)
