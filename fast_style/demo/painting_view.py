"""A picture as a style: predicted at once, made better by training, kept in the gallery."""

import importlib.util
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import PurePath

import streamlit as st

from fast_style import (
    FastStyleError,
    StyleModel,
    StyleOptions,
    encode_image,
    model_to_bytes,
    predict_style,
    read_image,
)
from fast_style.demo.cache import stylize
from fast_style.demo.job_queue import bind_to_session, describe_place, get_queue
from fast_style.demo.losses import show_losses
from fast_style.demo.session import (
    MAX_MEGAPIXELS,
    SourceImage,
    add_own_style,
    get_own_styles,
    get_painting,
    get_photos,
    make_own_style,
)
from fast_style.demo.styles import Style
from fast_style.demo.text import escape_markdown, format_duration, make_style_name
from fast_style.demo.training_job import QueuedTraining, TrainingRequest
from fast_style.demo.turns import get_turns
from fast_style.demo.widgets import encode_for_page, show_compare_slider

TIMES = (20, 60, 600)
"""Seconds of training that are offered."""

_SIZE = 1024
_POLL_SECONDS = 1.0
_PAINTING_SIDE = 1024  # more than the predictor uses
_THUMBNAIL_SIDE, _THUMBNAIL_BYTES = 128, 8 * 1024  # of a card
_MAX_VERSIONS = 4


@dataclass(frozen=True, slots=True)
class Version:
    """A style of one painting, and how it was made, in words."""

    style: Style
    label: str


def can_train() -> bool:
    """Return whether this process can train: torch and Lightning are extras."""
    return all(importlib.util.find_spec(name) for name in ("torch", "pytorch_lightning"))


def show_painting_style() -> None:
    """Show the photo in the style of the painting, and what can be done with the style."""
    training: QueuedTraining | None = st.session_state.get("training")
    if training is not None and not training.is_over:
        st.fragment(_show_progress, run_every=_POLL_SECONDS)(training)
        return
    painting, photo = get_painting(), get_photos()[0]
    try:
        with st.spinner("Looking at the painting"):
            versions = _get_versions(painting)
        if training is not None:
            _take_over(training, painting, versions)
        version = _choose_version(versions)
        result = stylize(photo, version.style, StyleOptions(size=_SIZE))
    except FastStyleError as error:
        st.error(escape_markdown(str(error)), icon=":material/broken_image:")
        return
    shown = result.painted.finish()
    show_compare_slider(
        encode_for_page(result.painted.content),
        encode_for_page(shown),
        size=(shown.width, shown.height),
        name=photo.name,
        style=version.style.painting,
        key="painting-compare",
    )
    st.caption(f"{version.label}. {shown.width} × {shown.height} pixels in {result.seconds:.2f} s")
    _show_keep(version)
    _show_training_form(painting, photo)
    if training is not None and training.request.painting.digest == painting.digest:
        show_losses(training.points, key="training-losses")


def _get_versions(painting: SourceImage) -> list[Version]:
    """Return the styles that there are of a painting; at first, the predicted one."""
    digest, versions = st.session_state.get("versions", ("", []))
    if digest != painting.digest:
        versions = [_predict(painting)]
        st.session_state.versions = (painting.digest, versions)
        st.session_state.version = 0
    found: list[Version] = versions
    return found


def _predict(painting: SourceImage) -> Version:
    with get_turns().asked():
        start = time.perf_counter()
        photo = read_image(
            painting.content,
            max_megapixels=MAX_MEGAPIXELS,
            name=painting.name,
            at_least=_PAINTING_SIDE,
        )
        small = photo.resize_long_side(_PAINTING_SIDE)
        content = encode_image(replace(small, exif=None), format="PNG")[0]
        model = predict_style(content, name=make_style_name(painting.name), cache=False)
        seconds = time.perf_counter() - start
    thumbnail = _make_thumbnail(painting)
    style = _make_style(model, painting, thumbnail)
    return Version(style, f"Predicted from the picture in {seconds:.1f} s")


def _make_style(model: StyleModel, painting: SourceImage, thumbnail: bytes | None) -> Style:
    name = make_style_name(painting.name)
    title = " ".join(PurePath(painting.name).stem.replace("_", " ").replace("-", " ").split())
    card = replace(model.card, name=name, title=title.capitalize() or name, thumbnail=thumbnail)
    named = StyleModel(card, model.weights)
    return make_own_style(named, model_to_bytes(card, model.weights))


