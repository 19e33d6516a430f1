"""Where photos are stylized: in this process, or by the service that the environment names."""

import os
from typing import Protocol
from urllib.parse import urlsplit

import streamlit as st

from fast_style import (
    ModelCard,
    Painted,
    Photo,
    StyleModel,
    StyleOptions,
    Stylizer,
    StylizerCache,
    list_styles,
)

SERVICE_VARIABLE = "FAST_STYLE_URL"
"""Environment variable with the address of a `fast-style serve`; unset, this process computes."""

KEY_VARIABLE = "FAST_STYLE_API_KEY"
"""Environment variable with the service's API key."""

MAX_LOADED_STYLES = 5
"""Styles kept in memory; each takes up to a few hundred megabytes and loads in 0.1 s."""

_LIST_TIMEOUT = 5.0  # seconds; without the list of styles there is no page


class PhotoStylizer(Protocol):
    """A `Stylizer` or a `RemoteStylizer`."""

    def paint(self, photo: Photo, options: StyleOptions | None = None) -> Painted:
        """Stylize a photo at full strength; see `Stylizer.paint`."""
        ...


def service_url() -> str | None:
    """Return the address of the service; None if this process computes."""
    return os.environ.get(SERVICE_VARIABLE, "").strip() or None


def service_host() -> str:
    """Return the service's host for messages, without keys or passwords."""
    return urlsplit(service_url() or "").hostname or "the service"


def list_cards() -> list[tuple[str, ModelCard]]:
    """Return the names and cards of the styles; broken model files are left out.

    Raises:
        FastStyleError: the service cannot be reached.
    """
    return _list_cards(service_url())


@st.cache_data(ttl=30, show_spinner=False)
def _list_cards(url: str | None) -> list[tuple[str, ModelCard]]:
    if url is not None:
        from fast_style import remote_styles

        cards = remote_styles(url, api_key=_api_key(), timeout=_LIST_TIMEOUT)
        return [(card.name, card) for card in cards]
    return [(entry.name, entry.card) for entry in list_styles() if entry.card is not None]


def load_stylizer(key: str, model: StyleModel | None = None) -> tuple[PhotoStylizer, str]:
    """Return the stylizer of a style, and load it first if necessary.

    Args:
        key: a style's name, or a mixture; for an uploaded model, a key of its own.
        model: the uploaded model; it is used in this process even if there is a service.

    Returns:
        The stylizer, and a description of what it runs on, such as `openvino (cpu, bf16)`.

    Raises:
        FastStyleError: the style cannot be used.
    """
    url = service_url()
    if url is not None and model is None:
        from fast_style import RemoteStylizer

        return RemoteStylizer(url, key, api_key=_api_key()), f"by {service_host()}"
    if model is None:
        stylizer = get_stylizer_cache().get(key)
    else:  # uploads are not written to disk, not even compiled
        stylizer = get_stylizer_cache().get_or_load(key, lambda: Stylizer(model, cache=False))
    engine = stylizer.engine
    return stylizer, f"{engine.name} ({engine.device}, {engine.precision})"


@st.cache_resource(show_spinner=False)
def get_stylizer_cache() -> StylizerCache:
    """Return the one cache of loaded styles of the process."""
    return StylizerCache(MAX_LOADED_STYLES)


def _api_key() -> str | None:
    return os.environ.get(KEY_VARIABLE, "").strip() or None
