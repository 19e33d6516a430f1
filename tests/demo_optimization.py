"""Helpers for tests of the demo's tab Any painting: fixtures, and driving the page."""

import threading
import time

import pytest
from PIL import Image

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")
torch = pytest.importorskip("torch", reason="optimising needs the extra torch")

from streamlit.testing.v1 import AppTest  # noqa: E402

import fast_style  # noqa: E402
from fast_style.demo import job_queue, optimize_job, session  # noqa: E402
from fast_style.demo.gallery import Gallery  # noqa: E402
from tests.demo_page import PAGE, photo_bytes, run  # noqa: E402

OPTIMIZE_STEPS = fast_style.optimize_steps
PHOTO, PAINTING = photo_bytes(1, (64, 48)), photo_bytes(2, (56, 64))
SETTINGS = {"size": 256, "iterations": 10, "style_weight": 40.0}


@pytest.fixture(autouse=True)
def fresh_page(workplace, monkeypatch):
    """Clear the caches before and after, and keep the normal priority."""
    monkeypatch.setattr(job_queue, "NICENESS", 0)
    monkeypatch.setattr(Gallery, "fill", lambda gallery: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more do not help with pictures this small
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    torch.set_num_threads(threads)
    st.cache_resource.clear()
    wait_until(lambda: not any(thread.name == "job-queue" for thread in threading.enumerate()))


@pytest.fixture
def controlled(monkeypatch):
    """Make optimisations wait for `go` before each step; return what was started and closed."""

    class Controlled:
        go = threading.Semaphore(0)
        started, closed = 0, 0
        endless = False

    def optimize_steps(*args, **options):
        steps = OPTIMIZE_STEPS(*args, **{**options, "tolerance": 0.0})
        Controlled.started += 1
        try:
            for step in steps:
                while not Controlled.endless and not Controlled.go.acquire(timeout=0.01):
                    pass
                yield step
        finally:
            Controlled.closed += 1

    monkeypatch.setattr(fast_style, "optimize_steps", optimize_steps)
    return Controlled


def wait_until(condition, seconds=100.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def make_request(**options) -> optimize_job.OptimizationRequest:
    images = [
        session.SourceImage(name, content, name, "me")
        for name, content in (("mine.png", PHOTO), ("theirs.png", PAINTING))
    ]
    chosen = {**SETTINGS, "init": "photo", "preserve_color": False, **options}
    return optimize_job.OptimizationRequest(*images, **chosen)


def open_tab() -> AppTest:
    at = AppTest.from_file(PAGE)
    at.session_state["tab"] = "Any painting"
    at.session_state["any-way"] = "This photo only"
    return run(at)


def open_with_pictures() -> AppTest:
    at = open_tab()
    at.file_uploader(key="any-upload").set_value(("mine.png", PHOTO, "image/png"))
    at.file_uploader(key="painting-upload").set_value(("theirs.png", PAINTING, "image/png"))
    run(at)
    at.select_slider(key="any-size").set_value(256)
    return run(at.select_slider(key="any-iterations").set_value(10))


def start(at: AppTest) -> optimize_job.QueuedOptimization:
    run(at.button(key="any-start-button").click())
    return at.session_state.optimization


def wait_for_end(at: AppTest) -> optimize_job.QueuedOptimization:
    optimization = at.session_state.optimization
    wait_until(lambda: optimization.is_over)
    run(at)
    return optimization


def collect_downloads(at: AppTest, monkeypatch) -> dict:
    """Return the files that the tab offers, by name."""
    files, names = {}, {}
    button = st.download_button

    def record(label, data, **options):
        files[options["key"]], names[options["key"]] = data, options["file_name"]
        return button(label, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(st, "download_button", record)
        run(at)
    return {names[k]: data() for k, data in files.items() if k.startswith("any-")}


def progress_text(at: AppTest) -> str:
    (bar,) = at.progress
    return bar.proto.text


def optimize_with_library(**options) -> Image.Image:
    chosen = {**SETTINGS, "init": "photo", "preserve_color": False, **options}
    *_, last = fast_style.optimize_steps(PHOTO, PAINTING, **chosen)
    return last.picture()
