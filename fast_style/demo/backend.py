"""Who puts styles on photos: this process, or a service that the environment names."""

import os
from typing import Protocol
from urllib.parse import urlsplit

import streamlit as st

from fast_style import ModelCard, Painted, Photo, Stylizer, list_styles

SERVICE_VARIABLE = "FAST_STYLE_URL"
"""Names a service of `fast-style serve`; without it, this process does the work."""

KEY_VARIABLE = "FAST_STYLE_API_KEY"

MODELS = 4
"""Styles that stay loaded. Each takes up to a few hundred megabytes, and loads in 0.1 s."""

_PATIENCE = 5.0  # seconds for a list of styles, without which there is no page


class Painter(Protocol):
    """What both kinds do."""

    def paint(self, photo: Photo, *, size: int | None, stroke_size: float) -> Painted:
        """Put the full style on a photo; see `Stylizer.paint`."""
        ...


def service() -> str | None:
    """The address of the service, if there is one."""
    return os.environ.get(SERVICE_VARIABLE, "").strip() or None


def service_name() -> str:
    """What to call the service on the page: its host, without keys or passwords."""
    return urlsplit(service() or "").hostname or "the service"


def catalogue() -> list[tuple[str, ModelCard]]:
    """The styles that are there, by name; those found broken are left out.

    Raises:
        FastStyleError: the service cannot be reached.
    """
    return _catalogue(service())


@st.cache_data(ttl=30, show_spinner=False)
def _catalogue(url: str | None) -> list[tuple[str, ModelCard]]:
    if url is not None:
        from fast_style import remote_styles

        cards = remote_styles(url, api_key=_api_key(), timeout=_PATIENCE)
        return [(card.name, card) for card in cards]
    return [(entry.name, entry.card) for entry in list_styles() if entry.card is not None]


def painter(key: str) -> tuple[Painter, str]:
    """Find who puts a style on photos.

    Args:
        key: a style's name, or a mixture.

    Returns:
        The painter, and in words what it runs on.

    Raises:
        FastStyleError: the style cannot be used.
    """
    url = service()
    if url is not None:
        from fast_style import RemoteStylizer

        return RemoteStylizer(url, key, api_key=_api_key()), f"by {service_name()}"
    stylizer = _named(key)
    return stylizer, engine_words(stylizer)


def engine_words(stylizer: Stylizer) -> str:
    """Say what runs a network."""
    engine = stylizer.engine
    return f"{engine.name} ({engine.device}, {engine.precision})"


@st.cache_resource(max_entries=MODELS, show_spinner=False)
def _named(key: str) -> Stylizer:
    return Stylizer(key)


def _api_key() -> str | None:
    return os.environ.get(KEY_VARIABLE, "").strip() or None
