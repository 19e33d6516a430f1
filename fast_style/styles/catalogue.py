"""The catalogue of the styles that ship: in which order they are listed, their tags and words.

It is one JSON file beside the styles: a list of objects with `name`, `tags` and `description`, what
pleases most first. It is apart from the cards, so that words can change without the weights.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["CatalogueEntry", "read_catalogue"]

_FILE = "catalogue.json"


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """What the catalogue says of a style.

    Attributes:
        place: its place in the order, from 0.
        tags: lower-case words such as `ink`, `oil`, `bold`.
        description: one line for people who choose.
    """

    place: int
    tags: tuple[str, ...]
    description: str


@lru_cache(maxsize=8)
def read_catalogue(folder: Path) -> Mapping[str, CatalogueEntry]:
    """Read the catalogue of a folder once, by name; empty if it has none, or another file."""
    try:
        listed = json.loads((folder / _FILE).read_text("utf-8"))
        return {
            str(one["name"]): CatalogueEntry(place, tuple(one["tags"]), str(one["description"]))
            for place, one in enumerate(listed)
        }
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return {}
