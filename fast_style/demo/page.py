"""The page: its head and its tabs, and what happens when something goes wrong."""

import itertools
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import streamlit as st

from fast_style import FastStyleError
from fast_style.demo import optimize_tab
from fast_style.demo.about_tab import about
from fast_style.demo.backend import catalogue, service, service_name
from fast_style.demo.session import MEGABYTES
from fast_style.demo.stylize_tab import studio
from fast_style.demo.text import plain
from fast_style.demo.upload_tab import own_model

_FOLDER = Path(__file__).parent
_PAUSE = 4.0  # seconds between two attempts to reach a service that is down

with suppress(ImportError):  # another server than the one that Streamlit has now
    from starlette.formparsers import MultiPartParser

    # It would put uploads of more than a megabyte into temporary files. Streamlit refuses what is
    # over the limit while it is on its way, so that memory stays bounded.
    MultiPartParser.spool_max_size = (MEGABYTES + 1) * 1_000_000


def show() -> None:
    """Show the page; a run of Streamlit's script."""
    st.set_page_config(
        page_title="Fast Style",
        page_icon=_FOLDER / "icon.png",
        layout="wide",
        initial_sidebar_state="collapsed",
        menu_items={"about": "Fast Style puts the style of a painting on a photo in one pass."},
    )
    st.html(_FOLDER / "page.css")
    st.title("Fast Style", anchor=False)
    st.markdown("Your photo, as a painter would have seen it.")
    try:
        if _has_styles():
            _tabs()
    except Exception:
        logging.getLogger(__name__).exception("the page failed")
        st.error(
            "That went wrong, and it is not your fault. Reload the page and try again; what "
            "happened is in the log of the server.",
            icon=":material/error:",
        )


def _tabs() -> None:
    is_local = service() is None
    names = ["Stylize", "Your own model", "About"] if is_local else ["Stylize", "About"]
    if optimize_tab.is_possible():
        names.insert(1, "Any painting")
    tabs = dict(zip(names, st.tabs(names, key="tab", on_change="rerun"), strict=True))
    if "Any painting" in tabs:
        with tabs["Any painting"]:
            if tabs["Any painting"].open:
                optimize_tab.any_painting()  # before the studio, so that it tells its own news
            else:
                optimize_tab.keep_settings()
    if "Your own model" in tabs:
        with tabs["Your own model"]:
            own_model()  # before the gallery, which its style joins
    with tabs["Stylize"]:
        studio()
    with tabs["About"]:
        if tabs["About"].open:
            about()
    if not is_local:
        st.caption(
            f"The service at {plain(service_name())} paints, and this page computes nothing: so "
            "there is no Any painting here, and no model of your own."
        )


def _has_styles() -> bool:
    """Look for the styles; where a service has them and is down, say so and try again."""
    try:
        catalogue()
    except FastStyleError as error:
        st.error(plain(str(error)), icon=":material/cloud_off:")
        st.fragment(_try_again, run_every=_PAUSE)(itertools.count())
        return False
    return True


def _try_again(calls: Iterator[int]) -> None:
    """Wait for the service: called at once, and then again and again."""
    st.caption("As soon as it is back, so is this page.")
    if next(calls) == 0:  # the page has just tried
        return
    with suppress(FastStyleError):
        catalogue()
        st.rerun()
