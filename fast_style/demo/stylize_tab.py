"""The tab Stylize: photos, styles, settings and results."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import streamlit as st

from fast_style import (
    FastStyleError,
    Photo,
    StyleOptions,
    contact_sheet,
    encode_image,
    read_image,
)
from fast_style.demo.backend import service_url
from fast_style.demo.cache import StylizedPhoto, stylize
from fast_style.demo.gallery import Gallery, show_gallery
from fast_style.demo.photos import show_photo_picker
from fast_style.demo.session import (
    MAX_MEGAPIXELS,
    SourceImage,
    get_photos,
    get_styles,
    handle_network_choice,
    list_network_sizes,
    pop_notice,
)
from fast_style.demo.styles import Style, group_styles, list_registered_styles, mix_styles
from fast_style.demo.text import (
    SUFFIXES,
    escape_markdown,
    make_archive_name,
    make_file_name,
    number_duplicates,
)
from fast_style.demo.turns import get_turns
from fast_style.demo.widgets import encode_for_page, show_compare_slider

SIZES = (384, 512, 768, 1024, 1536, 2048)
STROKE_SIZES: tuple[Literal["auto"] | float, ...] = ("auto", 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
MAX_SIZE_OF_SEVERAL = 1024
"""The largest working size for several pictures at once."""

_SHEET_SIZE = 320


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A photo in a style, with the settings applied."""

    image: SourceImage
    style: Style
    stylized: StylizedPhoto
    photo: Photo

    @property
    def label(self) -> str:
        """Its name on the page."""
        return f"{self.image.name}, {self.style.title}"


def show_stylize_tab() -> Gallery:
    """Show the tab; return its gallery, which is filled when all else is on the page."""
    left, right = st.columns([5, 7], gap="large")
    with left:
        show_photo_picker()
        photos, styles = get_photos(), get_styles()
        gallery = show_gallery(photos[0], styles)
    with right:
        result_area = st.container(key="result")
        notice = pop_notice()
        if notice:
            st.info(escape_markdown(notice))
        if not styles:
            result_area.warning(
                "No styles were found: `fast-style styles` lists where to put them."
            )
            return gallery
        with st.container(border=True, key="settings"):
            options, format, styles = _show_settings(styles)
        with result_area:
            options = _limit_size(options, len(photos) * len(styles))
            results = _compute_results(photos, styles, options)
            if results:
                _show_results(results, options, format)
        if len(list_registered_styles()) > 1 and service_url() is None:
            _show_contact_sheet(photos[0])
    return gallery


def _show_settings(styles: list[Style]) -> tuple[StyleOptions, str, list[Style]]:
    """Show the settings; return options, download format, and the styles, blended if set."""
    first, second = st.columns(2, gap="medium")
    with first:
        strength = st.slider("Strength", 0, 100, 100, 5, format="%d %%", key="strength")
        size = st.select_slider(
            "Working size",
            SIZES,
            1024,
            format_func=lambda side: f"{side} px",
            key="size",
            help="The longest side of the picture. Larger takes longer.",
        )
    with second:
        stroke_size = st.select_slider(
            "Stroke size",
            STROKE_SIZES,
            "auto",
            format_func=lambda times: "Auto" if times == "auto" else f"{times:g}×",
            key="stroke",
            help="The size of the strokes: fitted to the picture, or relative to what the style "
            "was trained with.",
        )
        preserve_color = st.toggle("Keep the photo's colours", key="colours")
        format = st.segmented_control(
            "Download as", list(SUFFIXES), default="JPEG", required=True, key="format"
        )
    _show_network_sizes(styles)
    styles = _show_blend(styles)
    options = StyleOptions(
        size=size,
        stroke_size=stroke_size,
        strength=strength / 100,
        preserve_color=preserve_color,
    )
    return options, str(format), styles


def _show_network_sizes(styles: Sequence[Style]) -> None:
    """Let the visitor choose among the sizes of the chosen paintings, if they have several."""
    sizes = list_network_sizes()
    if not sizes:
        return
    st.session_state.network = next((s.size for s in styles if s.size in sizes), sizes[0])
    st.segmented_control(
        "Network",
        sizes,
        format_func=str.capitalize,
        required=True,
        key="network",
        on_change=handle_network_choice,
        help="The size of the style's network: tiny is the quickest, full the most detailed.",
    )


