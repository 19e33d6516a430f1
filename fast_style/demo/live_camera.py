"""The live camera: snapshots of the browser's camera, a few a second, each stylized and sent back.

The page sends the next snapshot when the last one has come back, so that it never runs ahead of the
server. That needs no WebRTC, and so no STUN server or further packages, and works offline.
"""

import base64
import binascii
from pathlib import Path

import streamlit as st

from fast_style import FastStyleError, StyleOptions, read_image
from fast_style.demo.styles import Style
from fast_style.demo.stylizers import load_stylizer
from fast_style.demo.text import escape_markdown
from fast_style.demo.turns import get_turns
from fast_style.demo.widgets import encode_for_page, make_data_url

SIDE = 384
"""Long side of a snapshot in pixels."""

_FOLDER = Path(__file__).parent
_JPEG = "data:image/jpeg;base64,"
_MAX_LETTERS = 1 << 20

_view = st.components.v2.component(
    "fast_style_live",
    html=(_FOLDER / "live.html").read_text(encoding="utf-8"),
    css=(_FOLDER / "live.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "live.js").read_text(encoding="utf-8"),
)


def show_live_camera(style: Style) -> None:
    """Show the camera in a style; only this part of the page runs for each snapshot."""
    st.fragment(_show)(style)
    st.caption(
        "Snapshots go to the server that shows this page, a few a second, and are kept nowhere."
    )


def _show(style: Style) -> None:
    frame = st.session_state.pop("live_frame", None)
    picture = ""
    if frame is not None:
        try:
            picture = make_data_url(stylize_snapshot(frame, style))
        except FastStyleError as error:
            st.error(escape_markdown(str(error)), icon=":material/broken_image:")
    number = st.session_state.get("live_number", 0)
    _view(
        key="live",
        data={"picture": picture, "number": number, "side": SIDE, "style": style.title},
        on_frame_change=_handle_frame,
    )


def stylize_snapshot(content: bytes, style: Style) -> bytes:
    """Return a snapshot in a style, as a JPEG for the page.

    Args:
        content: the snapshot's file.
        style: the style.

    Raises:
        FastStyleError: the snapshot or the style cannot be used.
    """
    photo = read_image(content, max_megapixels=2, name="the snapshot")
    stylizer, _ = load_stylizer(style)
    with get_turns().spare():
        painted = stylizer.paint(photo, StyleOptions(size=SIDE))
    return encode_for_page(painted.finish())


def _handle_frame() -> None:
    """Take the snapshot that the page has sent."""
    text = st.session_state["live"].get("frame") or ""
    if isinstance(text, str) and text.startswith(_JPEG) and len(text) < _MAX_LETTERS:
        st.session_state["live_number"] = st.session_state.get("live_number", 0) + 1
        try:
            content = base64.b64decode(text.removeprefix(_JPEG), validate=True)
        except binascii.Error:
            return
        st.session_state["live_frame"] = content
