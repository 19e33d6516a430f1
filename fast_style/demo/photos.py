"""The photos to choose from: the visitor's own, one from the camera, the samples."""

import streamlit as st

from fast_style.demo.choices import (
    MEGABYTES,
    MOST_PHOTOS,
    photos,
    samples,
    take,
    take_sample,
)

_KINDS = ["jpg", "jpeg", "png", "webp", "avif", "tif", "tiff", "bmp", "gif"]
_SAMPLES = {
    "astronaut": ("Astronaut", "An astronaut in an orange suit before a flag"),
    "chelsea": ("Cat", "The face of a ginger cat"),
    "coffee": ("Coffee", "A cup of coffee with a spoon on a wooden table"),
    "rocket": ("Rocket", "A rocket on its launch pad at dusk"),
}


def choose_photos() -> None:
    """Show the ways to a photo."""
    with st.container(horizontal=True, vertical_alignment="center", key="photo-head"):
        st.markdown("#### Photo")
        source = st.segmented_control(
            "Where the photo comes from",
            ["Upload", "Camera"],
            default="Upload",
            required=True,
            key="source",
            label_visibility="collapsed",
        )
    if source == "Camera":
        st.camera_input("Take a photo", key="camera", on_change=_photographed)
    else:
        st.file_uploader(
            f"Your photos: up to {MOST_PHOTOS}, {MEGABYTES} MB each",
            type=_KINDS,
            accept_multiple_files=True,
            max_upload_size=MEGABYTES,
            key="upload",
            on_change=_uploaded,
        )
    chosen = {shot.digest for shot in photos()}
    with st.container(horizontal=True, gap="small", key="samples"):
        for name, shot in samples().items():
            label, words = _SAMPLES.get(name, (name, name))
            is_chosen = shot.digest in chosen
            with st.container(key=f"card-sample-{name}", gap=None):
                st.image(shot.content, width="stretch", alt=words)
                st.button(
                    f"{'✓ ' if is_chosen else ''}{label}",
                    key=f"sample-{name}",
                    on_click=take_sample,
                    args=(name,),
                    type="primary" if is_chosen else "secondary",
                    width="stretch",
                )


def _uploaded() -> None:
    take(st.session_state.upload or [])


def _photographed() -> None:
    shot = st.session_state.camera
    take([shot] if shot else [])