def _show_blend(styles: list[Style]) -> list[Style]:
    """Let the visitor blend one style with another; return the blend, or the styles as they are."""
    known = list_registered_styles()
    if len(styles) != 1 or styles[0].key not in known:
        return styles
    groups = [group for group in group_styles(known.values()) if styles[0].key not in group]
    others = {group.first.key: group for group in groups}
    if not others:
        return styles
    if st.session_state.get("blend") not in others:
        st.session_state.pop("blend", None)
    first, second = st.columns(2, gap="medium")  # so that they stay together where it is narrow
    with first:
        other = st.selectbox(
            "Blend with",
            ["", *others],
            format_func=lambda key: others[key].title if key else "Nothing",
            key="blend",
        )
    with second:
        share = st.slider(
            "Share of the other style",
            0,
            100,
            50,
            10,
            format="%d %%",
            key="share",
            disabled=not other,
        )
    if not other:
        return styles
    # Networks of one size can be mixed into one network.
    mate = others[other].sizes.get(styles[0].size, others[other].first)
    return [mix_styles(styles[0], mate, share)]


def _limit_size(options: StyleOptions, pictures: int) -> StyleOptions:
    """Limit the working size if several pictures are made at once, and show that."""
    if pictures == 1 or options.size is None or options.size <= MAX_SIZE_OF_SEVERAL:
        return options
    st.caption(f"Several pictures at once are made at {MAX_SIZE_OF_SEVERAL} pixels.")
    return replace(options, size=MAX_SIZE_OF_SEVERAL)


def _compute_results(
    photos: Sequence[SourceImage], styles: Sequence[Style], options: StyleOptions
) -> list[Result]:
    """Put every style on every photo; show an error for each that fails, and continue."""
    pairs = [(image, style) for image in photos for style in styles]
    progress = st.empty()
    results, problems = [], []
    for number, (image, style) in enumerate(pairs):
        text = f"Stylizing {image.name}"
        if len(pairs) > 1:
            text += f", {number + 1} of {len(pairs)}"
        progress.progress(number / len(pairs), text=escape_markdown(text))
        try:
            stylized = stylize(image, style, options)
            results.append(Result(image, style, stylized, stylized.painted.finish(options)))
        except FastStyleError as error:
            problems.append(str(error))
    progress.empty()
    for problem in dict.fromkeys(problems):
        st.error(escape_markdown(problem), icon=":material/broken_image:")
    return results


def _show_results(results: Sequence[Result], options: StyleOptions, format: str) -> None:
    large = results[0]
    if len(results) > 1:
        number = st.selectbox(
            "In the large view",
            range(len(results)),
            format_func=lambda number: results[number].label,
            key="large",
        )
        large = results[number]
    show_compare_slider(
        encode_for_page(large.stylized.painted.content),
        encode_for_page(large.photo),
        size=(large.photo.width, large.photo.height),
        name=large.image.name,
        style=large.style.title,
    )
    with st.container(horizontal=True, vertical_alignment="center", key="below"):
        st.caption(
            f"{large.photo.width} × {large.photo.height} pixels in {large.stylized.seconds:.2f} s, "
            f"{large.stylized.engine}"
        )
        _show_download(results, options, format)
    if len(results) > 1:
        with st.container(horizontal=True, gap="small", key="results"):
            for number, result in enumerate(results):
                with st.container(key=f"result-{number}", gap=None):
                    st.image(
                        encode_for_page(result.photo),
                        caption=escape_markdown(result.style.title),
                        width="stretch",
                        alt=f"{result.image.name} in the style of {result.style.title}",
                    )


def _show_download(results: Sequence[Result], options: StyleOptions, format: str) -> None:
    # Files are encoded on the click: a PNG takes as long as the rest of the run. An archive is also
    # stylized anew (from the cache, if it is there), so that no pictures are held until then.
    names = [make_file_name(r.image.name, r.style.card.name, format) for r in results]
    if len(results) == 1:
        (result,) = results
        photo = result.photo
        st.download_button(
            "Download",
            lambda: encode_image(photo, format=format)[0],
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


def _show_contact_sheet(image: SourceImage) -> None:
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
