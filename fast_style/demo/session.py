"""What a visitor has chosen: photos and styles, within limits, until the page is closed."""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

import streamlit as st

from fast_style import SIZES, StyleModel
from fast_style.demo.styles import (
    UPLOADED_PREFIX,
    Style,
    StyleGroup,
    group_styles,
    list_registered_styles,
)

MAX_FILE_MB = 20
"""Limit on a photo's file, in megabytes."""

MAX_TOTAL_MB = 60
"""Limit on all photos of a visitor together, in megabytes."""

MAX_MEGAPIXELS = 50.0
"""Limit on a photo's pixels, in millions."""

MAX_PHOTOS = 10
MAX_STYLES = 4
MAX_OWN_STYLES = 6


@dataclass(frozen=True, slots=True)
class SourceImage:
    """A picture as it was uploaded.

    Attributes:
        name: the name of its file.
        content: the bytes of its file.
        digest: a digest of these.
        owner: the session that it belongs to; empty for the samples.
    """

    name: str
    content: bytes
    digest: str
    owner: str = ""


class Upload(Protocol):
    """A file from Streamlit's uploader or camera."""

    name: str

    def getvalue(self) -> bytes:
        """Return its bytes."""
        ...


@st.cache_resource(show_spinner=False)
def load_sample_photos() -> dict[str, SourceImage]:
    """Return the photos that ship with the demo, by name."""
    folder = Path(__file__).parent / "examples"
    if not folder.is_dir():  # a checkout
        folder = Path(__file__).parents[2] / "examples"
    return _load_folder(folder)


@st.cache_resource(show_spinner=False)
def load_sample_paintings() -> dict[str, SourceImage]:
    """Return the paintings that ship with the demo, by name."""
    return _load_folder(Path(__file__).parent / "paintings")


def _load_folder(folder: Path) -> dict[str, SourceImage]:
    return {
        path.stem: SourceImage(path.name, content, _compute_digest(content))
        for path in sorted(folder.glob("*.jpg"))
        for content in [path.read_bytes()]
    }


def list_all_styles() -> dict[str, Style]:
    """Return all styles that this visitor can choose, by key, their own first."""
    return get_own_styles() | list_registered_styles()


def get_own_styles() -> dict[str, Style]:
    """Return the styles that this visitor has uploaded or kept, by key, the last one first."""
    own: dict[str, Style] = st.session_state.setdefault("own_styles", {})
    return own


def list_groups() -> list[StyleGroup]:
    """Return all styles that this visitor can choose, the sizes of one painting together."""
    return group_styles(list_all_styles().values())


def get_photos() -> list[SourceImage]:
    """Return the chosen photos; at the start, the first sample."""
    chosen: list[SourceImage] | None = st.session_state.get("photos")
    return chosen or list(load_sample_photos().values())[:1]


def get_painting() -> SourceImage:
    """Return the painting to optimise towards; at the start, the first sample."""
    chosen: SourceImage | None = st.session_state.get("painting")
    return chosen or next(iter(load_sample_paintings().values()))


def get_styles() -> list[Style]:
    """Return the chosen styles; at the start, those that the link names, or else the first."""
    known = list_all_styles()
    if "chosen" not in st.session_state:
        linked = list(dict.fromkeys(st.query_params.get_all("style")))
        missing = [key for key in linked if key not in known]
        if missing:
            st.session_state.notice = (
                f"There is no style {missing[0]!r} here; choose one from the gallery."
            )
        set_styles([key for key in linked if key in known][:MAX_STYLES], update_link=False)
        st.session_state.several = len(st.session_state.chosen) > 1
    found = [known[key] for key in st.session_state.chosen if key in known]
    return found or list(known.values())[:1]


def set_styles(keys: Sequence[str], *, update_link: bool = True) -> None:
    """Choose styles.

    Args:
        keys: their keys.
        update_link: whether to put the choice into the page's address.
    """
    st.session_state.chosen = list(keys)
    if update_link:
        st.query_params["style"] = [key for key in keys if not key.startswith(UPLOADED_PREFIX)]


