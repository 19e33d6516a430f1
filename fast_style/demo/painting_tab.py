"""The tab Any painting: a picture as a style at once, or one photo optimised towards it."""

import streamlit as st

from fast_style.demo import optimize_view, painting_view
from fast_style.demo.backend import service_url
from fast_style.demo.photos import SUFFIXES, show_photo_picker, show_sample_cards
from fast_style.demo.session import (
    MAX_FILE_MB,
    get_painting,
    load_sample_paintings,
    pop_notice,
    set_painting,
    set_sample_painting,
)
from fast_style.demo.text import escape_markdown

_STYLE, _PHOTO = "A style for any photo", "This photo only"
_PAINTINGS = {
    "composition-vii": ("Kandinsky", "Composition VII by Wassily Kandinsky"),
    "great-wave": ("Hokusai", "The Great Wave off Kanagawa by Katsushika Hokusai"),
    "starry-night": ("Van Gogh", "The Starry Night by Vincent van Gogh"),
    "the-scream": ("Munch", "The Scream by Edvard Munch"),
}


def has_painting_tab() -> bool:
    """Return whether this process can do it; a service cannot train."""
    return service_url() is None


def keep_settings() -> None:
    """Keep the settings while the tab is hidden; Streamlit would drop them."""
    st.session_state["any-way-kept"] = st.session_state.get("any-way", _STYLE)
    optimize_view.keep_settings()


def show_painting_tab() -> None:
    """Show the tab."""
    left, right = st.columns([5, 7], gap="large")
    with left:
        show_photo_picker("any-", several=False)
        _show_painting_picker()
    with right:
        notice = pop_notice()
        if notice:
            st.info(escape_markdown(notice))
        if not optimize_view.can_optimize():
            painting_view.show_painting_style()
            return
        if "any-way-kept" in st.session_state:
            st.session_state["any-way"] = st.session_state.pop("any-way-kept")
        way = st.segmented_control(
            "What to make",
            [_STYLE, _PHOTO],
            default=None if "any-way" in st.session_state else _STYLE,
            required=True,
            key="any-way",
            label_visibility="collapsed",
        )
        if way == _STYLE:
            optimize_view.keep_settings()
            painting_view.show_painting_style()
        else:
            optimize_view.show_optimization()


def _show_painting_picker() -> None:
    st.markdown("#### Painting")
    st.file_uploader(
        f"A painting, or any picture with the style that you want: up to {MAX_FILE_MB} MB",
        type=SUFFIXES,
        max_upload_size=MAX_FILE_MB,
        key="painting-upload",
        on_change=_handle_painting_upload,
    )
    samples = load_sample_paintings()
    show_sample_cards("painting-", samples, _PAINTINGS, [get_painting()], set_sample_painting)


def _handle_painting_upload() -> None:
    set_painting(st.session_state["painting-upload"])
