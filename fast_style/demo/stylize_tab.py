"""The tab Stylize: photos, styles, settings and results."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from fast_style import FastStyleError, StyleOptions
from fast_style.demo.backend import service_url
from fast_style.demo.cache import stylize
from fast_style.demo.downloads import Result, show_contact_sheet, show_download
from fast_style.demo.gallery import Gallery, show_gallery
from fast_style.demo.history import show_history
from fast_style.demo.masks import Placement, show_mask_controls
from fast_style.demo.photos import show_photo_picker
from fast_style.demo.session import SourceImage, get_photos, get_styles, pop_notice
from fast_style.demo.settings import prepare_settings, write_link
from fast_style.demo.styles import Style, list_registered_styles
from fast_style.demo.stylize_settings import show_settings
from fast_style.demo.text import escape_markdown, make_file_name
from fast_style.demo.widgets import encode_for_page, show_compare_slider

MAX_SIZE_OF_SEVERAL = 1024
"""The largest working size for several pictures at once."""


def show_stylize_tab() -> Gallery:
    """Show the tab; return its gallery, which is filled when all else is on the page."""
    prepare_settings()
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
            choice = show_settings(styles)
            placement = None
            if len(photos) == len(choice.styles) == 1:
                placement = show_mask_controls(photos[0], choice.styles[0])
        options = choice.options
        if placement is not None:
            state = st.session_state
            options = replace(options, feather=float(state.feather), invert_mask=state.invert)
        history_area = st.container()
        with result_area:
            options = _limit_size(options, len(photos) * len(choice.styles))
            results = _compute_results(photos, choice.styles, options, placement)
            if results:
                _show_results(results, options, choice.format)
        if results:
            with history_area:
                show_history(photos, styles, results[0].photo)
        if len(list_registered_styles()) > 1 and service_url() is None:
            show_contact_sheet(photos[0])
    write_link()
    return gallery


def _limit_size(options: StyleOptions, pictures: int) -> StyleOptions:
    """Limit the working size if several pictures are made at once, and show that."""
    if pictures == 1 or options.size is None or options.size <= MAX_SIZE_OF_SEVERAL:
        return options
    st.caption(f"Several pictures at once are made at {MAX_SIZE_OF_SEVERAL} pixels.")
    return replace(options, size=MAX_SIZE_OF_SEVERAL)


def _compute_results(
    photos: Sequence[SourceImage],
    styles: Sequence[Style],
    options: StyleOptions,
    placement: Placement | None,
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
            stylized = stylize(image, style, options, placement)
            made = stylized.painted.finish(options)
            results.append(Result(image, style, stylized, made, placement))
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
        file_name=make_file_name(large.image.name, large.style.card.name, "JPEG"),
    )
    with st.container(horizontal=True, vertical_alignment="center", key="below"):
        text = f"{large.photo.width} × {large.photo.height} pixels"
        text += f" in {large.stylized.seconds:.2f} s, {large.stylized.engine}"
        if len(results) == 1 and large.is_reduced:
            text += "; the download has {} × {}".format(*large.full_size)
        st.caption(text)
        show_download(results, options, format)
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
