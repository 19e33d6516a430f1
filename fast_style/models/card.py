"""The card of a model file: what is known of a style, as JSON.

A card is text from anywhere. It is checked when it is read and before it is written, so that
whatever shows it can rely on its types, on finite numbers and on valid Unicode.
"""

import base64
import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fast_style.errors import ModelFileError, NewerFormatError, UsageError, shorten
from fast_style.models.config import NetworkConfig
from fast_style.options import GRAIN_LIMIT

FORMAT_VERSION = 2
"""The newest format version: 2 for networks with a tanh. All others are written as version 1, which
the first release can read."""

METADATA_KEY = "fast_style"
DEFAULT_BEST_SIZE = 768
"""Longer side, in pixels, at which a style looks best unless its card says otherwise: strokes are
bold, and faces keep their features. Chosen by eye on seven photos, from 400 to 1,280 pixels."""

MIN_BEST_SIZE, MAX_BEST_SIZE = 128, 8192
"""Bounds of `ModelCard.best_size`."""

THUMBNAIL_LIMIT = 8 * 1024
"""The largest size of a thumbnail in bytes."""

TEXT_LIMIT = 1000
"""The most characters of a text such as the title."""

_TEXTS = ("name", "title", "artist", "year", "licence")
_LONGEST_TEXT = 2 * THUMBNAIL_LIMIT  # of any text; the thumbnail is in base64
_LONGEST_NAME = 100  # that is kept; messages show less
_DEEPEST = 200  # each training from another style adds a level
_LARGEST = 1 << 63


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The description of a model.

    Attributes:
        name: the style's name, as on the command line.
        network: configuration of the network.
        title: title of the painting.
        artist: its artist.
        year: its year, as text ("1889", "c. 1831").
        licence: licence of the painting and the model.
        grain: amplitude of the grain that the network needs on its input, see `add_grain`.
        best_size: longer side of a picture, in pixels, at which the style looks best, for which
            `stroke_size="auto"` aims; None for `DEFAULT_BEST_SIZE`.
        training: what is needed to repeat the training: data, steps, sizes, losses, versions.
        quality: quality measurements by name.
        thumbnail: a small WebP picture of the painting, at most 8 KB.
        fingerprint: a hash of the weights and a coarse picture, see `styles.fingerprint`; empty in
            files of the first release.
        format_version: version of the file that it was read from, or the one the network needs.
    """

    name: str
    network: NetworkConfig
    title: str = ""
    artist: str = ""
    year: str = ""
    licence: str = ""
    grain: int = 0
    best_size: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    thumbnail: bytes | None = None
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = 1

    def __post_init__(self) -> None:
        """Check the grain, the best size and the size of the thumbnail."""
        if self.network.tanh:
            object.__setattr__(self, "format_version", max(2, self.format_version))
        if type(self.grain) is not int or not 0 <= self.grain <= GRAIN_LIMIT:
            raise UsageError(
                f"grain is {shorten(repr(self.grain))}; expected 0 to {GRAIN_LIMIT} levels"
            )
        if self.best_size is not None and (
            type(self.best_size) is not int or not MIN_BEST_SIZE <= self.best_size <= MAX_BEST_SIZE
        ):
            raise UsageError(
                f"best_size is {shorten(repr(self.best_size))}; "
                f"expected {MIN_BEST_SIZE} to {MAX_BEST_SIZE} pixels"
            )
        if self.thumbnail is not None and len(self.thumbnail) > THUMBNAIL_LIMIT:
            raise UsageError(
                f"the thumbnail has {len(self.thumbnail)} bytes; at most {THUMBNAIL_LIMIT} fit"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON values, with the thumbnail in base64."""
        return {
            "format_version": self.format_version,
            "name": self.name,
            "title": self.title,
            "artist": self.artist,
            "year": self.year,
            "licence": self.licence,
            "grain": self.grain,
            **({} if self.best_size is None else {"best_size": self.best_size}),
            "network": self.network.to_dict(),
            "training": dict(self.training),
            "quality": dict(self.quality),
            "thumbnail": None
            if self.thumbnail is None
            else base64.b64encode(self.thumbnail).decode("ascii"),
            **({"fingerprint": dict(self.fingerprint)} if self.fingerprint else {}),
        }


