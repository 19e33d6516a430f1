"""The styles to choose from: their paintings and names, each a button."""

from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st

from fast_style import FastStyleError, encode_image, read_image
from fast_style.demo.cards import card
from fast_style.demo.session import MOST_STYLES, Style, compare_or_not, pick, styles
from fast_style.demo.text import plain


@st.cache_data(max_entries=64, show_spinner=False)
def painting(thumbnail: bytes) -> bytes | None:
    """A card's picture, looked at and written anew: an uploaded card may hold anything."""
    try:
        photo = read_image(thumbnail, max_megapixels=4, name="the painting")
        return encode_image(photo, format="JPEG", quality=88)[0]
    except FastStyleError:
        return None


def show_painting(style: Style) -> None:
    """Show a style's painting, or an empty canvas where its card has none."""
    content = painting(style.card.thumbnail) if style.card.thumbnail else None
    if content is None:
        st.html(
            '<div class="no-painting" role="img" aria-label="No picture of the painting"></div>'
        )
        return
    by = f" by {style.card.artist}" if style.card.artist else ""
    st.image(content, width="stretch", alt=f"The painting {style.title}{by}")


def gallery(chosen: Sequence[Style]) -> None:
    """Show all styles; a click or the Enter key picks one.

    Args:
        chosen: those that are.
    """
    known: Mapping[str, Style] = styles()
    with st.container(horizontal=True, vertical_alignment="center", key="gallery-head"):
        st.markdown("#### Style")
        if len(known) > 1:
            st.toggle(
                "Compare several",
                key="several",
                on_change=compare_or_not,
                help=f"Pick up to {MOST_STYLES} styles and see them side by side.",
            )
    keys = [style.key for style in chosen]
    with st.container(horizontal=True, gap="small", key="gallery"):
        for key, style in known.items():
            by = f" :small[{plain(style.by)}]" if style.by else ""
            card(
                f"pick-{key}",
                f"**{plain(style.title)}**{by}",
                partial(show_painting, style),
                chosen=key in keys,
                on_click=pick,
                args=(key,),
            )
