"""The tab Any painting: a photo optimised towards a painting while the visitor looks on."""

import importlib.util
import io
import secrets
import zipfile
from functools import partial
from pathlib import PurePath

import streamlit as st

from fast_style import FastStyleError, encode_image, read_image, resize_long_side
from fast_style.demo.about_tab import loss_chart
from fast_style.demo.backend import service
from fast_style.demo.cache import gate
from fast_style.demo.compare import compare, shown
from fast_style.demo.optimize_queue import LONGEST, Easel, Order, Run
from fast_style.demo.photos import KINDS, choose_photos, sample_cards
from fast_style.demo.session import (
    MEGABYTES,
    MEGAPIXELS,
    Shot,
    named_styles,
    notice,
    painting,
    paintings,
    photos,
    take_painting,
    take_sample_painting,
)
from fast_style.demo.text import SUFFIXES, duration, file_name, on_the_page, plain, steps_name

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
_PAINTINGS = {
    "composition-vii": ("Kandinsky", "Composition VII by Wassily Kandinsky"),
    "great-wave": ("Hokusai", "The Great Wave off Kanagawa by Katsushika Hokusai"),
    "starry-night": ("Van Gogh", "The Starry Night by Vincent van Gogh"),
    "the-scream": ("Munch", "The Scream by Edvard Munch"),
}
_LOOK = 480  # long side of what is shown before the start
_POLL = 1.0  # seconds between two looks at the easel


def is_possible() -> bool:
    """Tell whether this process can optimise: without torch the tab is absent."""
    return service() is None and importlib.util.find_spec("torch") is not None


def keep_settings() -> None:
    """Keep what is set while it is not on the page, for Streamlit forgets it then."""
    for key in _DEFAULTS:
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]
    st.session_state["any-hidden"] = True


def _bring_back_settings() -> None:
    # The browser shows what is set in the very run in which a control comes back, and else the
    # control's own default.
    if st.session_state.pop("any-hidden", True):
        for key, value in _DEFAULTS.items():
            st.session_state[key] = st.session_state.get(key, value)


def any_painting() -> None:
    """Show the tab."""
    left, right = st.columns([5, 7], gap="large")
    with left:
        choose_photos("any-", several=False)
        _choose_painting()
    with right:
        told = notice()
        if told:
            st.info(plain(told))
        run: Run | None = st.session_state.get("run")
        if run is not None and not run.is_over:
            keep_settings()
            st.fragment(_follow, run_every=_POLL)(run)
            return
        _bring_back_settings()
        if run is not None:
            _show_result(run)
        _prepare()


@st.cache_resource(show_spinner=False)
def easel() -> Easel:
    """The one easel of the process."""
    return Easel()


@st.cache_resource(
    scope="session", max_entries=1, show_spinner=False, on_release=lambda run: run.stop()
)
def _watched(key: str, _run: Run) -> Run:
    """Stop a run when its visitor leaves, or starts another one: Streamlit drops it then."""
    return _run


def _choose_painting() -> None:
    st.markdown("#### Painting")
    st.file_uploader(
        f"A painting, or any picture whose look you want: up to {MEGABYTES} MB",
        type=KINDS,
        max_upload_size=MEGABYTES,
        key="painting-upload",
        on_change=_painting_uploaded,
    )
    sample_cards("painting-", paintings(), _PAINTINGS, [painting()], take_sample_painting)


def _painting_uploaded() -> None:
    take_painting(st.session_state["painting-upload"])


def _prepare() -> None:
    """Show what goes in, what can be set, and the button that starts."""
    photo, model = photos()[0], painting()
    is_ready = _show_what_goes_in(photo, model)
    with st.container(border=True, key="any-settings"):
        order = _order(photo, model)
    st.button(
        "Start",
        type="primary",
        icon=":material/brush:",
        key="any-start-button",
        on_click=_start,
        args=(order,),
        disabled=not is_ready,
    )
    st.caption(
        "The pixels themselves move towards the painting's style: a minute or so instead of a "
        "second, for any painting. They are painted one after the other on this page."
    )


def _show_what_goes_in(photo: Shot, model: Shot) -> bool:
    """Show photo and painting; tell whether both can be used."""
    given = {f"The photo {photo.name}": photo, f"The painting {model.name}": model}
    pictures = {}
    for words, shot in given.items():
        try:
            pictures[words] = _look_at(shot)
        except FastStyleError as error:
            st.error(plain(str(error)), icon=":material/broken_image:")
    with st.container(horizontal=True, gap="small", key="looks"):
        for number, (words, content) in enumerate(pictures.items()):
            with st.container(key=f"look-{number}", gap=None):
                st.image(content, width="stretch", alt=words)
    return len(pictures) == len(given)


def _look_at(shot: Shot) -> bytes:
    """A small picture of an upload, as a JPEG file; the last few are kept for the session."""
    looks: dict[str, bytes] = st.session_state.setdefault("looks", {})
    if shot.digest not in looks:
        with gate():  # a picture of 50 megapixels takes memory too
            photo = read_image(
                shot.content, max_megapixels=MEGAPIXELS, name=shot.name, at_least=_LOOK
            )
        small = photo.with_pixels(resize_long_side(photo.pixels, _LOOK))
        for oldest in list(looks)[: max(0, len(looks) - 3)]:
            del looks[oldest]
        looks[shot.digest] = shown(small)
    return looks[shot.digest]


