"""Cards: pictures, each with a button below it that takes the clicks on the whole."""

from collections.abc import Callable
from typing import Any

import streamlit as st


def card(
    key: str,
    label: str,
    show: Callable[[], object],
    *,
    chosen: bool,
    on_click: Callable[..., None],
    args: tuple[Any, ...],
) -> None:
    """Show a card; the page's CSS lays out the container that it is in.

    Args:
        key: the button's.
        label: what it says, in Markdown.
        show: shows the picture.
        chosen: whether it is the one, or one of those, that the visitor has chosen.
        on_click: called on a click, or on the Enter key.
        args: what with.
    """
    with st.container(key=f"card-{key}", gap=None):
        show()
        st.button(
            f"{'✓ ' if chosen else ''}{label}",
            key=key,
            on_click=on_click,
            args=args,
            type="primary" if chosen else "secondary",
            width="stretch",
        )
