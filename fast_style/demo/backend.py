"""Where photos are stylized: in this process, or by the service that the environment names."""

import os
from urllib.parse import urlsplit

import streamlit as st

from fast_style import ModelCard, list_styles

SERVICE_VARIABLE = "FAST_STYLE_URL"
"""Environment variable with the address of a `fast-style serve`; unset, this process computes."""

KEY_VARIABLE = "FAST_STYLE_API_KEY"
"""Environment variable with the service's API key."""

_LIST_TIMEOUT = 5.0  # seconds; without the list of styles there is no page


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

        cards = remote_styles(url, api_key=api_key(), timeout=_LIST_TIMEOUT)
        return [(card.name, card) for card in cards]
    styles = list_styles(all_sizes=True)  # the gallery shows sizes as a choice
    return [(entry.name, entry.card) for entry in styles if entry.card is not None]


@st.cache_data(ttl=30, show_spinner=False)
def list_tags() -> dict[str, tuple[str, ...]]:
    """Return the tags of the styles by name; a service tells none."""
    if service_url() is not None:
        return {}
    return {entry.name: entry.tags for entry in list_styles()}


def api_key() -> str | None:
    """Return the service's key; None if it needs none."""
    return os.environ.get(KEY_VARIABLE, "").strip() or None
