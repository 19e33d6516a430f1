"""The tab Video: a short clip in a style, and a live camera."""

import importlib.util
import secrets
from pathlib import PurePath

import streamlit as st

from fast_style.demo.backend import service_url
from fast_style.demo.job_queue import bind_to_session, describe_place, get_queue
from fast_style.demo.live_camera import show_live_camera
from fast_style.demo.session import SourceImage, get_styles, list_all_styles, make_own_image
from fast_style.demo.styles import Style
from fast_style.demo.text import (
    escape_markdown,
    format_duration,
    make_style_name,
    strip_option_dashes,
)
from fast_style.demo.video_job import MAX_SECONDS, QueuedVideo, VideoRequest
from fast_style.demo.widgets import show_video_slider

MAX_CLIP_MB = 60
"""Limit on a clip's file, in megabytes."""

SIZES = (320, 480, 640)

_SUFFIXES = ["mp4", "mov", "m4v", "webm", "mkv", "gif"]
_CLIP, _LIVE = "A clip", "Live camera"
_POLL_SECONDS = 1.0


def has_video_tab() -> bool:
    """Return whether this process can do it; a service stylizes photos alone."""
    return service_url() is None


def can_make_videos() -> bool:
    """Return whether videos can be read and written: that is an extra."""
    return all(importlib.util.find_spec(name) for name in ("av", "cv2"))


def show_video_tab() -> None:
    """Show the tab."""
    left, right = st.columns([5, 7], gap="large")
    with left:
        way = st.segmented_control(
            "What to stylize",
            [_CLIP, _LIVE],
            default=_CLIP,
            required=True,
            key="video-way",
            label_visibility="collapsed",
        )
        if way == _CLIP:
            _show_clip_picker()
        style = _choose_style()
    with right:
        if style is None:
            st.warning("No styles were found.")
        elif way == _LIVE:
            show_live_camera(style)
        elif not can_make_videos():
            st.info('Clips need the extra video: `pip install "fast-style[video]"`.')
        else:
            _show_clip(style)


def _choose_style() -> Style | None:
    known = list_all_styles()
    if not known:
        return None
    keys = list(known)
    chosen = get_styles()[0].key
    key = st.selectbox(
        "Style",
        keys,
        index=keys.index(chosen) if chosen in keys else 0,
        format_func=lambda key: known[key].title,
        key="video-style",
    )
    return known[key]


def _show_clip_picker() -> None:
    st.file_uploader(
        f"A clip: its first {MAX_SECONDS:.0f} seconds are stylized, up to {MAX_CLIP_MB} MB",
        type=_SUFFIXES,
        max_upload_size=MAX_CLIP_MB,
        key="clip-upload",
        on_change=_handle_upload,
    )
    st.select_slider(
        "Size of the video",
        SIZES,
        value=480,
        format_func=lambda side: f"{side} px",
        key="clip-size",
        help="The longest side. 640 pixels take nearly twice as long as 480.",
    )


def _handle_upload() -> None:
    upload = st.session_state["clip-upload"]
    if upload is None:
        st.session_state.pop("clip", None)
    else:
        st.session_state.clip = make_own_image(PurePath(upload.name).name, upload.getvalue())


def _show_clip(style: Style) -> None:
    """Show the clip that runs, or the last result and the button that starts."""
    video: QueuedVideo | None = st.session_state.get("video")
    if video is not None and not video.is_over:
        st.fragment(_show_progress, run_every=_POLL_SECONDS)(video)
        return
    clip: SourceImage | None = st.session_state.get("clip")
    if video is not None:
        _show_result(video)
    if clip is None:
        st.info("Upload a clip: MP4, MOV, WebM, MKV or GIF.")
        return
    st.button(
        "Stylize the clip",
        type="primary",
        icon=":material/movie:",
        key="clip-start",
        on_click=_start,
        args=(VideoRequest(clip, style, int(st.session_state["clip-size"])),),
    )
    st.caption("The server stylizes one clip at a time; the photos of all visitors go first.")


def _start(request: VideoRequest) -> None:
    video = QueuedVideo(request)
    if not get_queue().submit(video):
        st.session_state.notice = "Too many visitors are waiting: try again in some minutes."
        return
    st.session_state.video = bind_to_session(secrets.token_hex(8), video)


def _show_progress(video: QueuedVideo) -> None:
    """Show a clip that waits or runs; called again every second."""
    if video.is_over:
        st.rerun()  # which shows the result
    with st.container(horizontal=True, vertical_alignment="center", key="any-progress"):
        st.progress(video.progress, text=_describe_progress(video))
        st.button(
            "Stop",
            icon=":material/stop_circle:",
            key="clip-stop",
            on_click=video.stop,
            disabled=video.is_stopping,
        )
    if video.preview:
        title = video.request.style.title
        st.image(video.preview, width="stretch", alt=f"A frame in the style of {title}")


def _describe_progress(video: QueuedVideo) -> str:
    if video.is_stopping:
        return "Stopping"
    if video.state == "waiting":
        return describe_place(video)
    if not video.done:
        return "Preparing"
    frames = f"Frame {video.done}" + (f" of {video.total}" if video.total else "")
    left = f", about {format_duration(video.seconds_left)} left" if video.total else ""
    return frames + left


def _show_result(video: QueuedVideo) -> None:
    if video.problem:
        message = escape_markdown(strip_option_dashes(video.problem))
        st.error(message, icon=":material/error:")
    if not video.after:
        if not video.problem:
            st.info("Stopped: there is no video.")
        return
    clip, style = video.request.clip, video.request.style
    show_video_slider(video.before, video.after, size=video.size, name=clip.name, style=style.title)
    took = format_duration(video.seconds)
    st.caption(f"{video.size[0]} × {video.size[1]} pixels, {video.done} frames in {took}")
    for note in video.notes:
        st.caption(escape_markdown(note))
    st.download_button(
        "Download the video",
        video.after,
        file_name=f"{make_style_name(clip.name)}-{style.card.name or 'stylized'}.mp4",
        mime="video/mp4",
        icon=":material/download:",
        on_click="ignore",
        key="clip-download",
    )
