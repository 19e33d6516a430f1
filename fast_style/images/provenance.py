"""How a stylized picture was made, as a short note in its EXIF data (tag ImageHistory).

The note is `fast-style VERSION {...}`, with JSON in ASCII. `fast-style stylize --skip-existing`
compares it to find out whether a picture that is there is the one that would be made.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from fast_style._version import __version__
from fast_style.images.decoding import open_picture
from fast_style.images.exif import HISTORY_MARK, read_history
from fast_style.options import OutputOptions, StyleOptions

__all__ = ["Provenance", "read_provenance"]

_IN_THE_FILE = ("format", "note")
"""Output options that the file itself shows."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a picture is made, or was made.

    Attributes:
        style: the style's name, for people.
        identity: hash of its files and shares.
        options: the options that are not at their defaults, as JSON values.
        source_bytes: size of the photo's file; None if it is not known.
    """

    style: str
    identity: str
    options: Mapping[str, Any]
    source_bytes: int | None = None

    @classmethod
    def of_options(
        cls, style: str, identity: str, look: StyleOptions, output: OutputOptions, **more: Any
    ) -> Provenance:
        """Describe pictures by the options that decide them.

        Args:
            style: the style's name.
            identity: of the style, see `styles.registry.identify_parts`.
            look: how they are stylized.
            output: how they are written.
            more: further options; those that are None or empty do not count.
        """
        options = {**_changed(look), **_changed(output)}
        options |= {name: value for name, value in more.items() if value not in (None, (), [])}
        for name in _IN_THE_FILE:
            options.pop(name, None)
        plain = json.loads(json.dumps(options, default=str))  # tuples become lists, as when read
        return cls(style, identity, plain)

    def of_source(self, path: str, size: int | None = None) -> Provenance:
        """Return the same with the size of the photo's file.

        Args:
            path: the photo's.
            size: its size in bytes; None looks, if it is a file.
        """
        if size is None:
            with suppress(OSError, ValueError):  # reading the photo reports it
                size = os.stat(path).st_size if os.path.isfile(path) else None
        return replace(self, source_bytes=size)

    def to_text(self) -> str:
        """Return the note."""
        document = {name: value for name, value in asdict(self).items() if value is not None}
        return f"{HISTORY_MARK}{__version__} {json.dumps(document, separators=(',', ':'))}"

    def difference(self, made: Provenance) -> str:
        """Return in which way a picture that was made differs from this; "" if in none."""
        if made.identity != self.identity:
            return "of another style"
        if made.options != self.options:
            return "made with other options"
        if None not in (made.source_bytes, self.source_bytes) and (
            made.source_bytes != self.source_bytes
        ):
            return "of another photo"
        return ""


def read_provenance(path: str | os.PathLike[str]) -> Provenance | None:
    """Read how a picture was made; None if it does not say, in words of this package.

    Raises:
        ImageError: it is no readable picture.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as stream:
        text = read_history(open_picture(stream, os.fsdecode(path), math.inf))
    if text is None:
        return None
    try:
        document = json.loads(text.removeprefix(HISTORY_MARK).partition(" ")[2])
        size = document.get("source_bytes")
        if not isinstance(document["options"], dict):
            return None
        return Provenance(
            str(document["style"]),
            str(document["identity"]),
            document["options"],
            size if isinstance(size, int) else None,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # not our own
        return None


def _changed(bundle: Any) -> dict[str, Any]:
    """Return the options of a bundle that are not at their defaults."""
    return {
        spec.name: value
        for spec in fields(bundle)
        if (value := getattr(bundle, spec.name)) != spec.default
    }
