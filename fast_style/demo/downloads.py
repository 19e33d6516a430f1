"""The results of the tab Stylize as files: one picture, an archive, a sheet of all styles."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import streamlit as st

from fast_style import (
    FastStyleError,
    Photo,
    StyleOptions,
    contact_sheet,
    encode_image,
    read_image,
)
from fast_style.demo.cache import StylizedPhoto, stylize
from fast_style.demo.masks import Placement
from fast_style.demo.session import MAX_MEGAPIXELS, SourceImage
from fast_style.demo.styles import Style, list_registered_styles
from fast_style.demo.text import (
    escape_markdown,
    make_archive_name,
    make_file_name,
    number_duplicates,
)
from fast_style.demo.turns import get_turns

_SHEET_SIZE = 320


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A photo in a style, with the settings applied."""

    image: SourceImage
    style: Style
    stylized: StylizedPhoto
    photo: Photo
    placement: Placement | None = None

    @property
    def full_size(self) -> tuple[int, int]:
        """Width and height of the whole photo."""
        return self.stylized.full_size

    @property
    def is_reduced(self) -> bool:
        """Whether the page shows a smaller picture than the photo."""
        return max(self.full_size) > max(self.photo.width, self.photo.height)

    @property
    def label(self) -> str:
        """Its name on the page."""
        return f"{self.image.name}, {self.style.title}"


def show_download(results: Sequence[Result], options: StyleOptions, format: str) -> None:
    """Show the button that downloads one result, or all as an archive.

    A single photo comes in its full size, also if the page shows a smaller picture: then it is
    stylized again on the click, with strokes of the same share of the picture.
    """
    # Files are encoded on the click: a PNG takes as long as the rest of the run. An archive is also
    # stylized anew (from the cache, if it is there), so that no pictures are held until then.
    names = [make_file_name(r.image.name, r.style.card.name, format) for r in results]
    if len(results) == 1:
        (result,) = results
        st.download_button(
            "Download",
            partial(_make_file, result, options, format),
            file_name=names[0],
            mime=f"image/{format.lower()}",
            type="primary",
            icon=":material/download:",
            on_click="ignore",
            key="download",
        )
        return
    pairs = [(result.image, result.style) for result in results]

    def make_archive() -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
            for name, (image, style) in zip(number_duplicates(names), pairs, strict=True):
                photo = stylize(image, style, options).painted.finish(options)
                file.writestr(name, encode_image(photo, format=format)[0])
        return buffer.getvalue()

    st.download_button(
        f"Download all {len(results)}",
        make_archive,
        file_name=make_archive_name(
            list(dict.fromkeys(image.name for image, _ in pairs)),
            list(dict.fromkeys(style.card.name for _, style in pairs)),
        ),
        mime="application/zip",
        type="primary",
        icon=":material/folder_zip:",
        on_click="ignore",
        key="download",
    )


def _make_file(result: Result, options: StyleOptions, format: str) -> bytes:
    """Return the file of a result, in the photo's full size."""
    photo = result.photo
    if result.is_reduced:
        full = scale_options(options, max(result.full_size) / max(photo.width, photo.height))
        stylized = stylize(result.image, result.style, full, result.placement, keep=False)
        photo = stylized.painted.finish(full)
    return encode_image(photo, format=format)[0]


def scale_options(options: StyleOptions, times: float) -> StyleOptions:
    """Return the options that make the same picture, only larger.

    Args:
        options: those of the smaller picture.
        times: how many times longer the sides are.
    """
    stroke_size = options.stroke_size
    if stroke_size != "auto":
        stroke_size = min(stroke_size * times, 16.0)
    feather = min(options.feather * times, 500.0)
    return replace(options, size=None, stroke_size=stroke_size, feather=feather)


def show_contact_sheet(image: SourceImage) -> None:
    """Show a button that puts all styles on a photo, and the sheet once it is made."""
    if st.button("All styles on this photo", key="all-styles", icon=":material/grid_view:"):
        bar = st.progress(0.0, text="All styles")

        def show_progress(name: str, number: int, total: int) -> None:
            text = escape_markdown(f"{name}, {number} of {total}")
            bar.progress((number - 1) / total, text=text)

        try:
            with get_turns().asked():
                photo = read_image(image.content, max_megapixels=MAX_MEGAPIXELS, name=image.name)
                sheet = contact_sheet(
                    [photo.pixels],
                    list(list_registered_styles()),
                    size=_SHEET_SIZE,
                    on_style=show_progress,
                )
            content, _ = encode_image(read_image(sheet), format="JPEG", quality=90)
            st.session_state.sheet = (image.digest, content)
        except FastStyleError as error:
            st.error(escape_markdown(str(error)), icon=":material/broken_image:")
        bar.empty()
    digest, content = st.session_state.get("sheet", (None, b""))
    if digest == image.digest:
        st.image(
            content, width="stretch", alt=f"All styles on {image.name}, beside their paintings"
        )
        st.download_button(
            "Download the sheet",
            content,
            file_name=make_file_name(image.name, "all-styles", "JPEG"),
            mime="image/jpeg",
            icon=":material/download:",
            on_click="ignore",
            key="download-sheet",
        )
