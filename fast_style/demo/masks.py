"""Where the style goes: a mask that is painted on the photo, or uploaded."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from fast_style import FastStyleError, Guides, Photo, encode_image, read_guides, read_image
from fast_style.demo.backend import service_url
from fast_style.demo.photos import SUFFIXES
from fast_style.demo.session import MAX_FILE_MB, MAX_MEGAPIXELS, SourceImage
from fast_style.demo.settings import MAX_FEATHER
from fast_style.demo.styles import Style, group_styles, list_registered_styles
from fast_style.demo.text import escape_markdown
from fast_style.demo.widgets import encode_for_page, make_data_url

_FOLDER = Path(__file__).parent
_WHOLE, _PAINT, _UPLOAD = "Whole photo", "Paint", "Upload"
_SIDE = 640  # of the photo in the editor and of a painted mask, in pixels
_MAX_BYTES = 1 << 20  # of a painted mask
_PNG = "data:image/png;base64,"

_editor = st.components.v2.component(
    "fast_style_mask",
    html=(_FOLDER / "mask.html").read_text(encoding="utf-8"),
    css=(_FOLDER / "mask.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "mask.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True, slots=True)
class PhotoMask:
    """A mask: the bytes of a picture, white where the style goes.

    Attributes:
        content: the picture's file.
        way: how it was made: painted or uploaded.
        digest: a digest of the content.
    """

    content: bytes
    way: str
    digest: str

    def read(self) -> Guides:
        """Return the mask as the library takes it.

        Raises:
            ImageError: it is no picture.
        """
        # Checked first, since a mask is read without a limit on its pixels.
        read_image(self.content, max_megapixels=MAX_MEGAPIXELS, name="the mask", at_least=1)
        return read_guides(self.content)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a style goes.

    Attributes:
        mask: white where it goes.
        elsewhere: the style that goes elsewhere; None for the photo.
    """

    mask: PhotoMask
    elsewhere: Style | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.mask.digest, self.elsewhere.key if self.elsewhere else ""


def get_mask() -> PhotoMask | None:
    """Return the mask that applies now; None for the whole photo."""
    way = st.session_state.get("mask_way", _WHOLE)
    mask: PhotoMask | None = st.session_state.get("masks", {}).get(way)
    return mask


def set_mask(mask: PhotoMask | None) -> None:
    """Make a mask apply; the editor shows it if it was painted."""
    st.session_state.mask_way = mask.way if mask else _WHOLE
    if mask:
        st.session_state.setdefault("masks", {})[mask.way] = mask
    st.session_state.mask_stamp = st.session_state.get("mask_stamp", 0) + 1


def show_mask_controls(image: SourceImage, style: Style) -> Placement | None:
    """Show the controls of the mask.

    Args:
        image: the photo.
        style: the style that goes where the mask is white.

    Returns:
        Where the style goes; None for everywhere.
    """
    st.session_state["mask-way"] = st.session_state.get("mask_way", _WHOLE)
    way = st.segmented_control(
        "Where the style goes",
        [_WHOLE, _PAINT, _UPLOAD],
        required=True,
        key="mask-way",
        on_change=_handle_way,
    )
    if way == _WHOLE:
        return None
    if way == _PAINT:
        _show_editor(image)
    else:
        st.file_uploader(
            f"A mask, white where the style goes: up to {MAX_FILE_MB} MB",
            type=SUFFIXES,
            max_upload_size=MAX_FILE_MB,
            key="mask-upload",
            on_change=_handle_upload,
        )
    first, second = st.columns(2, gap="medium")
    with first:
        st.slider(
            "Soft edge", 0, MAX_FEATHER, format="%d px", key="feather",
            help="The width of the edge between painted and unpainted parts.",
        )  # fmt: skip
        st.toggle("Invert the mask", key="invert")
    elsewhere = None
    if service_url() is None:
        with second:
            elsewhere = _choose_elsewhere(style)
    mask = get_mask()
    return None if mask is None else Placement(mask, elsewhere)


def _choose_elsewhere(style: Style) -> Style | None:
    known = list_registered_styles()
    groups = [group for group in group_styles(known.values()) if style.key not in group]
    others = {group.first.key: group for group in groups}
    if st.session_state.elsewhere not in others:
        st.session_state.elsewhere = ""
    key = st.selectbox(
        "Elsewhere",
        ["", *others],
        format_func=lambda key: others[key].title if key else "The photo as it is",
        key="elsewhere",
    )
    if not key:
        return None
    return others[key].sizes.get(style.size, others[key].first)


def _show_editor(image: SourceImage) -> None:
    """Show the photo to paint on."""
    try:
        content, width, height = _make_photo(image)
    except FastStyleError as error:
        st.error(escape_markdown(str(error)), icon=":material/broken_image:")
        return
    mask = st.session_state.get("masks", {}).get(_PAINT)
    stamp = f"{image.digest} {st.session_state.get('mask_stamp', 0)}"
    _editor(
        key="mask-editor",
        data={
            "photo": make_data_url(content),
            "width": width,
            "height": height,
            "mask": _PNG + base64.b64encode(mask.content).decode("ascii") if mask else "",
            "stamp": stamp,
            "alt": f"{image.name}, to paint on",
        },
        on_mask_change=_handle_painting,
    )
    st.caption("Paint where the style goes, with the mouse or a finger.")


def _make_photo(image: SourceImage) -> tuple[bytes, int, int]:
    """Return a small JPEG of the photo, kept for this visitor, and its size."""
    kept: tuple[str, tuple[bytes, int, int]] | None = st.session_state.get("mask_photo")
    if kept is None or kept[0] != image.digest:
        photo = read_image(
            image.content, max_megapixels=MAX_MEGAPIXELS, name=image.name, at_least=_SIDE
        )
        small = Photo(photo.pixels, photo.alpha).resize_long_side(_SIDE)
        kept = (image.digest, (encode_for_page(small), small.width, small.height))
        st.session_state.mask_photo = kept
    return kept[1]


def _handle_way() -> None:
    st.session_state.mask_way = st.session_state["mask-way"]
    st.session_state.mask_stamp = st.session_state.get("mask_stamp", 0) + 1


def _handle_painting() -> None:
    """Store what the visitor has painted; an empty text is an empty mask."""
    text = st.session_state["mask-editor"].get("mask") or ""
    masks = st.session_state.setdefault("masks", {})
    masks.pop(_PAINT, None)
    if isinstance(text, str) and text.startswith(_PNG) and len(text) < 2 * _MAX_BYTES:
        try:
            content = base64.b64decode(text.removeprefix(_PNG), validate=True)
            photo = read_image(content, max_megapixels=1, name="the mask")
        except (binascii.Error, FastStyleError):
            return
        clean = encode_image(Photo(photo.pixels), format="PNG")[0]
        masks[_PAINT] = _make_mask(clean, _PAINT)


def _handle_upload() -> None:
    upload = st.session_state["mask-upload"]
    masks = st.session_state.setdefault("masks", {})
    masks.pop(_UPLOAD, None)
    if upload is not None:
        masks[_UPLOAD] = _make_mask(upload.getvalue(), _UPLOAD)


def _make_mask(content: bytes, way: str) -> PhotoMask:
    return PhotoMask(content, way, hashlib.sha256(content).hexdigest())
