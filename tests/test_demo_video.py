"""The demo's tab Video: a clip from upload to download, and snapshots of a live camera."""

import base64
from pathlib import Path

import pytest

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")
av = pytest.importorskip("av", reason="videos need the extra video")

from streamlit.testing.v1 import AppTest  # noqa: E402

import fast_style  # noqa: E402
from fast_style.demo import job_queue, live_camera, styles, video_tab  # noqa: E402
from tests.conftest import STYLE  # noqa: E402
from tests.demo_optimization import wait_until  # noqa: E402
from tests.demo_page import (  # noqa: E402
    OTHER,
    PAGE,
    SHOWN_QUALITY,
    get_text,
    photo_bytes,
    run,
    two_styles,
)


@pytest.fixture
def folder(workplace, model_file, monkeypatch):
    monkeypatch.setattr(job_queue, "NICENESS", 0)
    return two_styles(workplace, model_file, monkeypatch)


def make_clip(path: Path, frames: int = 5) -> Path:
    """Write a clip of 64x48 pixels with a moving square."""
    import numpy as np

    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            pixels = np.full((48, 64, 3), 60, np.uint8)
            pixels[10:30, 4 + 6 * number : 24 + 6 * number] = (220, 120, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


def open_tab() -> AppTest:
    at = AppTest.from_file(PAGE)
    at.session_state["tab"] = "Video"
    at.query_params["style"] = [STYLE]
    return run(at)


def upload(at: AppTest, path: Path) -> AppTest:
    content = path.read_bytes()
    return run(at.file_uploader(key="clip-upload").set_value((path.name, content, "video/mp4")))


class TestClip:
    @pytest.mark.slow
    def test_from_upload_to_download(self, folder, tmp_path):
        clip = make_clip(tmp_path / "My clip.mp4")
        at = upload(open_tab(), clip)
        run(at.selectbox(key="video-style").select(OTHER))
        run(at.button(key="clip-start").click())
        video = at.session_state.video
        assert video.request.style.key == OTHER
        wait_until(lambda: video.is_over, 400)
        assert video.problem == ""
        run(at)
        assert "64 \u00d7 48 pixels, 5 frames" in get_text(at)
        fast_style.stylize_video(
            clip, tmp_path / "wanted.mp4", OTHER, options=fast_style.StyleOptions(size=480), end=10
        )
        assert decode(video.after) == decode((tmp_path / "wanted.mp4").read_bytes())
        assert len(decode(video.before)) == 5
        assert len(at.get("video")) == 2

    @pytest.mark.slow
    def test_a_broken_clip_is_one_sentence(self, folder, tmp_path):
        path = tmp_path / "bad.mp4"
        path.write_bytes(b"nothing at all")
        at = upload(open_tab(), path)
        run(at.button(key="clip-start").click())
        video = at.session_state.video
        wait_until(lambda: video.is_over, 400)
        run(at)
        (error,) = at.error
        assert "clip.mp4" in error.value.replace("\\", "")

    def test_it_can_be_stopped_while_it_waits(self, folder, tmp_path, monkeypatch):
        monkeypatch.setattr(video_tab.QueuedVideo, "_work", lambda self: None)
        other = video_tab.QueuedVideo(None)
        monkeypatch.setattr(other, "_work", lambda: wait_until(lambda: other.is_stopping))
        job_queue.get_queue().submit(other)
        at = upload(open_tab(), make_clip(tmp_path / "a.mp4"))
        run(at.button(key="clip-start").click())
        (bar,) = at.progress
        assert bar.proto.text == "1 other is before you in the queue; yours starts by itself"
        run(at.button(key="clip-stop").click())
        assert "Stopped: there is no video" in get_text(at)
        other.stop()
        wait_until(lambda: job_queue.get_queue().is_idle)

    def test_without_the_extra_it_is_named(self, folder, monkeypatch):
        monkeypatch.setattr(video_tab, "can_make_videos", lambda: False)
        assert "fast-style[video]" in get_text(open_tab())


class TestLiveCamera:
    def test_snapshots_are_those_of_the_library(self, folder):
        style = styles.list_registered_styles()[STYLE]
        content = photo_bytes(3, (96, 64), "JPEG")
        made = fast_style.Stylizer(STYLE).stylize_photo(
            fast_style.read_image(content), fast_style.StyleOptions(size=live_camera.SIDE)
        )
        wanted, _ = fast_style.encode_image(made, format="JPEG", quality=SHOWN_QUALITY)
        assert live_camera.stylize_snapshot(content, style) == wanted

    def test_what_the_page_sends_is_checked(self, monkeypatch):
        for text in ("", "x", live_camera._JPEG + "!!", 7):
            state = {"live": {"frame": text}}
            monkeypatch.setattr(live_camera.st, "session_state", state)
            live_camera._handle_frame()
            assert "live_frame" not in state
        state = {"live": {"frame": live_camera._JPEG + base64.b64encode(b"abc").decode()}}
        monkeypatch.setattr(live_camera.st, "session_state", state)
        live_camera._handle_frame()
        assert state["live_frame"] == b"abc"

    def test_the_tab_shows_the_camera(self, folder):
        at = open_tab()
        at.session_state["video-way"] = "Live camera"
        run(at)
        assert "kept nowhere" in get_text(at)


def decode(content: bytes) -> list[bytes]:
    import io

    with av.open(io.BytesIO(content)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
