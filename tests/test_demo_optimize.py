"""The demo's tab Any painting: controls, pictures, stopping, and memory."""

import gc
import importlib.util
import io
import itertools
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")
torch = pytest.importorskip("torch", reason="optimising needs the extra torch")

from streamlit.runtime.caching import clear_session_resource_cache  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402

import fast_style  # noqa: E402
from fast_style.demo import job_queue, optimize_job, painting_tab, session, text  # noqa: E402
from fast_style.optimization import memory  # noqa: E402
from fast_style.optimization.optimizer_loop import Optimization  # noqa: E402
from tests.commands import environment  # noqa: E402
from tests.conftest import STYLE  # noqa: E402
from tests.demo_optimization import (  # noqa: E402
    OPTIMIZE_STEPS,
    PAINTING,
    PHOTO,
    SETTINGS,
    collect_downloads,
    controlled,
    fresh_page,
    open_tab,
    open_with_pictures,
    optimize_with_library,
    progress_text,
    start,
    wait_for_end,
    wait_until,
)
from tests.demo_page import PAGE, get_text, photo_bytes, run  # noqa: E402

__all__ = ["controlled", "fresh_page"]


class TestTab:
    def test_results_are_those_of_the_library(self, monkeypatch):
        at = open_with_pictures()
        start(at)
        wait_for_end(at)
        assert not at.error
        at.session_state["any-format"] = "PNG"
        run(at)
        files = collect_downloads(at, monkeypatch)
        assert list(files) == ["mine-theirs.png", "mine-theirs-steps.zip"]
        steps = list(fast_style.optimize_steps(PHOTO, PAINTING, **SETTINGS))
        with Image.open(io.BytesIO(files["mine-theirs.png"])) as image:
            np.testing.assert_array_equal(image, steps[-1].picture())
        with zipfile.ZipFile(io.BytesIO(files["mine-theirs-steps.zip"])) as archive:
            names = archive.namelist()
            assert names == [f"step-{step.iteration:04d}.jpg" for step in steps]
            with Image.open(archive.open(names[-1])) as image:
                assert image.size == (64, 48)
        assert [p.losses["total"] for p in at.session_state.optimization.points] == [
            step.losses.total for step in steps
        ]
        assert f"64 \u00d7 48 pixels, {len(steps)} steps in" in get_text(at)
        assert at.get("vega_lite_chart") or at.get("arrow_vega_lite_chart")

    def test_every_picture_and_control_has_a_label(self):
        at = open_with_pictures()
        start(at)
        wait_for_end(at)
        alts = [image.proto.imgs[0].alt for image in at.get("imgs") or at.get("image")]
        assert all(alts)
        assert "mine.png after 10 steps" in alts
        for kind in ("button", "select_slider", "toggle", "selectbox", "file_uploader"):
            assert all(element.label for element in at.get(kind))

    @pytest.mark.parametrize(
        ("control", "key", "value", "options"),
        [
            ("select_slider", "any-weight", 160, {"style_weight": 160.0}),
            ("select_slider", "any-iterations", 20, {"iterations": 20}),
            ("selectbox", "any-start", "noise", {"init": "noise"}),
            ("selectbox", "any-start", STYLE, {"init": STYLE}),
            ("toggle", "any-colours", True, {"preserve_color": True}),
        ],
        ids=["weight", "steps", "noise", "style", "colours"],
    )
    def test_each_setting_reaches_the_library(self, control, key, value, options):
        at = open_with_pictures()
        run(getattr(at, control)(key=key).set_value(value))
        start(at)
        optimization = wait_for_end(at)
        assert optimization.photo is not None
        np.testing.assert_array_equal(optimization.photo.pixels, optimize_with_library(**options))

    def test_working_size_is_used(self):
        at = open_with_pictures()
        large = photo_bytes(3, (400, 40))
        run(at.file_uploader(key="any-upload").set_value(("long.png", large, "image/png")))
        run(at.select_slider(key="any-size").set_value(384))
        start(at)
        at.session_state.optimization.stop()
        optimization = at.session_state.optimization
        wait_until(lambda: optimization.is_over)
        assert optimization.request.size == 384
        assert optimization.problem == ""
        assert optimization.photo is None or optimization.photo.width == 384

    def test_samples_can_be_chosen(self):
        at = open_tab()
        run(at.button(key="painting-sample-great-wave").click())
        run(at.button(key="any-sample-coffee").click())
        assert at.button(key="painting-sample-great-wave").label.startswith("✓")
        assert at.button(key="any-sample-coffee").label.startswith("✓")
        assert at.button(key="sample-coffee").label.startswith("✓")  # the tabs share the photo
        assert set(painting_tab._PAINTINGS) == set(session.load_sample_paintings())

    def test_a_removed_upload_is_replaced_by_the_sample(self):
        at = open_with_pictures()
        run(at.file_uploader(key="painting-upload").set_value(None))
        assert any(
            at.button(key=f"painting-sample-{name}").label.startswith("✓")
            for name in session.load_sample_paintings()
        )

    @pytest.mark.parametrize("which", ["any-upload", "painting-upload"])
    def test_a_broken_upload_shows_an_error_and_disables_start(self, which):
        at = open_with_pictures()
        broken = ("bad.jpg", b"\xff\xd8\xffnothing", "image/jpeg")
        run(at.file_uploader(key=which).set_value(broken))
        assert any("bad.jpg" in error.value.replace("\\", "") for error in at.error)
        assert at.button(key="any-start-button").disabled

    def test_sizes_too_large_for_the_memory_are_refused(self, monkeypatch):
        monkeypatch.setattr(memory, "available_memory", lambda: 1 << 20)
        at = open_with_pictures()
        start(at)
        wait_for_end(at)
        (error,) = at.error
        assert "GB are free" in error.value.replace("\\", "")
        assert "--" not in error.value.replace("\\", "")

    def test_an_unexpected_failure_shows_one_sentence(self, monkeypatch, caplog):
        monkeypatch.setattr(fast_style, "optimize_steps", lambda *_, **__: 1 / 0)
        at = open_with_pictures()
        start(at)
        wait_for_end(at)
        (error,) = at.error
        assert "server's log" in error.value
        assert "ZeroDivisionError" in caplog.text
        assert wait_until_idle()

    def test_settings_survive_a_change_of_tab(self):
        at = open_with_pictures()
        run(at.select_slider(key="any-weight").set_value(80))
        at.session_state["tab"] = "Stylize"
        run(at)
        at.session_state["tab"] = "Any painting"
        run(at)
        assert at.select_slider(key="any-weight").value == 80
        assert at.select_slider(key="any-iterations").value == 10
        assert not at.warning

    def test_settings_survive_an_optimisation(self):
        at = open_with_pictures()
        run(at.toggle(key="any-colours").set_value(True))
        run(at.select_slider(key="any-weight").set_value(80))
        start(at)
        wait_for_end(at)
        assert at.select_slider(key="any-weight").value == 80
        assert at.toggle(key="any-colours").value is True
        assert at.select_slider(key="any-iterations").value == 10
        assert not at.warning


