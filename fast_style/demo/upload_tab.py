"""The tab Your own model: upload a model file, and use it as a style."""

import streamlit as st

from fast_style import FastStyleError, model_from_bytes, parameter_count, size_name
from fast_style.demo.about_tab import show_facts
from fast_style.demo.gallery import show_painting
from fast_style.demo.session import (
    add_own_style,
    get_own_styles,
    make_own_style,
    remove_own_style,
)
from fast_style.demo.text import escape_markdown

MAX_MODEL_MB = 8
"""Limit on a model file, in megabytes; the largest of the usual sizes has 6.8 in float32."""


def show_upload_tab() -> None:
    """Show the tab."""
    st.markdown(
        "Upload a `.safetensors` file that you trained with `fast-style train` or got from someone "
        "else. Its style is added to the gallery, for you only and until you close the page."
    )
    st.file_uploader(
        f"Model file, up to {MAX_MODEL_MB} MB",
        type=["safetensors"],
        max_upload_size=MAX_MODEL_MB,
        key="model",
        on_change=_handle_upload,
    )
    problem: str | None = st.session_state.get("model_problem")
    if problem:
        st.error(escape_markdown(problem), icon=":material/error:")
    style = get_own_styles().get(st.session_state.get("uploaded", ""))
    if style is None:
        st.caption(
            "Only weights and a card are read; no code in a file is ever run. Pickled checkpoints "
            "(.pth, .pt, .ckpt) are refused: `fast-style import` converts them."
        )
        return
    picture, text = st.columns([1, 2], gap="large")
    with picture:
        show_painting(style)
    with text:
        st.markdown(f"#### {escape_markdown(style.title)}")
        if style.attribution:
            st.markdown(escape_markdown(style.attribution))
        network = style.card.network
        show_facts(
            {
                "Name": style.card.name,
                "Licence": style.card.licence,
                "Network": f"{size_name(network)}, {parameter_count(network):,} parameters",
            }
        )
        st.success("This style is chosen: see the tab Stylize.", icon=":material/check:")
        st.button("Remove it", key="forget", on_click=remove_own_style, args=(style.key,))


def _handle_upload() -> None:
    st.session_state.pop("model_problem", None)
    remove_own_style(st.session_state.pop("uploaded", ""))
    upload = st.session_state.model
    if upload is None:
        return
    content = upload.getvalue()
    try:
        style = make_own_style(model_from_bytes(content, upload.name), content)
        add_own_style(style)
        st.session_state.uploaded = style.key
    except FastStyleError as error:
        st.session_state.model_problem = str(error)
