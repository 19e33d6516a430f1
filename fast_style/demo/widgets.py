"""Widgets of our own: the before/after slider and the cards of the gallery."""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fast_style import Photo, encode_image

_FOLDER = Path(__file__).parent
_QUALITY = 88  # of pictures on the page; downloads have the library's own quality

# Streamlit's second kind of component: its files are sent with the page, so it works offline.
_compare_slider = st.components.v2.component(
    "fast_style_compare",
    html=(_FOLDER / "compare.html").read_text(encoding="utf-8"),
    css=(_FOLDER / "compare.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "compare.js").read_text(encoding="utf-8"),
)


_player = st.components.v2.component(
    "fast_style_player",
    html=(_FOLDER / "player.html").read_text(encoding="utf-8"),
    css="".join(
        (_FOLDER / f"{name}.css").read_text(encoding="utf-8") for name in ("compare", "player")
    ),
    js=(_FOLDER / "player.js").read_text(encoding="utf-8"),
)
_paste = st.components.v2.component(
    "fast_style_paste", js=(_FOLDER / "paste.js").read_text(encoding="utf-8")
)


def accept_pasted_pictures(uploaders: Sequence[str]) -> None:
    """Make the page take pictures from the clipboard.

    Args:
        uploaders: the keys of the uploaders that may get them: the first visible one does.
    """
    _paste(key="paste", data={"uploaders": list(uploaders)}, height="content")


def encode_for_page(photo: Photo) -> bytes:
    """Encode a picture as the JPEG that the page shows."""
    return encode_image(photo, format="JPEG", quality=_QUALITY)[0]


def show_compare_slider(
    before: bytes,
    after: bytes,
    *,
    size: tuple[int, int],
    name: str,
    style: str,
    file_name: str = "",
    key: str = "compare",
) -> None:
    """Show two pictures of one size over each other, with a handle to move between them.

    Args:
        before: the photo, as `encode_for_page` returns it.
        after: the stylized photo, likewise.
        size: width and height in pixels.
        name: the name of the photo's file.
        style: the style's title.
        file_name: name under which the picture can be shared, where the browser can share files;
            empty for no such button.
        key: a key of its own for each slider on the page.
    """
    width, height = size
    _compare_slider(
        key=key,
        data={
            "before": make_data_url(before),
            "after": make_data_url(after),
            "width": width,
            "height": height,
            "before_alt": f"The photo {name}",
            "after_alt": f"{name} in the style of {style}",
            "label": "Share of the original photo",
            "file_name": file_name,
        },
    )


def show_video_slider(
    before: bytes, after: bytes, *, size: tuple[int, int], name: str, style: str
) -> None:
    """Show two videos over each other, with a handle to move between them.

    Args:
        before: an MP4 file.
        after: an MP4 file of the same size and length.
        size: width and height in pixels.
        name: the name of the clip's file.
        style: the style's title.
    """
    # Streamlit's players give the videos addresses; the page hides them.
    for key, content in (("clip-before", before), ("clip-after", after)):
        with st.container(key=key):
            st.video(content, format="video/mp4")
    width, height = size
    _player(
        key="player",
        data={
            "before": "clip-before",
            "after": "clip-after",
            "width": width,
            "height": height,
            "label": f"{name} in the style of {style}",
        },
    )


def show_card(
    key: str,
    label: str,
    *,
    chosen: bool,
    on_click: Callable[..., None],
    args: tuple[Any, ...],
) -> DeltaGenerator:
    """Show a card: a place for a picture with a button below it.

    Clicks anywhere on the card reach the button. The page's CSS lays out the container around the
    cards.

    Args:
        key: the button's key.
        label: the button's text, in Markdown.
        chosen: whether the card is marked as chosen.
        on_click: called on a click or the Enter key.
        args: the arguments of `on_click`.

    Returns:
        The container for the picture.
    """
    with st.container(key=f"card-{key}", gap=None):
        place = st.container(key=f"picture-{key}", gap=None)
        st.button(
            f"{'✓ ' if chosen else ''}{label}",
            key=key,
            on_click=on_click,
            args=args,
            type="primary" if chosen else "secondary",
            width="stretch",
        )
    return place


def make_data_url(picture: bytes) -> str:
    """Return a JPEG as the text of an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode("ascii")
