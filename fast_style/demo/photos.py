"""The photo picker: upload, camera and samples."""

from collections.abc import Callable, Iterable, Mapping

import streamlit as st

from fast_style import READABLE_SUFFIXES
from fast_style.demo.session import (
    MAX_FILE_MB,
    MAX_PHOTOS,
    SourceImage,
    Upload,
    get_photos,
    load_sample_photos,
    set_photos,
    set_sample_photo,
)
from fast_style.demo.widgets import show_card

_USUAL = ("jpg", "jpeg", "heic", "png", "webp", "avif")  # shown first

SUFFIXES = sorted(
    (suffix.removeprefix(".") for suffix in READABLE_SUFFIXES),
    key=lambda suffix: (_USUAL.index(suffix) if suffix in _USUAL else len(_USUAL), suffix),
)
"""The files that can be uploaded."""

_SAMPLES = {
    "astronaut": ("Astronaut", "An astronaut in an orange suit before a flag"),
    "chelsea": ("Cat", "The face of a ginger cat"),
    "coffee": ("Coffee", "A cup of coffee with a spoon on a wooden table"),
    "rocket": ("Rocket", "A rocket on its launch pad at dusk"),
}


def show_photo_picker(prefix: str = "", *, several: bool = True) -> None:
    """Show the ways to choose a photo.

    Args:
        prefix: of the widgets' keys, which must differ between two pickers on the page.
        several: whether more than one photo can be uploaded. All pickers share one choice.
    """
    with st.container(horizontal=True, vertical_alignment="center", key=f"{prefix}photo-head"):
        st.markdown("#### Photo")
        source = st.segmented_control(
            "Where the photo comes from",
            ["Upload", "Camera"],
            default="Upload",
            required=True,
            key=f"{prefix}source",
            label_visibility="collapsed",
        )
    key = f"{prefix}{'camera' if source == 'Camera' else 'upload'}"
    if source == "Camera":
        st.camera_input("Take a photo", key=key, on_change=_handle_upload, args=(key,))
    else:
        limit = (
            f"up to {MAX_PHOTOS}, {MAX_FILE_MB} MB each" if several else f"up to {MAX_FILE_MB} MB"
        )
        st.file_uploader(
            f"Your photo{'s' if several else ''}: {limit}; pasting works too",
            type=SUFFIXES,
            accept_multiple_files=several,
            max_upload_size=MAX_FILE_MB,
            key=key,
            on_change=_handle_upload,
            args=(key,),
        )
    chosen = get_photos() if several else get_photos()[:1]
    show_sample_cards(prefix, load_sample_photos(), _SAMPLES, chosen, set_sample_photo)


def show_sample_cards(
    prefix: str,
    samples: Mapping[str, SourceImage],
    texts: Mapping[str, tuple[str, str]],
    chosen: Iterable[SourceImage],
    on_click: Callable[[str], None],
) -> None:
    """Show samples as cards.

    Args:
        prefix: of the widgets' keys.
        samples: the pictures, by name.
        texts: label and alternative text of each, by name.
        chosen: the pictures that are chosen now.
        on_click: called with the name of a sample.
    """
    digests = {image.digest for image in chosen}
    with st.container(horizontal=True, gap="small", key=f"{prefix}samples"):
        for name, image in samples.items():
            label, alt = texts.get(name, (name, name))
            with show_card(
                f"{prefix}sample-{name}",
                label,
                chosen=image.digest in digests,
                on_click=on_click,
                args=(name,),
            ):
                st.image(image.content, width="stretch", alt=alt)


def _handle_upload(key: str) -> None:
    value: list[Upload] | Upload | None = st.session_state[key]
    set_photos(value if isinstance(value, list) else [value] if value else [])
