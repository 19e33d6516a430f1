"""The loaded styles: networks of this process, or the service's."""

from typing import Protocol

import streamlit as st

from fast_style import Guides, Painted, Photo, StyleOptions, Stylizer, StylizerCache
from fast_style.demo.backend import api_key, service_host, service_url
from fast_style.demo.styles import Style

MAX_LOADED_STYLES = 5
"""Styles kept in memory; each takes up to a few hundred megabytes and loads in 0.1 s."""


class PhotoStylizer(Protocol):
    """A `Stylizer` or a `RemoteStylizer`."""

    def paint(
        self, photo: Photo, options: StyleOptions | None = None, guides: Guides | None = None
    ) -> Painted:
        """Stylize a photo at full strength; see `Stylizer.paint`."""
        ...


def load_stylizer(style: Style, elsewhere: Style | None = None) -> tuple[PhotoStylizer, str]:
    """Return the stylizer of a style, and load it first if necessary.

    Args:
        style: the style; one of the visitor's own is used in this process even if there is a
            service.
        elsewhere: a second style, for where the mask is black.

    Returns:
        The stylizer, and a description of what it runs on, such as `openvino (cpu, bf16)`.

    Raises:
        FastStyleError: the style cannot be used.
    """
    url = service_url()
    if url is not None and style.model is None:
        from fast_style import RemoteStylizer

        return RemoteStylizer(url, style.key, api_key=api_key()), f"by {service_host()}"
    cache = get_stylizer_cache()
    if elsewhere is not None:
        both = [style.model or style.key, elsewhere.model or elsewhere.key]
        # Uploads are not written to disk, not even compiled.
        kept = style.model is None and elsewhere.model is None
        key = (style.key, elsewhere.key)
        stylizer = cache.get_or_load(key, lambda: Stylizer(both, cache=kept))
    elif style.model is not None:
        model = style.model
        stylizer = cache.get_or_load(style.key, lambda: Stylizer(model, cache=False))
    else:
        stylizer = cache.get(style.key)
    engine = stylizer.engine
    return stylizer, f"{engine.name} ({engine.device}, {engine.precision})"


@st.cache_resource(show_spinner=False)
def get_stylizer_cache() -> StylizerCache:
    """Return the one cache of loaded styles of the process."""
    return StylizerCache(MAX_LOADED_STYLES)