def _order(photo: Shot, model: Shot) -> Order:
    """Show what can be set, and give it."""
    known = named_styles()
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
            "up to 1.9 GB of memory where this page is served.",
        )
        iterations = st.select_slider(
            "Steps",
            ITERATIONS,
            key="any-iterations",
            help="At the first, coarse size; half as many follow at each finer one.",
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
            help="A style's picture is a quick start if the painting is like it.",
        )
        colours = st.toggle("Keep the photo's colours", key="any-colours")
    return Order(photo, model, size, iterations, float(weight), start, colours)


def _start(order: Order) -> None:
    run = Run(order)
    if not easel().take(run):
        st.session_state.notice = (
            "Too many are waiting for a painting of their own: try again in some minutes."
        )
        return
    st.session_state.run = _watched(secrets.token_hex(8), run)


def _follow(run: Run) -> None:
    """Show a run that waits or is painted; called again every second."""
    if run.is_over:
        st.rerun()  # with the result
    with st.container(horizontal=True, vertical_alignment="center", key="any-progress"):
        points = list(run.points)
        share = len(points) / run.iterations if run.iterations else 0.0
        st.progress(min(share, 1.0), text=_progress(run))
        st.button(
            "Stop",
            icon=":material/stop_circle:",
            key="any-stop",
            on_click=run.stop,
            disabled=run.is_stopping,
        )
    if run.photo is None:
        _show_what_goes_in(run.order.photo, run.order.painting)
    _show_picture(run)
    _show_losses(run)


def _progress(run: Run) -> str:
    if run.is_stopping:
        return "Stopping after this step"
    if run.state == "waiting":
        ahead = easel().ahead(run)
        if ahead > 1:
            return f"{ahead} other paintings come first; yours starts by itself"
        return "Another painting comes first; yours starts by itself" if ahead else "Starting"
    if not run.points:
        return "Getting ready"
    left = duration(run.seconds_left)
    return f"Step {run.points[-1].iteration} of {run.iterations}, about {left} left"


def _show_result(run: Run) -> None:
    if run.problem:
        st.error(plain(on_the_page(run.problem)), icon=":material/error:")
    if run.photo is None:
        if not run.problem:
            st.info("Stopped before the first step.")
        return
    _show_picture(run)
    photo, names = run.photo, (run.order.photo.name, PurePath(run.order.painting.name).stem)
    took = f"{len(run.points)} steps in {duration(run.seconds)}"
    if run.is_late:
        took += f", ended after {duration(LONGEST)} since others wait"
    elif run.state == "stopped":
        took += ", stopped early"
    st.caption(f"{photo.width} × {photo.height} pixels, {took}")
    with st.container(horizontal=True, vertical_alignment="bottom", key="any-downloads"):
        format = str(
            st.segmented_control("Download as", list(SUFFIXES), required=True, key="any-format")
        )
        st.download_button(
            "Download",
            lambda: encode_image(photo, format=format)[0],
            file_name=file_name(*names, format),
            mime=f"image/{format.lower()}",
            type="primary",
            icon=":material/download:",
            on_click="ignore",
            key="any-download",
        )
        st.download_button(
            f"All {len(run.frames)} on the way",
            partial(_archive, run),
            file_name=steps_name(*names),
            mime="application/zip",
            icon=":material/folder_zip:",
            on_click="ignore",
            key="any-download-steps",
        )
    _show_losses(run)
    with st.container(horizontal=True, gap="small", key="frames"):
        for iteration, content in run.frames.items():
            with st.container(key=f"frame-{iteration}", gap=None):
                st.image(
                    content,
                    caption=f"Step {iteration}",
                    width="stretch",
                    alt=f"{run.order.photo.name} after {iteration} steps",
                )


def _archive(run: Run) -> bytes:
    """All pictures on the way in a ZIP file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for iteration, content in run.frames.items():
            file.writestr(f"step-{iteration:04d}{SUFFIXES['JPEG']}", content)
    return buffer.getvalue()


def _show_picture(run: Run) -> None:
    """Show the best picture so far over the photo."""
    photo = run.photo
    if photo is not None:
        compare(
            run.before,
            run.preview,
            size=(photo.width, photo.height),
            name=run.order.photo.name,
            style=run.order.painting.name,
            key="any-compare",
        )


def _show_losses(run: Run) -> None:
    """Show how the losses fall."""
    rows: list[dict[str, float | str]] = [
        {"step": point.iteration, "loss": name, "value": value}
        for point in list(run.points)
        for name, value in point.losses.items()
        if value > 0  # the axis is logarithmic
    ]
    if len(run.points) > 1:
        chart = loss_chart(rows, height=220)
        st.altair_chart(chart, width="stretch", alt="The losses over the steps", key="any-losses")
