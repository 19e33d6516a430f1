"""The tab Your own model: a model file of the visitor's, looked at and used."""

import streamlit as st

from fast_style import FastStyleError, model_from_bytes, parameter_count, size_name
from fast_style.demo.about_tab import facts
from fast_style.demo.gallery import show_painting
from fast_style.demo.session import Style, leave_model, take_model
from fast_style.demo.text import plain

MEGABYTES = 8
"""The largest model file; the largest of the usual ones has 6.8 in float32."""


def own_model() -> None:
    """Show the tab."""
    st.markdown(
        "Trained a style with `fast-style train`, or got one from a friend? Its "
        "`.safetensors` file joins the gallery, for you and only as long as this page is open."
    )
    st.file_uploader(
        f"Model file, up to {MEGABYTES} MB",
        type=["safetensors"],
        max_upload_size=MEGABYTES,
        key="model",
        on_change=_uploaded,
    )
    problem: str | None = st.session_state.get("model_problem")
    if problem:
        st.error(plain(problem), icon=":material/error:")
    style: Style | None = st.session_state.get("own")
    if style is None:
        st.caption(
            "Only weights and a card are read, nothing in a file is ever run: checkpoints that are "
            "pickled (.pth, .pt, .ckpt) are refused. `fast-style import` makes models of them."
        )
        return
    picture, words = st.columns([1, 2], gap="large")
    with picture:
        show_painting(style)
    with words:
        st.markdown(f"#### {plain(style.title)}")
        if style.by:
            st.markdown(plain(style.by))
        network = style.card.network
        facts(
            {
                "Name": style.card.name,
                "Licence": style.card.licence,
                "Network": f"{size_name(network)}, {parameter_count(network):,} parameters",
            }
        )
        st.success("It is chosen: see the tab Stylize.", icon=":material/check:")
        st.button("Forget it", key="forget", on_click=leave_model)


def _uploaded() -> None:
    st.session_state.pop("model_problem", None)
    leave_model()
    upload = st.session_state.model
    if upload is None:
        return
    content = upload.getvalue()
    try:
        take_model(model_from_bytes(content, upload.name), content)
    except FastStyleError as error:
        st.session_state.model_problem = str(error)
