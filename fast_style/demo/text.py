"""Text for the page: what comes from files as plain text, names for downloads."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp"}
"""The formats to download, and how their files end."""

_MARKS = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")
_UNFIT = re.compile(r"[^\w.+-]+")
_OPTIONS = re.compile(r"(?<!\S)--([a-z]+(?:-[a-z]+)*)")


def plain(text: str) -> str:
    """Put a backslash before what Markdown would take for more than text."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def file_name(photo: str, style: str, format: str) -> str:
    """Name a download: `holiday-starry-night.jpg`.

    Args:
        photo: the name of the photo's file.
        style: the style's name.
        format: one of `SUFFIXES`.
    """
    return f"{_fit(PurePath(photo).stem) or 'photo'}-{_fit(style) or 'stylized'}{SUFFIXES[format]}"


def archive_name(photos: Sequence[str], styles: Sequence[str]) -> str:
    """Name a download of several pictures, by what they have in common."""
    if len(photos) == 1:
        return f"{_fit(PurePath(photos[0]).stem) or 'photo'}-{len(styles)}-styles.zip"
    if len(styles) == 1:
        return f"{len(photos)}-photos-{_fit(styles[0]) or 'stylized'}.zip"
    return f"{len(photos)}-photos-{len(styles)}-styles.zip"


def steps_name(photo: str, painting: str) -> str:
    """Name a download of the pictures on the way: `holiday-sunflowers-steps.zip`."""
    return f"{PurePath(file_name(photo, painting, 'JPEG')).stem}-steps.zip"


def duration(seconds: float) -> str:
    """Say how long something takes, no finer than one can know."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def on_the_page(sentence: str) -> str:
    """Call options what they are called here: `--size 300` is `size 300`."""
    return _OPTIONS.sub(lambda found: found[1].replace("-", " "), sentence)


def distinct(names: Iterable[str]) -> list[str]:
    """Number the names that come again: `a.jpg`, `a-2.jpg`."""
    taken: set[str] = set()
    result = []
    for name in names:
        path, count, one = PurePath(name), 1, name
        while one.lower() in taken:
            count += 1
            one = f"{path.stem}-{count}{path.suffix}"
        taken.add(one.lower())
        result.append(one)
    return result


def _fit(text: str) -> str:
    return _UNFIT.sub("-", text).strip("-.")[:80]