def check_values(card: Mapping[str, Any]) -> None:
    """Check every value of a card, at any depth: valid Unicode, finite numbers, lengths.

    Args:
        card: the card as JSON values, see `ModelCard.to_dict`.

    Raises:
        UsageError: one of them is not valid; the message names it.
    """
    for key in _TEXTS:
        text = card.get(key)
        if isinstance(text, str) and len(text) > TEXT_LIMIT:
            raise UsageError(f"its {key} has {len(text)} characters; at most {TEXT_LIMIT} fit")
    waiting: deque[tuple[str, int, Any]] = deque([("card", 0, card)])
    while waiting:
        name, depth, value = waiting.popleft()
        if depth > _DEEPEST:
            raise UsageError(f"its {shorten(name)} is nested more than {_DEEPEST} deep")
        if isinstance(value, str):
            _check_text(name, value)
        elif isinstance(value, int | float):
            if not abs(value) < _LARGEST:
                raise UsageError(
                    f"its {shorten(name)} is {shorten(value)}; expected a finite number"
                )
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                _check_text(f"{name} has a name that", key)
                inner_name = key if depth == 0 else f"{name}.{key}"
                waiting.append((inner_name[:_LONGEST_NAME], depth + 1, inner))
        elif isinstance(value, list | tuple):
            waiting += [(name, depth + 1, inner) for inner in value]
        elif value is not None:
            raise UsageError(
                f"its {shorten(name)} is {shorten(value)}; expected a value that JSON has"
            )


def _check_text(name: str, text: str) -> None:
    if len(text) > _LONGEST_TEXT:
        raise UsageError(
            f"its {shorten(name)} has {len(text)} characters; at most {_LONGEST_TEXT} fit"
        )
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UsageError(f"its {shorten(name)} is not valid Unicode ({shorten(text)})")


def clean_values(value: Any) -> Any:
    """Return measured values as a card can have them.

    Numbers that are not finite become null; what is not valid Unicode in names of files becomes the
    replacement character.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {clean_values(key): clean_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean_values(inner) for inner in value]
    return value


def card_from_metadata(path: Path, metadata: Mapping[str, str] | None) -> ModelCard:
    """Read the card from a model file's metadata.

    Raises:
        ModelFileError: the card is missing or not valid.
        NewerFormatError: the file was written by a newer release.
    """
    card = _decode_card(path, metadata)
    version = card.get("format_version")
    if type(version) is not int or version < 1:
        raise ModelFileError(f"{path}: its card has no format_version")
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{path} has format {version}, this release reads up to {FORMAT_VERSION}: "
            "pip install --upgrade fast-style"
        )
    network = card.get("network")
    if not isinstance(network, dict):
        raise ModelFileError(f"{path}: its card does not describe a network")
    try:
        config = NetworkConfig(**network)
    except (TypeError, UsageError) as error:
        raise ModelFileError(
            f"{path}: its network cannot be built ({shorten(str(error), 160)})"
        ) from error
    texts = {}
    for key in _TEXTS:
        texts[key] = card.get(key, "")
        if not isinstance(texts[key], str):
            raise ModelFileError(f"{path}: {key} in its card is not text")
    mappings = {}
    for key in ("training", "quality", "fingerprint"):
        mappings[key] = card.get(key, {})
        if not isinstance(mappings[key], dict):
            raise ModelFileError(f"{path}: {key} in its card is not a JSON object")
    try:
        encoded = card.get("thumbnail")
        thumbnail = None if encoded is None else base64.b64decode(encoded, validate=True)
        return ModelCard(
            network=config,
            thumbnail=thumbnail,
            grain=card.get("grain", 0),
            best_size=card.get("best_size"),
            format_version=version,
            **texts,
            **mappings,
        )
    except (TypeError, ValueError, UsageError) as error:
        raise ModelFileError(
            f"{path}: thumbnail, grain or best_size in its card is not valid "
            f"({shorten(str(error), 160)})"
        ) from error


def _decode_card(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the card's JSON object, its values checked but not what they mean."""
    text = (metadata or {}).get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{path} is a safetensors file but not a model of Fast Style: "
            f"it has no {METADATA_KEY!r} metadata"
        )
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: its card is not valid JSON") from error
    if not isinstance(card, dict):
        raise ModelFileError(f"{path}: its card is not a JSON object")
    try:
        check_values(card)
    except UsageError as error:
        raise ModelFileError(f"{path}: {error}") from error
    return card
