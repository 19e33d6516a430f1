"""The demo with a service as its back end, and while the service is down."""

import pytest

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")

from streamlit.testing.v1 import AppTest  # noqa: E402

from fast_style.demo import page  # noqa: E402
from tests.conftest import STYLE  # noqa: E402
from tests.demo_page import (  # noqa: E402
    OTHER,
    PAGE,
    SAMPLE,
    expected,
    get_text,
    open_page,
    picture,
    run,
    two_styles,
)
from tests.small_service import Service, problem  # noqa: E402

KEY = "secret"


@pytest.fixture
def folder(workplace, model_file, monkeypatch):
    return two_styles(workplace, model_file, monkeypatch)


@pytest.fixture
def service(folder, monkeypatch):
    """Run a service with the styles of the folder, and point the page to it."""
    with Service().running() as running:
        monkeypatch.setenv("FAST_STYLE_URL", running.url)
        monkeypatch.setenv("FAST_STYLE_API_KEY", KEY)
        monkeypatch.setattr("fast_style.inference.remote.time.sleep", lambda seconds: None)
        yield running


@pytest.fixture
def no_styles_here(monkeypatch):
    """Make the page fail if it lists or loads styles itself."""

    def fail(*_, **__):
        raise AssertionError("the page computed by itself")

    monkeypatch.setattr("fast_style.demo.backend.list_styles", fail)
    monkeypatch.setattr("fast_style.demo.stylizers.Stylizer", fail)
    monkeypatch.setattr("fast_style.demo.stylizers.StylizerCache", fail)


def test_results_come_from_the_service(service, no_styles_here):
    at = open_page()
    assert picture(at) == expected(SAMPLE)
    run(at.button(key=f"pick-{OTHER}").click())
    assert picture(at) == expected(SAMPLE, OTHER)
    run(at.selectbox(key="blend").select(STYLE))
    assert picture(at) == expected(SAMPLE, f"{OTHER}:0.5,{STYLE}:0.5")
    asked = len(service.asked)
    run(at.slider(key="strength").set_value(40))
    assert picture(at) == expected(SAMPLE, f"{OTHER}:0.5,{STYLE}:0.5", strength=0.4)
    assert len(service.asked) == asked
    assert set(service.keys) == {KEY}


def test_local_tabs_are_absent(service):
    at = open_page()
    assert [tab.label for tab in at.tabs] == ["Stylize", "About"]
    assert "all-styles" not in [button.key for button in at.button]
    assert "stylized by the service at 127.0.0.1" in get_text(at)
    assert "by 127.0.0.1" in get_text(at)


def test_about_shows_the_cards_of_the_service(service, no_styles_here):
    at = AppTest.from_file(PAGE)
    at.session_state["tab"] = "About"
    run(at)
    assert "Waves" in at.selectbox(key="about-style").options


def test_page_returns_with_the_service(folder, monkeypatch):
    monkeypatch.setenv("FAST_STYLE_URL", "http://127.0.0.1:1")
    at = open_page()
    (error,) = at.error
    assert "no connection" in error.value
    assert "127.0.0.1:1" in error.value.replace("\\", "")
    assert not at.tabs
    with Service().running() as running:
        monkeypatch.setenv("FAST_STYLE_URL", running.url)
        run(at)
        assert not at.error
        assert picture(at) == expected(SAMPLE)


def test_page_retries_by_itself(service, monkeypatch):
    reruns = []
    monkeypatch.setattr(page.st, "rerun", lambda: reruns.append(1))
    service.answers = [problem(500, "no")]
    calls = iter([0, 1, 2])
    page._retry(calls)
    page._retry(calls)
    assert not reruns
    page._retry(calls)
    assert reruns == [1]


def test_a_failing_photo_shows_an_error(service):
    at = open_page()
    service.answers = [problem(500, "out of paint")] * 2
    run(at.button(key=f"pick-{OTHER}").click())
    (error,) = at.error
    assert "out of paint" in error.value
    run(at)
    service.answers = []
    run(at)
    assert not at.error
    assert picture(at) == expected(SAMPLE, OTHER)


def test_password_in_the_address_is_not_shown(folder, monkeypatch):
    monkeypatch.setenv("FAST_STYLE_URL", "http://me:password@127.0.0.1:1")
    assert "password" not in get_text(open_page())


def test_an_empty_variable_means_local(folder, monkeypatch):
    monkeypatch.setenv("FAST_STYLE_URL", " ")
    at = open_page()
    assert "Your own model" in [tab.label for tab in at.tabs]
    assert picture(at) == expected(SAMPLE)
