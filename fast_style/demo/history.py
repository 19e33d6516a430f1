"""The last results of this visitor as a strip, to go back to with their photos and settings."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from fast_style import Photo, encode_image
from fast_style.demo.masks import PhotoMask, get_mask, set_mask
from fast_style.demo.session import MAX_TOTAL_MB, SourceImage, list_all_styles, set_styles
from fast_style.demo.settings import get_settings, set_settings
from fast_style.demo.styles import Style
from fast_style.demo.text import escape_markdown
from fast_style.demo.widgets import show_card

MAX_ENTRIES = 12
"""Results that are kept."""

_SIDE = 160


@dataclass(frozen=True, slots=True)
class Entry:
    """A result that can be gone back to.

    Attributes:
        key: tells it from the others.
        photos: the photos.
        styles: the keys of the chosen styles.
        mask: the mask; None for the whole photo.
        settings: the settings.
        label: the styles, in words.
        preview: a small JPEG of the result.
    """

    key: str
    photos: Sequence[SourceImage]
    styles: Sequence[str]
    mask: PhotoMask | None
    settings: Mapping[str, Any]
    label: str
    preview: bytes

    def is_of(self, photos: Sequence[SourceImage], styles: Sequence[str]) -> bool:
        """Return whether it has these photos and styles, and the settings as they are now."""
        return (
            [photo.digest for photo in self.photos] == [photo.digest for photo in photos]
            and list(self.styles) == list(styles)
            and self.settings == get_settings()
            and self.mask == get_mask()
        )


def show_history(photos: Sequence[SourceImage], styles: Sequence[Style], result: Photo) -> None:
    """Add the result that the page shows to the history, and show the strip.

    Args:
        photos: the photos of the result.
        styles: the styles that are chosen in the gallery.
        result: its first picture.
    """
    entries = _record(photos, styles, result)
    if len(entries) < 2:
        return
    keys = [style.key for style in styles]
    st.markdown("#### History")
    with st.container(horizontal=True, gap="small", key="history"):
        for entry in entries:
            with show_card(
                f"history-{entry.key}",
                escape_markdown(entry.label),
                chosen=entry.is_of(photos, keys),
                on_click=_go_back,
                args=(entry.key,),
            ):
                st.image(
                    entry.preview,
                    width="stretch",
                    alt=f"Result: {entry.photos[0].name} as {entry.label}",
                )


def _record(
    photos: Sequence[SourceImage], styles: Sequence[Style], result: Photo
) -> Sequence[Entry]:
    entries: list[Entry] = st.session_state.setdefault("history", [])
    keys = [style.key for style in styles]
    if any(entry.is_of(photos, keys) for entry in entries):
        return entries  # in the order in which they were made, so that the strip stays still
    small = Photo(result.pixels, result.alpha).resize_long_side(_SIDE)
    label = ", ".join(style.painting for style in styles)
    preview = encode_image(small, format="JPEG", quality=85)[0]
    entry = Entry(
        secrets.token_hex(4), list(photos), keys, get_mask(), get_settings(), label, preview
    )
    entries.insert(0, entry)
    del entries[MAX_ENTRIES:]
    while len(entries) > 1 and _count_bytes(entries) > MAX_TOTAL_MB * 1e6:
        entries.pop()
    return entries


def _count_bytes(entries: Sequence[Entry]) -> int:
    """Return the size of the uploads that the entries hold; each upload counts once."""
    own = {photo.digest: photo for entry in entries for photo in entry.photos if photo.owner}
    return sum(len(photo.content) for photo in own.values())


def _go_back(key: str) -> None:
    entry = next(entry for entry in st.session_state.history if entry.key == key)
    known = list_all_styles()
    found = [style for style in entry.styles if style in known]
    if not found:
        st.session_state.notice = "This style is not in the gallery any more."
        return
    st.session_state.photos = list(entry.photos)
    st.session_state.several = len(found) > 1
    set_styles(found)
    set_mask(entry.mask)
    set_settings(entry.settings)
