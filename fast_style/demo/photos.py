"""The photos to choose from: the visitor's own, one from the camera, the samples."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import streamlit as st

from fast_style.demo.cards import card
from fast_style.demo.session import (
    MEGABYTES,
    MOST_PHOTOS,
    Shot,
    Upload,
    photos,
    samples,
    take,
    take_sample,
)

KINDS = ["jpg", "jpeg", "png", "webp", "avif", "tif", "tiff", "bmp", "gif"]
_SAMPLES = {
    "astronaut": ("Astronaut", "An astronaut in an orange suit before a flag"),
    "chelsea": ("Cat", "The face of a ginger cat"),
    "coffee": ("Coffee", "A cup of coffee with a spoon on a wooden table"),
    "rocket": ("Rocket", "A rocket on its launch pad at dusk"),
}


def choose_photos(place: str = "", *, several: bool = True) -> None:
    """Show the ways to a photo.

    Args:
        place: where on the page, so that the keys of two places differ.
        several: whether more than one can be uploaded; all places show the same choice.
    """
    with st.container(horizontal=True, vertical_alignment="center", key=f"{place}photo-head"):
        st.markdown("#### Photo")
        source = st.segmented_control(
            "Where the photo comes from",
            ["Upload", "Camera"],
            default="Upload",
            required=True,
            key=f"{place}source",
            label_visibility="collapsed",
        )
    taking = f"{place}{'camera' if source == 'Camera' else 'upload'}"
    if source == "Camera":
        st.camera_input("Take a photo", key=taking, on_change=_taken, args=(taking,))
    else:
        limits = f"up to {MOST_PHOTOS}, {MEGABYTES} MB each" if several else f"up to {MEGABYTES} MB"
        st.file_uploader(
            f"Your photo{'s' if several else ''}: {limits}",
            type=KINDS,
            accept_multiple_files=several,
            max_upload_size=MEGABYTES,
            key=taking,
            on_change=_taken,
            args=(taking,),
        )
    chosen = photos() if several else photos()[:1]
    sample_cards(place, samples(), _SAMPLES, chosen, take_sample)


def sample_cards(
    place: str,
    shots: Mapping[str, Shot],
    words: Mapping[str, tuple[str, str]],
    chosen: Iterable[Shot],
    on_click: Callable[[str], None],
) -> None:
    """Show pictures that ship.

    Args:
        place: where on the page.
        shots: the pictures, by name.
        words: what each is called, and what is to be seen on it.
        chosen: those that are.
        on_click: called with the name of one.
    """
    digests = {shot.digest for shot in chosen}
    with st.container(horizontal=True, gap="small", key=f"{place}samples"):
        for name, shot in shots.items():
            label, alt = words.get(name, (name, name))
            card(
                f"{place}sample-{name}",
                label,
                partial(st.image, shot.content, width="stretch", alt=alt),
                chosen=shot.digest in digests,
                on_click=on_click,
                args=(name,),
            )


def _taken(key: str) -> None:
    given: list[Upload] | Upload | None = st.session_state[key]
    take(given if isinstance(given, list) else [given] if given else [])