def wait_until_idle() -> bool:
    wait_until(lambda: job_queue.get_queue().is_idle)
    return True


class TestStopping:
    def test_stop_keeps_the_best_picture(self, controlled):
        at = open_with_pictures()
        optimization = start(at)
        controlled.go.release(3)
        wait_until(lambda: len(optimization.points) == 3)
        run(at)
        assert "Step 3 of 10" in progress_text(at)
        run(at.button(key="any-stop").click())
        controlled.go.release()
        wait_for_end(at)
        assert optimization.state == "stopped"
        assert len(optimization.points) == 4
        assert controlled.closed == 1
        assert "4 steps in" in get_text(at)
        assert "stopped early" in get_text(at)
        steps = OPTIMIZE_STEPS(PHOTO, PAINTING, **SETTINGS, tolerance=0.0)
        *_, last = itertools.islice(steps, 4)
        np.testing.assert_array_equal(optimization.photo.pixels, last.photo().pixels)
        assert wait_until_idle()

    def test_closing_the_page_stops_it(self, controlled):
        at = open_with_pictures()
        optimization = start(at)
        controlled.go.release(2)
        wait_until(lambda: len(optimization.points) == 2)
        clear_session_resource_cache("test session id")  # what Streamlit does then
        controlled.go.release()
        wait_until(lambda: optimization.is_over)
        assert len(optimization.points) in (2, 3)
        assert controlled.closed == 1
        assert wait_until_idle()

    def test_rerunning_the_page_does_not_stop_it(self, controlled):
        at = open_with_pictures()
        optimization = start(at)
        for _ in range(3):
            run(at)
        assert at.session_state.optimization is optimization
        assert controlled.started <= 1
        controlled.endless = True
        wait_for_end(at)
        assert optimization.state == "done"
        assert controlled.started == controlled.closed == 1

    def test_memory_is_freed_at_the_end(self):
        at = open_with_pictures()
        start(at)
        wait_for_end(at)
        assert wait_until_idle()
        gc.collect()
        assert not [one for one in gc.get_objects() if type(one) is Optimization]

    def test_it_ends_at_the_time_limit(self, monkeypatch):
        monkeypatch.setattr(optimize_job, "MAX_SECONDS", 0.0)
        at = open_with_pictures()
        start(at)
        optimization = wait_for_end(at)
        assert len(optimization.points) == 1
        assert "because others are waiting" in get_text(at)


def test_without_torch_there_is_the_prediction_alone(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "torch" else find(name)
    )
    at = AppTest.from_file(PAGE)
    at.session_state["tab"] = "Any painting"
    run(at)
    assert at.button(key="keep")
    assert "any-way" not in at.session_state
    assert not [button for button in at.button if button.key in ("train", "any-start-button")]
    assert "fast-style[train]" in get_text(at)


def test_the_page_loads_no_torch(workplace):
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({str(PAGE)!r})
at.session_state["tab"] = "Any painting"
at.run(timeout=60)
assert not at.exception
assert at.button(key="keep")
at.session_state["any-way"] = "This photo only"
at.run(timeout=60)
assert not at.exception
assert at.button(key="any-start-button")
assert "torch" not in sys.modules
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=workplace, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_texts():
    assert text.format_duration(5.4) == "5 s"
    assert text.format_duration(150) == "2 min"
    assert text.make_steps_name("My photo.jpg", "a/b") == "My-photo-a-b-steps.zip"
    assert text.strip_option_dashes("give --size 300 or less") == "give size 300 or less"
    assert text.strip_option_dashes("--style-weight is -1") == "style weight is -1"
