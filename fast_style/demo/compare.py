"""The slider between a photo and its painted self: a component of our own, which works offline."""

import base64
from pathlib import Path

import streamlit as st

from fast_style import Photo, encode_image

_FOLDER = Path(__file__).parent
_QUALITY = 88  # of what is shown; what is downloaded has the library's own

_component = st.components.v2.component(
    "fast_style_compare",
    html=(_FOLDER / "compare.html").read_text(encoding="utf-8"),
    css=(_FOLDER / "compare.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "compare.js").read_text(encoding="utf-8"),
)


def shown(photo: Photo) -> bytes:
    """A picture as the page shows it."""
    return encode_image(photo, format="JPEG", quality=_QUALITY)[0]


def compare(
    before: bytes,
    after: bytes,
    *,
    size: tuple[int, int],
    name: str,
    style: str,
    key: str = "compare",
) -> None:
    """Show two pictures of one size over each other, with a handle to draw between them.

    Args:
        before: the photo, as `shown` gives it.
        after: the same, painted.
        size: width and height.
        name: the photo's file.
        style: what the style is called.
        key: one for each place on the page.
    """
    width, height = size
    _component(
        key=key,
        data={
            "before": _address(before),
            "after": _address(after),
            "width": width,
            "height": height,
            "before_alt": f"The photo {name}",
            "after_alt": f"{name} in the style of {style}",
            "label": "How much of the photo is uncovered",
        },
    )


def _address(picture: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode("ascii")
