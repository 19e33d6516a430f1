"""The gallery: the styles as cards with their paintings and titles."""

from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st

from fast_style import FastStyleError, encode_image, read_image
from fast_style.demo.session import (
    MAX_STYLES,
    Style,
    handle_compare_toggle,
    handle_style_click,
    list_all_styles,
)
from fast_style.demo.text import escape_markdown
from fast_style.demo.widgets import show_card


@st.cache_data(max_entries=64, show_spinner=False)
def reencode_thumbnail(thumbnail: bytes) -> bytes | None:
    """Decode a card's picture and encode it anew, since an uploaded card may hold anything.

    Returns:
        The bytes of a JPEG, or None if it is not a picture.
    """
    try:
        photo = read_image(thumbnail, max_megapixels=4, name="the painting")
        return encode_image(photo, format="JPEG", quality=88)[0]
    except FastStyleError:
        return None


def show_painting(style: Style) -> None:
    """Show a style's painting, or an empty frame if its card has none."""
    content = reencode_thumbnail(style.card.thumbnail) if style.card.thumbnail else None
    if content is None:
        st.html(
            '<div class="no-painting" role="img" aria-label="No picture of the painting"></div>'
        )
        return
    by = f" by {style.card.artist}" if style.card.artist else ""
    st.image(content, width="stretch", alt=f"The painting {style.title}{by}")


def show_gallery(chosen: Sequence[Style]) -> None:
    """Show all styles; a click or the Enter key chooses one.

    Args:
        chosen: the styles that are chosen now.
    """
    known: Mapping[str, Style] = list_all_styles()
    with st.container(horizontal=True, vertical_alignment="center", key="gallery-head"):
        st.markdown("#### Style")
        if len(known) > 1:
            st.toggle(
                "Compare several",
                key="several",
                on_change=handle_compare_toggle,
                help=f"Choose up to {MAX_STYLES} styles and see them side by side.",
            )
    keys = [style.key for style in chosen]
    with st.container(horizontal=True, gap="small", key="gallery"):
        for key, style in known.items():
            by = f" :small[{escape_markdown(style.attribution)}]" if style.attribution else ""
            show_card(
                f"pick-{key}",
                f"**{escape_markdown(style.title)}**{by}",
                partial(show_painting, style),
                chosen=key in keys,
                on_click=handle_style_click,
                args=(key,),
            )
