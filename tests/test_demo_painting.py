"""The demo's tab Any painting: a style from a picture at once, trained further, and kept."""

import base64
import os

import numpy as np
import pytest

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")
pytest.importorskip("pytorch_lightning", reason="training needs the extra train")

from streamlit.testing.v1 import AppTest  # noqa: E402

import fast_style  # noqa: E402
from fast_style.demo import job_queue, painting_view, training_job  # noqa: E402
from tests.demo_optimization import PAINTING, PHOTO, fresh_page, wait_until  # noqa: E402
from tests.demo_page import PAGE as PAGE_SCRIPT  # noqa: E402
from tests.demo_page import SHOWN_QUALITY, get_text, link, run, slider  # noqa: E402

__all__ = ["fresh_page"]


def open_with_pictures() -> AppTest:
    at = AppTest.from_file(PAGE_SCRIPT)
    at.session_state["tab"] = "Any painting"
    run(at)
    at.file_uploader(key="any-upload").set_value(("mine.png", PHOTO, "image/png"))
    at.file_uploader(key="painting-upload").set_value(("My dots.png", PAINTING, "image/png"))
    return run(at)


def shown(at: AppTest, key: str = "painting-compare") -> bytes:
    """Return the stylized picture of one of the sliders."""
    data = [one for one in sliders_by_key(at, key)]
    (found,) = data
    return base64.b64decode(found["after"].partition(",")[2])


def sliders_by_key(at: AppTest, key: str) -> list[dict]:
    import json

    return [
        json.loads(element.proto.json)
        for element in at.get("bidi_component")
        if key in element.proto.id
    ]


def picture_of(model: fast_style.StyleModel) -> bytes:
    photo = fast_style.read_image(PHOTO)
    stylized = fast_style.Stylizer(model).stylize_photo(photo, fast_style.StyleOptions(size=1024))
    return fast_style.encode_image(stylized, format="JPEG", quality=SHOWN_QUALITY)[0]


def collect_model(at: AppTest, monkeypatch) -> tuple[str, bytes]:
    """Return name and content of the model file that the tab offers."""
    files = {}
    button = st.download_button

    def record(label, data, **options):
        files[options["key"]] = (options["file_name"], data)
        return button(label, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(st, "download_button", record)
        run(at)
    name, make = files["download-model"]
    return name, make()


class TestPrediction:
    def test_the_style_is_the_one_of_the_library(self, monkeypatch):
        at = open_with_pictures()
        assert not at.error
        predicted = fast_style.predict_style(PAINTING, cache=False)
        name, content = collect_model(at, monkeypatch)
        assert name == "my-dots.safetensors"
        model = fast_style.model_from_bytes(content)
        assert model.card.title == "My dots"
        assert model.card.thumbnail
        for key, weights in predicted.weights.items():
            np.testing.assert_allclose(model.weights[key], weights, rtol=2e-3, atol=1e-4)
        assert shown(at) == picture_of(predicted)
        assert "Predicted from the picture" in get_text(at)

    def test_keep_puts_it_into_the_gallery(self):
        at = open_with_pictures()
        before = shown(at)
        run(at.button(key="keep").click())
        assert at.button(key="keep").disabled
        assert "in your gallery" in get_text(at)
        at.session_state["tab"] = "Stylize"
        run(at)
        (pick,) = [b for b in at.button if b.key.startswith("pick-own-")]
        assert pick.label.startswith("✓ **My dots**")
        assert link(at) == []
        assert base64.b64decode(slider(at)["after"].partition(",")[2]) == before
        at.session_state["tab"] = "Any painting"
        run(at)
        assert at.button(key="keep").disabled
        other = AppTest.from_file(PAGE_SCRIPT)
        run(other)
        assert not [b for b in other.button if b.key.startswith("pick-own-")]

    def test_a_broken_painting_is_one_sentence(self):
        at = open_with_pictures()
        broken = ("bad.jpg", b"\xff\xd8\xffnothing", "image/jpeg")
        run(at.file_uploader(key="painting-upload").set_value(broken))
        (error,) = at.error
        assert "bad.jpg" in error.value.replace("\\", "")

    def test_nothing_is_written_to_disk(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        at = open_with_pictures()
        run(at.button(key="keep").click())
        kept = list((tmp_path / "cache").rglob("*"))
        assert not [path for path in kept if "predicted" in str(path)]

    def test_own_styles_are_bounded(self, monkeypatch):
        monkeypatch.setattr("fast_style.demo.session.MAX_OWN_STYLES", 1)
        at = open_with_pictures()
        run(at.button(key="keep").click())
        run(at.button(key="painting-sample-great-wave").click())
        run(at.button(key="keep").click())
        assert "My dots was dropped" in get_text(at)
        assert len(at.session_state.own_styles) == 1


class TestTraining:
    @pytest.mark.slow
    def test_train_keep_and_download(self, monkeypatch):
        monkeypatch.setattr(painting_view, "TIMES", (2, 60))
        before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
        at = open_with_pictures()
        predicted = shown(at)
        run(at.button(key="train").click())
        training = at.session_state.training
        wait_until(lambda: training.is_over, 400)
        assert training.problem == ""
        assert training.state == "done"
        assert training.points
        assert training.preview
        run(at)
        assert "Trained for" in get_text(at)
        _, content = collect_model(at, monkeypatch)
        model = fast_style.model_from_bytes(content)
        assert model.card.training["steps_taken"] >= 1
        assert shown(at) == picture_of(model) != predicted
        assert training.model is None  # the page has taken it over
        run(at.button(key="keep").click())
        assert len(at.session_state.own_styles) == 1
        at.session_state["version-control"] = 0
        at.session_state["version"] = 0
        assert shown(run(at)) == predicted
        if before:  # what the process wrote is gone
            left = set(os.listdir("/dev/shm")) - before
            assert not [name for name in left if name.startswith("fast-style-")]

    @pytest.mark.slow
    def test_stop_keeps_what_is_learnt(self):
        at = open_with_pictures()
        at.session_state["training-seconds"] = 600
        run(at)
        run(at.button(key="train").click())
        training = at.session_state.training
        assert training.request.seconds == 600
        wait_until(lambda: training.points, 400)
        run(at)
        (bar,) = at.progress
        assert "Step " in bar.proto.text
        run(at.button(key="training-stop").click())
        wait_until(lambda: training.is_over, 60)
        assert training.state == "stopped"
        run(at)
        assert "Trained for" in get_text(at)

    @pytest.mark.slow
    def test_a_process_that_dies_is_one_sentence(self):
        at = open_with_pictures()
        run(at.button(key="train").click())
        training = at.session_state.training
        wait_until(lambda: training._process is not None, 400)
        training._process.kill()
        wait_until(lambda: training.is_over, 400)
        run(at)
        (error,) = at.error
        assert "ended without a model" in error.value

    def test_others_see_their_place(self, monkeypatch):
        monkeypatch.setattr(training_job.QueuedTraining, "_work", lambda self: wait_for_stop(self))
        first, second = open_with_pictures(), open_with_pictures()
        run(first.button(key="train").click())
        wait_until(lambda: first.session_state.training.state == "running")
        # Visitors of AppTest share one session of Streamlit, which would stop the first.
        monkeypatch.setattr(painting_view, "bind_to_session", lambda key, job: job)
        run(second.button(key="train").click())
        (bar,) = second.progress
        assert bar.proto.text == "1 other is before you in the queue; yours starts by itself"
        for at in (first, second):
            at.session_state.training.stop()
        wait_until(lambda: job_queue.get_queue().is_idle)


def wait_for_stop(job) -> None:
    wait_until(lambda: job.is_stopping)
