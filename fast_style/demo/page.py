"""The page: its head and its tabs, and what happens when something goes wrong."""

import logging
from contextlib import suppress
from pathlib import Path

import streamlit as st

from fast_style.demo.about import about
from fast_style.demo.choices import MEGABYTES
from fast_style.demo.own_model import own_model
from fast_style.demo.studio import studio

_FOLDER = Path(__file__).parent

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
        one, two, three = st.tabs(
            ["Stylize", "Your own model", "About"], key="tab", on_change="rerun"
        )
        with two:
            own_model()  # before the gallery, which its style joins
        with one:
            studio()
        with three:
            if three.open:
                about()
    except Exception:
        logging.getLogger(__name__).exception("the page failed")
        st.error(
            "That went wrong, and it is not your fault. Reload the page and try again; what "
            "happened is in the log of the server.",
            icon=":material/error:",
        )
