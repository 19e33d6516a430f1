"""The page: its head, its tabs, and the messages for failures."""

import itertools
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import streamlit as st

from fast_style import FastStyleError
from fast_style.demo.about_tab import show_about_tab
from fast_style.demo.backend import list_cards, service_host, service_url
from fast_style.demo.painting_tab import has_painting_tab, keep_settings, show_painting_tab
from fast_style.demo.session import MAX_FILE_MB
from fast_style.demo.stylize_tab import show_stylize_tab
from fast_style.demo.text import escape_markdown
from fast_style.demo.upload_tab import show_upload_tab
from fast_style.demo.video_tab import MAX_CLIP_MB, has_video_tab, show_video_tab
from fast_style.demo.widgets import accept_pasted_pictures

_FOLDER = Path(__file__).parent
_UPLOADERS = ("upload", "any-upload")  # that get pictures from the clipboard
_RETRY_SECONDS = 4.0  # between two attempts to reach a service


def show_page() -> None:
    """Show the page: one run of Streamlit's script."""
    _keep_uploads_in_memory()
    st.set_page_config(
        page_title="Fast Style",
        page_icon=_FOLDER / "icon.png",
        layout="wide",
        initial_sidebar_state="collapsed",
        menu_items={"about": "Fast Style puts the style of a painting on a photo in one pass."},
    )
    st.html(_FOLDER / "page.css")
    st.title("Fast Style", anchor=False)
    st.markdown("Your photo in the style of a painting.")
    try:
        if _check_styles():
            _show_tabs()
    except Exception:
        logging.getLogger(__name__).exception("the page failed")
        st.error(
            "Something went wrong on the server: reload the page and try again. The server's log "
            "has the details.",
            icon=":material/error:",
        )


def _keep_uploads_in_memory() -> None:
    """Stop Streamlit's server from writing uploads of more than a megabyte to temporary files.

    Streamlit refuses uploads over the limit while they arrive, so memory stays bounded.
    """
    with suppress(ImportError):  # a version of Streamlit with another server
        from starlette.formparsers import MultiPartParser

        MultiPartParser.spool_max_size = (max(MAX_FILE_MB, MAX_CLIP_MB) + 1) * 1_000_000


def _show_tabs() -> None:
    is_local = service_url() is None
    names = ["Stylize", "Your own model", "About"] if is_local else ["Stylize", "About"]
    if has_painting_tab():
        names.insert(1, "Any painting")
    if has_video_tab():
        names.insert(-2, "Video")
    tabs = dict(zip(names, st.tabs(names, key="tab", on_change="rerun"), strict=True))
    if "Any painting" in tabs:
        with tabs["Any painting"]:
            if tabs["Any painting"].open:
                # Before the tab Stylize, which would show this one's notice.
                show_painting_tab()
            else:
                keep_settings()
    if "Video" in tabs:
        with tabs["Video"]:
            if tabs["Video"].open:
                show_video_tab()
    if "Your own model" in tabs:
        with tabs["Your own model"]:
            show_upload_tab()  # before the gallery, which shows the uploaded style
    with tabs["Stylize"]:
        gallery = show_stylize_tab()
    with tabs["About"]:
        if tabs["About"].open:
            show_about_tab()
    if not is_local:
        st.caption(
            f"Photos are stylized by the service at {escape_markdown(service_host())}. The tabs "
            "Any painting and Your own model need a demo that computes by itself."
        )
    accept_pasted_pictures(_UPLOADERS)
    if tabs["Stylize"].open:
        gallery.fill()


def _check_styles() -> bool:
    """Return whether the styles can be listed; if the service is down, show it and retry."""
    try:
        list_cards()
    except FastStyleError as error:
        st.error(escape_markdown(str(error)), icon=":material/cloud_off:")
        st.fragment(_retry, run_every=_RETRY_SECONDS)(itertools.count())
        return False
    return True


def _retry(calls: Iterator[int]) -> None:
    """Reload the page when the service can be reached; called at once, then periodically."""
    st.caption("The page reloads when the service can be reached.")
    if next(calls) == 0:  # the page has just tried
        return
    with suppress(FastStyleError):
        list_cards()
        st.rerun()