def handle_style_click(key: str) -> None:
    """Choose the clicked painting alone or, where several are compared, add or remove it.

    Args:
        key: of the first style of its group.
    """
    group = next(group for group in list_groups() if key in group)
    style = group.sizes.get(st.session_state.get("network", ""), group.first)
    if not st.session_state.get("several"):
        set_styles([style.key])
        return
    before = [style.key for style in get_styles()]
    after = [other for other in before if other not in group]
    if len(after) == len(before):
        after.append(style.key)
    if len(after) > MAX_STYLES:
        st.session_state.notice = f"At most {MAX_STYLES} styles can be compared at once."
        after = before
    set_styles(after or before)


def list_network_sizes() -> list[str]:
    """Return the sizes among which the chosen styles leave a choice, small before large."""
    keys = [style.key for style in get_styles()]
    groups = [group for group in list_groups() if any(key in group for key in keys)]
    names = {name for group in groups if len(group.sizes) > 1 for name in group.sizes}
    return [name for name in SIZES if name in names]


def handle_network_choice() -> None:
    """Replace the chosen styles by those of the chosen size, where their paintings have it."""
    size = st.session_state.network
    keys = []
    for style in get_styles():
        group = next(group for group in list_groups() if style.key in group)
        keys.append(group.sizes.get(size, style).key)
    set_styles(list(dict.fromkeys(keys)))


def handle_compare_toggle() -> None:
    """Keep only the first style when comparing is switched off."""
    if not st.session_state.several:
        set_styles([style.key for style in get_styles()[:1]])


def set_photos(uploads: Iterable[Upload]) -> None:
    """Choose uploaded photos; those beyond the limits are left out, with a notice."""
    images: dict[str, SourceImage] = {}
    total = 0
    notes = []
    for upload in uploads:
        content, name = upload.getvalue(), PurePath(upload.name).name
        total += len(content)
        if len(images) == MAX_PHOTOS:
            notes.append(
                f"At most {MAX_PHOTOS} photos can be used at once; the others are left out."
            )
            break
        if len(content) > MAX_FILE_MB * 1e6 or total > MAX_TOTAL_MB * 1e6:
            notes.append(
                f"{name} is left out: the limit is {MAX_FILE_MB} MB for a photo, and "
                f"{MAX_TOTAL_MB} MB for all."
            )
            total -= len(content)
            continue
        image = make_own_image(name, content)
        images.setdefault(image.digest, image)
    st.session_state.photos = list(images.values())
    if notes:
        st.session_state.notice = " ".join(dict.fromkeys(notes))


def set_sample_photo(name: str) -> None:
    """Choose a sample photo."""
    st.session_state.photos = [load_sample_photos()[name]]


def set_painting(upload: Upload | None) -> None:
    """Choose an uploaded painting, or with None the first sample; the uploader limits its size."""
    if upload is None:
        st.session_state.pop("painting", None)
    else:
        name = PurePath(upload.name).name
        st.session_state.painting = make_own_image(name, upload.getvalue())


def set_sample_painting(name: str) -> None:
    """Choose a sample painting."""
    st.session_state.painting = load_sample_paintings()[name]


def make_own_style(model: StyleModel, content: bytes) -> Style:
    """Return a style of this visitor alone.

    Args:
        model: its model.
        content: what tells it from others: the bytes of its file.
    """
    return Style(f"{UPLOADED_PREFIX}{_compute_digest(content)}", model.card, model)


def add_own_style(style: Style) -> None:
    """Add a style to this visitor's gallery, and choose it; the oldest of many is dropped."""
    own = {style.key: style} | {k: v for k, v in get_own_styles().items() if k != style.key}
    if len(own) > MAX_OWN_STYLES:
        dropped = own.pop(list(own)[-1])
        st.session_state.notice = (
            f"The gallery holds {MAX_OWN_STYLES} styles of your own: {dropped.title} was dropped."
        )
    st.session_state.own_styles = own
    st.session_state.several = False
    set_styles([style.key])


def remove_own_style(key: str) -> None:
    """Remove a style from this visitor's gallery."""
    get_own_styles().pop(key, None)


def pop_notice() -> str | None:
    """Return the message to show once, and forget it."""
    text: str | None = st.session_state.pop("notice", None)
    return text


def make_own_image(name: str, content: bytes) -> SourceImage:
    """Return an upload of this visitor."""
    owner = st.session_state.setdefault("owner", secrets.token_hex(8))
    return SourceImage(name, content, _compute_digest(content), owner)


def _compute_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
