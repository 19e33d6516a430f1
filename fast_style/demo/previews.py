"""Previews for the gallery: the visitor's photo, small, in each style.

They are made after everything else on the page, and only while nobody waits for a picture that was
asked for. A click interrupts them; the next run continues with those that are missing.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import streamlit as st

from fast_style import (
    FastStyleError,
    Photo,
    StyleOptions,
    Stylizer,
    StylizerCache,
    encode_image,
    read_image,
)
from fast_style.demo.backend import service_url
from fast_style.demo.cache import MAX_AGE, ResultCache
from fast_style.demo.session import MAX_MEGAPIXELS, SourceImage
from fast_style.demo.styles import Style
from fast_style.demo.stylizers import PhotoStylizer, load_stylizer
from fast_style.demo.turns import get_turns

PREVIEW_SIDE = 160
"""Long side of a preview in pixels: a card is about as wide."""

MAX_BYTES = 32 << 20
"""Bytes of previews that are kept; one has about 8 KB."""

MAX_LOADED_STYLES = 48
"""Styles kept loaded for previews. They see no large picture, and so take 10 MB each."""

_QUALITY = 85


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview as a JPEG file."""

    content: bytes

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        return len(self.content)


def find_preview(image: SourceImage, style: Style) -> bytes | None:
    """Return the preview of a photo in a style if it was made already."""
    preview = _get_preview_cache().get(_make_key(image, style))
    return None if preview is None else preview.content


def make_previews(image: SourceImage, styles: Sequence[Style]) -> Iterator[tuple[Style, bytes]]:
    """Make the previews of a photo that are missing, one after the other.

    Styles that cannot be used, and all styles of a photo that cannot be read, are left out: the
    page shows why where the visitor asks for the picture.
    """
    cache = _get_preview_cache()
    missing = [style for style in styles if cache.get(_make_key(image, style)) is None]
    small: Photo | None = None
    for style in missing:
        try:
            small = small or _read_small(image)
        except FastStyleError:
            return
        try:
            stylizer = _load_stylizer(style)
            # A service has limits of its own.
            with get_turns().spare() if service_url() is None else nullcontext():
                painted = stylizer.paint(small, StyleOptions(size=PREVIEW_SIDE))
        except FastStyleError:
            if service_url() is not None:  # it is busy, or down: not asked once more for a preview
                return
            continue
        content = encode_image(painted.finish(), format="JPEG", quality=_QUALITY)[0]
        cache.put(_make_key(image, style), Preview(content))
        yield style, content


def _make_key(image: SourceImage, style: Style) -> tuple[str, ...]:
    return image.owner, image.digest, style.key


def _read_small(image: SourceImage) -> Photo:
    with get_turns().spare():  # decoding 50 megapixels takes much memory too
        photo = read_image(
            image.content, max_megapixels=MAX_MEGAPIXELS, name=image.name, at_least=PREVIEW_SIDE
        )
        small = photo.resize_long_side(PREVIEW_SIDE)
    return Photo(small.pixels, small.alpha)  # without EXIF, which may be larger than the preview


def _load_stylizer(style: Style) -> PhotoStylizer:
    if service_url() is not None:
        return load_stylizer(style)[0]
    model = style.model
    if model is None:
        return _get_stylizer_cache().get(style.key)
    return _get_stylizer_cache().get_or_load(style.key, lambda: Stylizer(model, cache=False))


@st.cache_resource(show_spinner=False)
def _get_preview_cache() -> ResultCache[Preview]:
    """Return the one cache of previews of the process."""
    return ResultCache(MAX_BYTES, MAX_AGE)


@st.cache_resource(show_spinner=False)
def _get_stylizer_cache() -> StylizerCache:
    """Return the styles that are loaded for previews; those of large pictures take more memory."""
    return StylizerCache(MAX_LOADED_STYLES)
