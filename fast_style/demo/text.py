"""Text for the page: escape Markdown, name downloads, format durations."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp"}
"""The formats to download, with the suffixes of their files."""

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")
_NOT_IN_FILE_NAMES = re.compile(r"[^\w.+-]+")
_OPTIONS = re.compile(r"(?<!\S)--([a-z]+(?:-[a-z]+)*)")


def escape_markdown(text: str) -> str:
    """Put a backslash before each character that Markdown would interpret."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def make_file_name(photo: str, style: str, format: str) -> str:
    """Name a download, such as `holiday-starry-night.jpg`.

    Args:
        photo: the name of the photo's file.
        style: the style's name.
        format: one of `SUFFIXES`.
    """
    stem = _clean(PurePath(photo).stem) or "photo"
    return f"{stem}-{_clean(style) or 'stylized'}{SUFFIXES[format]}"


def make_archive_name(photos: Sequence[str], styles: Sequence[str]) -> str:
    """Name a download of several pictures by the photo or the style that they share."""
    if len(photos) == 1:
        return f"{_clean(PurePath(photos[0]).stem) or 'photo'}-{len(styles)}-styles.zip"
    if len(styles) == 1:
        return f"{len(photos)}-photos-{_clean(styles[0]) or 'stylized'}.zip"
    return f"{len(photos)}-photos-{len(styles)}-styles.zip"


def make_steps_name(photo: str, painting: str) -> str:
    """Name a download of an optimisation's steps, such as `holiday-sunflowers-steps.zip`."""
    return f"{PurePath(make_file_name(photo, painting, 'JPEG')).stem}-steps.zip"


def make_style_name(painting: str) -> str:
    """Name the style of a picture's file, such as `my-painting` for `My painting.JPG`."""
    return _clean(PurePath(painting).stem).lower() or "painting"


def format_duration(seconds: float) -> str:
    """Return a duration in whole seconds or, from 90 s on, whole minutes."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def strip_option_dashes(sentence: str) -> str:
    """Replace command-line options by plain words: `--size 300` becomes `size 300`."""
    return _OPTIONS.sub(lambda found: found[1].replace("-", " "), sentence)


def number_duplicates(names: Iterable[str]) -> list[str]:
    """Make file names unique by numbers: `a.jpg`, `a-2.jpg`."""
    used: set[str] = set()
    result = []
    for name in names:
        path, count, unique = PurePath(name), 1, name
        while unique.lower() in used:
            count += 1
            unique = f"{path.stem}-{count}{path.suffix}"
        used.add(unique.lower())
        result.append(unique)
    return result


def _clean(text: str) -> str:
    return _NOT_IN_FILE_NAMES.sub("-", text).strip("-.")[:80]
