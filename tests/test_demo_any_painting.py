"""The demo's tab Any painting: its controls, its pictures, and that nothing of it lingers."""

import gc
import io
import itertools
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")
torch = pytest.importorskip("torch", reason="optimising needs the extra torch")

from streamlit.runtime.caching import clear_session_resource_cache  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402

import fast_style  # noqa: E402
from fast_style.demo import optimize_queue, optimize_tab, session, text  # noqa: E402
from fast_style.optimization import memory  # noqa: E402
from fast_style.optimization.optimizer_loop import Optimization  # noqa: E402
from tests.commands import environment  # noqa: E402
from tests.conftest import STYLE  # noqa: E402
from tests.demo_page import PAGE, photo_bytes, run  # noqa: E402
from tests.demo_page import words as told  # noqa: E402

OPTIMIZE = fast_style.optimize_steps
PHOTO, PAINTING = photo_bytes(1, (64, 48)), photo_bytes(2, (56, 64))
SETTINGS = {"size": 256, "iterations": 10, "style_weight": 40.0}


@pytest.fixture(autouse=True)
def _fresh(workplace, monkeypatch):
    """One tiny style, nothing left of the test before, and no giving way to whatever else runs."""
    monkeypatch.setattr(optimize_queue, "GIVING_WAY", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small pictures gain nothing by more
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    torch.set_num_threads(threads)
    st.cache_resource.clear()
    wait_until(lambda: not any(thread.name == "easel" for thread in threading.enumerate()))


@pytest.fixture
def held(monkeypatch):
    """Optimisations of many steps that wait for `go` before each; gives what became of them."""

    class Held:
        go = threading.Semaphore(0)
        begun, closed = 0, 0
        endless = False

    def steps(*args, **options):
        made = OPTIMIZE(*args, **{**options, "tolerance": 0.0})
        Held.begun += 1
        try:
            for step in made:
                while not Held.endless and not Held.go.acquire(timeout=0.01):
                    pass
                yield step
        finally:
            Held.closed += 1

    monkeypatch.setattr(fast_style, "optimize_steps", steps)
    return Held


def wait_until(condition, seconds=100.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def order(**options) -> optimize_queue.Order:
    shots = [
        session.Shot(name, content, name, "me")
        for name, content in (("mine.png", PHOTO), ("theirs.png", PAINTING))
    ]
    chosen = {**SETTINGS, "init": "photo", "preserve_color": False, **options}
    return optimize_queue.Order(*shots, **chosen)


def open_tab() -> AppTest:
    at = AppTest.from_file(PAGE)
    at.session_state["tab"] = "Any painting"
    return run(at)


def with_pictures() -> AppTest:
    at = open_tab()
    at.file_uploader(key="any-upload").set_value(("mine.png", PHOTO, "image/png"))
    at.file_uploader(key="painting-upload").set_value(("theirs.png", PAINTING, "image/png"))
    run(at)
    at.select_slider(key="any-size").set_value(256)
    return run(at.select_slider(key="any-iterations").set_value(10))


def start(at: AppTest) -> optimize_queue.Run:
    run(at.button(key="any-start-button").click())
    return at.session_state.run


def finished(at: AppTest) -> optimize_queue.Run:
    made = at.session_state.run
    wait_until(lambda: made.is_over)
    run(at)
    return made


def files_of(at: AppTest, monkeypatch) -> dict:
    """What the browser would get, by the key of the button."""
    files, names = {}, {}
    button = st.download_button

    def noted(label, data, **options):
        files[options["key"]], names[options["key"]] = data, options["file_name"]
        return button(label, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(st, "download_button", noted)
        run(at)
    return {names[k]: data() for k, data in files.items() if k.startswith("any-")}


def progress_text(at: AppTest) -> str:
    (bar,) = at.progress
    return bar.proto.text


def library_picture(**options) -> Image.Image:
    chosen = {**SETTINGS, "init": "photo", "preserve_color": False, **options}
    *_, last = fast_style.optimize_steps(PHOTO, PAINTING, **chosen)
    return last.picture()


class TestTab:
    def test_it_paints_what_the_library_paints(self, monkeypatch):
        at = with_pictures()
        start(at)
        finished(at)
        assert not at.error
        at.session_state["any-format"] = "PNG"
        run(at)
        files = files_of(at, monkeypatch)
        assert list(files) == ["mine-theirs.png", "mine-theirs-steps.zip"]
        steps = list(fast_style.optimize_steps(PHOTO, PAINTING, **SETTINGS))
        with Image.open(io.BytesIO(files["mine-theirs.png"])) as image:
            np.testing.assert_array_equal(image, steps[-1].picture())
        with zipfile.ZipFile(io.BytesIO(files["mine-theirs-steps.zip"])) as archive:
            names = archive.namelist()
            assert names == [f"step-{step.iteration:04d}.jpg" for step in steps]
            with Image.open(archive.open(names[-1])) as image:
                assert image.size == (64, 48)
        assert [p.losses["total"] for p in at.session_state.run.points] == [
            step.losses.total for step in steps
        ]
        assert f"64 \u00d7 48 pixels, {len(steps)} steps in" in told(at)
        assert at.get("vega_lite_chart") or at.get("arrow_vega_lite_chart")

    def test_every_picture_and_control_has_its_words(self):
        at = with_pictures()
        start(at)
        finished(at)
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
    def test_each_setting_counts(self, control, key, value, options):
        at = with_pictures()
        run(getattr(at, control)(key=key).set_value(value))
        start(at)
        made = finished(at)
        assert made.photo is not None
        np.testing.assert_array_equal(made.photo.pixels, library_picture(**options))

    def test_the_size(self):
        at = with_pictures()
        large = photo_bytes(3, (400, 40))
        run(at.file_uploader(key="any-upload").set_value(("long.png", large, "image/png")))
        run(at.select_slider(key="any-size").set_value(384))
        start(at)
        at.session_state.run.stop()
        made = at.session_state.run
        wait_until(lambda: made.is_over)
        assert made.order.size == 384
        assert made.problem == ""
        assert made.photo is None or made.photo.width == 384

    def test_samples(self):
        at = open_tab()
        run(at.button(key="painting-sample-great-wave").click())
        run(at.button(key="any-sample-coffee").click())
        assert at.button(key="painting-sample-great-wave").label.startswith("✓")
        assert at.button(key="any-sample-coffee").label.startswith("✓")
        assert at.button(key="sample-coffee").label.startswith("✓")  # one photo for the page
        assert set(optimize_tab._PAINTINGS) == set(session.paintings())

    def test_an_upload_that_goes_leaves_the_sample(self):
        at = with_pictures()
        run(at.file_uploader(key="painting-upload").set_value(None))
        assert any(
            at.button(key=f"painting-sample-{name}").label.startswith("✓")
            for name in session.paintings()
        )

    @pytest.mark.parametrize("which", ["any-upload", "painting-upload"])
    def test_a_broken_upload_gets_a_sentence_and_no_start(self, which):
        at = with_pictures()
        broken = ("bad.jpg", b"\xff\xd8\xffnothing", "image/jpeg")
        run(at.file_uploader(key=which).set_value(broken))
        assert any("bad.jpg" in error.value.replace("\\", "") for error in at.error)
        assert at.button(key="any-start-button").disabled

    def test_what_is_too_large_for_the_memory_is_refused_in_a_sentence(self, monkeypatch):
        monkeypatch.setattr(memory, "available_memory", lambda: 1 << 20)
        at = with_pictures()
        start(at)
        finished(at)
        (error,) = at.error
        assert "GB are free" in error.value.replace("\\", "")
        assert "--" not in error.value.replace("\\", "")

    def test_a_failure_is_one_sentence(self, monkeypatch, caplog):
        monkeypatch.setattr(fast_style, "optimize_steps", lambda *_, **__: 1 / 0)
        at = with_pictures()
        start(at)
        finished(at)
        (error,) = at.error
        assert "log of the server" in error.value
        assert "ZeroDivisionError" in caplog.text
        assert easel_is_idle()

    def test_settings_survive_another_tab(self):
        at = with_pictures()
        run(at.select_slider(key="any-weight").set_value(80))
        at.session_state["tab"] = "Stylize"
        run(at)
        at.session_state["tab"] = "Any painting"
        run(at)
        assert at.select_slider(key="any-weight").value == 80
        assert at.select_slider(key="any-iterations").value == 10
        assert not at.warning

    def test_and_a_run(self):
        at = with_pictures()
        run(at.toggle(key="any-colours").set_value(True))
        run(at.select_slider(key="any-weight").set_value(80))
        start(at)
        finished(at)
        assert at.select_slider(key="any-weight").value == 80
        assert at.toggle(key="any-colours").value is True
        assert at.select_slider(key="any-iterations").value == 10
        assert not at.warning


def easel_is_idle() -> bool:
    wait_until(lambda: optimize_tab.easel().is_idle)
    return True


class TestStopping:
    def test_it_stops_and_keeps_the_best(self, held):
        at = with_pictures()
        made = start(at)
        held.go.release(3)
        wait_until(lambda: len(made.points) == 3)
        run(at)
        assert "Step 3 of 10" in progress_text(at)
        run(at.button(key="any-stop").click())
        held.go.release()
        finished(at)
        assert made.state == "stopped"
        assert len(made.points) == 4
        assert held.closed == 1
        assert "4 steps in" in told(at)
        assert "stopped early" in told(at)
        steps = OPTIMIZE(PHOTO, PAINTING, **SETTINGS, tolerance=0.0)
        *_, last = itertools.islice(steps, 4)
        np.testing.assert_array_equal(made.photo.pixels, last.photo().pixels)
        assert easel_is_idle()

    def test_a_visitor_who_leaves_stops_it(self, held):
        at = with_pictures()
        made = start(at)
        held.go.release(2)
        wait_until(lambda: len(made.points) == 2)
        clear_session_resource_cache("test session id")  # what Streamlit does when one leaves
        held.go.release()
        wait_until(lambda: made.is_over)
        assert len(made.points) in (2, 3)
        assert held.closed == 1
        assert easel_is_idle()

    def test_another_run_of_the_page_does_not(self, held):
        at = with_pictures()
        made = start(at)
        for _ in range(3):
            run(at)
        assert at.session_state.run is made
        assert held.begun <= 1
        held.endless = True
        finished(at)
        assert made.state == "done"
        assert held.begun == held.closed == 1

    def test_nothing_of_it_stays_in_memory(self):
        at = with_pictures()
        start(at)
        finished(at)
        assert easel_is_idle()
        gc.collect()
        assert not [one for one in gc.get_objects() if type(one) is Optimization]

    def test_it_ends_when_others_have_waited_long_enough(self, monkeypatch):
        monkeypatch.setattr(optimize_queue, "LONGEST", 0.0)
        at = with_pictures()
        start(at)
        made = finished(at)
        assert len(made.points) == 1
        assert "since others wait" in told(at)


def test_without_torch_the_tab_is_absent(monkeypatch):
    monkeypatch.setattr(optimize_tab.importlib.util, "find_spec", lambda name: None)
    at = run(AppTest.from_file(PAGE))
    assert "Any painting" not in [tab.label for tab in at.tabs]
    monkeypatch.undo()


def test_the_page_loads_no_torch(workplace):
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({str(PAGE)!r})
at.session_state["tab"] = "Any painting"
at.run(timeout=60)
assert not at.exception
assert at.button(key="any-start-button")
assert "torch" not in sys.modules
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=workplace, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_words():
    assert text.duration(5.4) == "5 s"
    assert text.duration(150) == "2 min"
    assert text.steps_name("My photo.jpg", "a/b") == "My-photo-a-b-steps.zip"
    assert text.on_the_page("give --size 300 or less") == "give size 300 or less"
    assert text.on_the_page("--style-weight is -1") == "style weight is -1"
