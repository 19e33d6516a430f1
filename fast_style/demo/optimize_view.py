"""The optimisation of one photo towards a painting, with live progress."""

import importlib.util
import io
import secrets
import zipfile
from functools import partial
from pathlib import PurePath

import streamlit as st

from fast_style import FastStyleError, Photo, encode_image, read_image
from fast_style.demo.job_queue import bind_to_session, describe_place, get_queue
from fast_style.demo.losses import show_losses
from fast_style.demo.optimize_job import MAX_SECONDS, OptimizationRequest, QueuedOptimization
from fast_style.demo.session import (
    MAX_MEGAPIXELS,
    SourceImage,
    get_painting,
    get_photos,
)
from fast_style.demo.styles import list_registered_styles
from fast_style.demo.text import (
    SUFFIXES,
    escape_markdown,
    format_duration,
    make_file_name,
    make_steps_name,
    strip_option_dashes,
)
from fast_style.demo.turns import get_turns
from fast_style.demo.widgets import encode_for_page, show_compare_slider

SIZES = (256, 384, 512, 640, 768)
ITERATIONS = (10, 20, 30, 60, 100, 150, 200)
STYLE_WEIGHTS = (5, 10, 20, 40, 80, 160)

_DEFAULTS = {
    "any-size": 384,
    "any-iterations": 60,
    "any-weight": 40,
    "any-start": "photo",
    "any-colours": False,
    "any-format": "JPEG",
}
_STARTS = {"photo": "The photo", "noise": "Noise"}
_INPUT_SIDE = 480  # long side of the two pictures that are shown before the start
_POLL_SECONDS = 1.0
_MAX_INPUTS = 4  # pictures of inputs kept per session


def can_optimize() -> bool:
    """Return whether this process can optimise: torch is an extra."""
    return importlib.util.find_spec("torch") is not None


def keep_settings() -> None:
    """Keep the settings while their widgets are hidden; Streamlit would drop them."""
    for key in _DEFAULTS:
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]
    st.session_state["any-hidden"] = True


def _restore_settings() -> None:
    # To be set in the very run in which the widgets reappear: otherwise the browser shows their
    # defaults.
    if st.session_state.pop("any-hidden", True):
        for key, value in _DEFAULTS.items():
            st.session_state[key] = st.session_state.get(key, value)


def show_optimization() -> None:
    """Show the optimisation of this visitor, or the form that starts one."""
    optimization: QueuedOptimization | None = st.session_state.get("optimization")
    if optimization is not None and not optimization.is_over:
        keep_settings()
        st.fragment(_show_progress, run_every=_POLL_SECONDS)(optimization)
        return
    _restore_settings()
    if optimization is not None:
        _show_result(optimization)
    _show_form()


def _show_form() -> None:
    """Show the inputs, the settings, and the button that starts."""
    photo, painting = get_photos()[0], get_painting()
    is_ready = _show_inputs(photo, painting)
    with st.container(border=True, key="any-settings"):
        request = _show_settings(photo, painting)
    st.button(
        "Start",
        type="primary",
        icon=":material/brush:",
        key="any-start-button",
        on_click=_start,
        args=(request,),
        disabled=not is_ready,
    )
    st.caption(
        "The pixels of the photo are optimised towards the style of the painting. This works for "
        "any painting and takes a minute or so, in place of a second. The server optimises one "
        "photo at a time."
    )


def _show_inputs(photo: SourceImage, painting: SourceImage) -> bool:
    """Show photo and painting; return whether both can be read."""
    inputs = {f"The photo {photo.name}": photo, f"The painting {painting.name}": painting}
    pictures = {}
    for alt, image in inputs.items():
        try:
            pictures[alt] = _make_thumbnail(image)
        except FastStyleError as error:
            st.error(escape_markdown(str(error)), icon=":material/broken_image:")
    with st.container(horizontal=True, gap="small", key="looks"):
        for number, (alt, content) in enumerate(pictures.items()):
            with st.container(key=f"look-{number}", gap=None):
                st.image(content, width="stretch", alt=alt)
    return len(pictures) == len(inputs)


def _make_thumbnail(image: SourceImage) -> bytes:
    """Return a small picture of an upload, as a JPEG file; the session keeps the last few."""
    thumbnails: dict[str, bytes] = st.session_state.setdefault("thumbnails", {})
    if image.digest not in thumbnails:
        with get_turns().asked():  # decoding 50 megapixels takes much memory too
            photo = read_image(
                image.content, max_megapixels=MAX_MEGAPIXELS, name=image.name, at_least=_INPUT_SIDE
            )
        small = photo.resize_long_side(_INPUT_SIDE)
        for oldest in list(thumbnails)[: max(0, len(thumbnails) - _MAX_INPUTS + 1)]:
            del thumbnails[oldest]
        thumbnails[image.digest] = encode_for_page(small)
    return thumbnails[image.digest]


