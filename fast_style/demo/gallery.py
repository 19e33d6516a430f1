"""The gallery: the visitor's photo in each style, as cards to choose from."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fast_style import FastStyleError, encode_image, read_image
from fast_style.demo.previews import find_preview, make_previews
from fast_style.demo.session import (
    MAX_STYLES,
    SourceImage,
    handle_compare_toggle,
    handle_style_click,
    list_groups,
)
from fast_style.demo.styles import Style, StyleGroup
from fast_style.demo.text import escape_markdown
from fast_style.demo.widgets import show_card

_MANY_STYLES = 6  # from this number on there is a search


@dataclass(frozen=True, slots=True)
class Gallery:
    """The gallery as it is on the page, to be filled with previews.

    Attributes:
        photo: whose previews are shown.
        cards: for each card its style, the place of its picture, and that of the painting in the
            corner.
    """

    photo: SourceImage
    cards: Sequence[tuple[Style, DeltaGenerator, DeltaGenerator]]

    def fill(self) -> None:
        """Make the previews that are missing, and show each as soon as it is made."""
        places = {style.key: (picture, corner) for style, picture, corner in self.cards}
        for style, content in make_previews(self.photo, [style for style, *_ in self.cards]):
            _show_preview(self.photo, style, content, *places[style.key])


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
    _show_painting(style, st.empty())


def show_gallery(photo: SourceImage, chosen: Sequence[Style]) -> Gallery:
    """Show a card for each painting; a click or the Enter key chooses it.

    Args:
        photo: the visitor's photo, for the previews.
        chosen: the styles that are chosen now.
    """
    groups = list_groups()
    with st.container(horizontal=True, vertical_alignment="center", key="gallery-head"):
        st.markdown("#### Style")
        if len(groups) > 1:
            st.toggle(
                "Compare several",
                key="several",
                on_change=handle_compare_toggle,
                help=f"Choose up to {MAX_STYLES} styles and see them side by side.",
            )
    found = _search(groups) if len(groups) >= _MANY_STYLES else groups
    keys = [style.key for style in chosen]
    cards = []
    with st.container(horizontal=True, gap="small", key="gallery"):
        for group in found:
            # The chosen size, if it is this painting that is chosen.
            style = next((style for style in chosen if style.key in group), group.first)
            by = f" :small[{escape_markdown(style.attribution)}]" if style.attribution else ""
            with show_card(
                f"pick-{group.first.key}",
                f"**{escape_markdown(group.title)}**{by}",
                chosen=any(key in group for key in keys),
                on_click=handle_style_click,
                args=(group.first.key,),
            ):
                picture, corner = st.empty(), st.empty()
            content = find_preview(photo, style)
            if content is None:
                _show_painting(style, picture)
            else:
                _show_preview(photo, style, content, picture, corner)
            cards.append((style, picture, corner))
    return Gallery(photo, cards)


def _search(groups: Sequence[StyleGroup]) -> list[StyleGroup]:
    """Show the search; return the groups that it finds."""
    words = st.text_input(
        "Search",
        key="search",
        placeholder=f"Search {len(groups)} styles: a painter, a title, a word",
        label_visibility="collapsed",
        icon=":material/search:",
        max_chars=60,
    )
    tags = sorted({tag for group in groups for tag in group.first.tags})
    tag = st.pills("Tag", tags, key="tag", label_visibility="collapsed") if tags else None
    found = [group for group in groups if matches(group, f"{words or ''} {tag or ''}")]
    if not found:
        st.caption("No style has all of these words.")
    return found


def matches(group: StyleGroup, words: str) -> bool:
    """Return whether a painting has all words in its name, title, artist, year or tags."""
    texts = [
        text
        for style in group.sizes.values()
        for text in (style.card.name, style.card.title, style.attribution, *style.tags)
    ]
    have = _fold(" ".join(texts))
    return all(word in have for word in _fold(words).split())


def _fold(text: str) -> str:
    """Return a text in lower case and without accents."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _show_painting(style: Style, place: DeltaGenerator) -> None:
    content = reencode_thumbnail(style.card.thumbnail) if style.card.thumbnail else None
    if content is None:
        place.html(
            '<div class="no-painting" role="img" aria-label="No picture of the painting"></div>'
        )
        return
    place.image(content, width="stretch", alt=_describe_painting(style))


def _show_preview(
    photo: SourceImage,
    style: Style,
    content: bytes,
    picture: DeltaGenerator,
    corner: DeltaGenerator,
) -> None:
    """Show a preview, and the painting in its corner."""
    picture.image(content, width="stretch", alt=f"Preview: {photo.name} as {style.painting}")
    painting = reencode_thumbnail(style.card.thumbnail) if style.card.thumbnail else None
    if painting is not None:
        corner.image(painting, width="stretch", alt=_describe_painting(style))


def _describe_painting(style: Style) -> str:
    by = f" by {style.card.artist}" if style.card.artist else ""
    return f"The painting {style.painting}{by}"