def _make_thumbnail(painting: SourceImage) -> bytes | None:
    """Return a small picture of the painting for the card."""
    photo = read_image(painting.content, max_megapixels=MAX_MEGAPIXELS, at_least=_THUMBNAIL_SIDE)
    small = replace(photo, exif=None, icc_profile=None)
    small = small.resize_long_side(_THUMBNAIL_SIDE)
    for quality in (80, 60, 40):
        content = encode_image(small, format="WebP", quality=quality)[0]
        if len(content) <= _THUMBNAIL_BYTES:
            return content
    return None


def _take_over(training: QueuedTraining, painting: SourceImage, versions: list[Version]) -> None:
    """Add the style of a training that has ended to the versions of its painting."""
    if training.problem:
        st.error(escape_markdown(training.problem), icon=":material/error:")
        training.problem = ""
    model, training.model = training.model, None
    if model is None or training.request.painting.digest != painting.digest:
        return
    style = _make_style(model, painting, versions[0].style.card.thumbnail)
    seconds = format_duration(training.progress * training.request.seconds)
    versions.append(Version(style, f"Trained for {seconds}, {training.steps} steps"))
    del versions[1:-_MAX_VERSIONS]
    st.session_state.version = len(versions) - 1


def _choose_version(versions: list[Version]) -> Version:
    """Show a choice among the versions if there are several; return the chosen one."""
    number: int = st.session_state.get("version", 0)
    if len(versions) > 1:
        st.session_state["version-control"] = min(number, len(versions) - 1)
        chosen = st.segmented_control(
            "Version",
            range(len(versions)),
            format_func=lambda index: "At once" if index == 0 else versions[index].label,
            required=True,
            key="version-control",
            on_change=lambda: st.session_state.update(version=st.session_state["version-control"]),
        )
        number = chosen or 0
    return versions[min(number, len(versions) - 1)]


def _show_keep(version: Version) -> None:
    """Show the buttons that keep the style and download its file."""
    style = version.style
    is_kept = style.key in get_own_styles()
    with st.container(horizontal=True, vertical_alignment="center", key="keep-row"):
        st.button(
            "Kept" if is_kept else "Keep",
            type="primary",
            icon=":material/check:" if is_kept else ":material/bookmark_add:",
            key="keep",
            on_click=add_own_style,
            args=(style,),
            disabled=is_kept,
            help="Puts the style into your gallery, until you close the page.",
        )
        assert style.model is not None
        model = style.model
        st.download_button(
            "Download the model",
            lambda: model_to_bytes(model.card, model.weights),
            file_name=f"{style.card.name}.safetensors",
            mime="application/octet-stream",
            icon=":material/download:",
            on_click="ignore",
            key="download-model",
        )
    if is_kept:
        st.success("This style is in your gallery: see the tab Stylize.", icon=":material/check:")


def _show_training_form(painting: SourceImage, photo: SourceImage) -> None:
    if not can_train():
        st.caption('Where the extra train is installed, `pip install "fast-style[train]"`, a style '
                   "can be made better by training.")  # fmt: skip
        return
    with st.container(border=True, key="training-form"):
        seconds = st.segmented_control(
            "Make it better: train for",
            TIMES,
            format_func=format_duration,
            default=TIMES[0],
            required=True,
            key="training-seconds",
        )
        st.button(
            "Make it better",
            icon=":material/model_training:",
            key="train",
            on_click=_start,
            args=(TrainingRequest(painting, photo, int(seconds), make_style_name(painting.name)),),
        )
        st.caption(
            "A longer training is closer to the painting. The server trains one style at a time; "
            "the photos of all visitors go first."
        )


def _start(request: TrainingRequest) -> None:
    training = QueuedTraining(request)
    if not get_queue().submit(training):
        st.session_state.notice = "Too many visitors are waiting: try again in some minutes."
        return
    st.session_state.training = bind_to_session(secrets.token_hex(8), training)


def _show_progress(training: QueuedTraining) -> None:
    """Show a training that waits or runs; called again every second."""
    if training.is_over:
        st.rerun()  # which shows the result
    with st.container(horizontal=True, vertical_alignment="center", key="any-progress"):
        st.progress(training.progress, text=_describe_progress(training))
        st.button(
            "Stop",
            icon=":material/stop_circle:",
            key="training-stop",
            on_click=training.stop,
            disabled=training.is_stopping,
        )
    if training.preview:
        show_compare_slider(
            training.before,
            training.preview,
            size=training.size,
            name=training.request.photo.name,
            style=training.request.painting.name,
            key="training-compare",
        )
    show_losses(training.points, key="training-losses")


def _describe_progress(training: QueuedTraining) -> str:
    if training.is_stopping:
        return "Stopping after this step"
    if training.state == "waiting":
        return describe_place(training)
    if not training.points:
        return "Preparing: the training takes some seconds to start"
    return f"Step {training.steps}, about {format_duration(training.seconds_left)} left"