def _show_settings(photo: SourceImage, painting: SourceImage) -> OptimizationRequest:
    """Show the settings; return the request that they make."""
    known = list_registered_styles()
    starts = {**_STARTS, **{key: style.title for key, style in known.items()}}
    if st.session_state["any-start"] not in starts:
        st.session_state["any-start"] = "photo"
    first, second = st.columns(2, gap="medium")
    with first:
        size = st.select_slider(
            "Working size",
            SIZES,
            format_func=lambda side: f"{side} px",
            key="any-size",
            help="The longest side of the picture. 512 pixels take four times as long as 256, and "
            "up to 1.9 GB of memory on the server.",
        )
        iterations = st.select_slider(
            "Steps",
            ITERATIONS,
            key="any-iterations",
            help="Steps at the first, coarse size; each finer size takes half as many.",
        )
    with second:
        weight = st.select_slider(
            "Style weight",
            STYLE_WEIGHTS,
            key="any-weight",
            help="More of the painting to the right, more of the photo to the left.",
        )
        start = st.selectbox(
            "Start from",
            list(starts),
            format_func=lambda key: starts[key],
            key="any-start",
            help="Starting from a style is quicker if the painting is similar to it.",
        )
        colours = st.toggle("Keep the photo's colours", key="any-colours")
    return OptimizationRequest(photo, painting, size, iterations, float(weight), start, colours)


def _start(request: OptimizationRequest) -> None:
    optimization = QueuedOptimization(request)
    if not get_queue().submit(optimization):
        st.session_state.notice = "Too many visitors are waiting: try again in some minutes."
        return
    st.session_state.optimization = bind_to_session(secrets.token_hex(8), optimization)


def _show_progress(optimization: QueuedOptimization) -> None:
    """Show an optimisation that waits or runs; called again every second."""
    if optimization.is_over:
        st.rerun()  # which shows the result
    with st.container(horizontal=True, vertical_alignment="center", key="any-progress"):
        done, total = len(optimization.points), optimization.iterations
        st.progress(min(done / total, 1.0) if total else 0.0, text=_describe_progress(optimization))
        st.button(
            "Stop",
            icon=":material/stop_circle:",
            key="any-stop",
            on_click=optimization.stop,
            disabled=optimization.is_stopping,
        )
    if optimization.photo is None:
        _show_inputs(optimization.request.photo, optimization.request.painting)
    _show_picture(optimization)
    show_losses(optimization.points, key="any-losses")


def _describe_progress(optimization: QueuedOptimization) -> str:
    if optimization.is_stopping:
        return "Stopping after this step"
    if optimization.state == "waiting":
        return describe_place(optimization)
    if not optimization.points:
        return "Preparing"
    step, left = optimization.points[-1].step, format_duration(optimization.seconds_left)
    return f"Step {step} of {optimization.iterations}, about {left} left"


def _show_result(optimization: QueuedOptimization) -> None:
    if optimization.problem:
        message = escape_markdown(strip_option_dashes(optimization.problem))
        st.error(message, icon=":material/error:")
    photo = optimization.photo
    if photo is None:
        if not optimization.problem:
            st.info("Stopped before the first step.")
        return
    _show_picture(optimization)
    took = f"{len(optimization.points)} steps in {format_duration(optimization.seconds)}"
    if optimization.is_late:
        took += f", ended after {format_duration(MAX_SECONDS)} because others are waiting"
    elif optimization.state == "stopped":
        took += ", stopped early"
    st.caption(f"{photo.width} × {photo.height} pixels, {took}")
    _show_downloads(optimization, photo)
    show_losses(optimization.points, key="any-losses")
    with st.container(horizontal=True, gap="small", key="frames"):
        for iteration, content in optimization.frames.items():
            with st.container(key=f"frame-{iteration}", gap=None):
                st.image(
                    content,
                    caption=f"Step {iteration}",
                    width="stretch",
                    alt=f"{optimization.request.photo.name} after {iteration} steps",
                )


def _show_downloads(optimization: QueuedOptimization, photo: Photo) -> None:
    request = optimization.request
    names = (request.photo.name, PurePath(request.painting.name).stem)
    with st.container(horizontal=True, vertical_alignment="bottom", key="any-downloads"):
        format = str(
            st.segmented_control("Download as", list(SUFFIXES), required=True, key="any-format")
        )
        st.download_button(
            "Download",
            lambda: encode_image(photo, format=format)[0],
            file_name=make_file_name(*names, format),
            mime=f"image/{format.lower()}",
            type="primary",
            icon=":material/download:",
            on_click="ignore",
            key="any-download",
        )
        st.download_button(
            f"All {len(optimization.frames)} intermediate pictures",
            partial(_make_archive, optimization),
            file_name=make_steps_name(*names),
            mime="application/zip",
            icon=":material/folder_zip:",
            on_click="ignore",
            key="any-download-steps",
        )


def _make_archive(optimization: QueuedOptimization) -> bytes:
    """Return a ZIP file of all intermediate pictures."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for iteration, content in optimization.frames.items():
            file.writestr(f"step-{iteration:04d}{SUFFIXES['JPEG']}", content)
    return buffer.getvalue()


def _show_picture(optimization: QueuedOptimization) -> None:
    """Show the best picture so far over the photo, if there is one."""
    photo = optimization.photo
    if photo is not None:
        show_compare_slider(
            optimization.before,
            optimization.preview,
            size=(photo.width, photo.height),
            name=optimization.request.photo.name,
            style=optimization.request.painting.name,
            key="any-compare",
        )
