"""The demo with a service as its back end: what comes from there, and what happens without it."""

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
    open_page,
    picture,
    run,
    two_styles,
    words,
)
from tests.small_service import Service, problem  # noqa: E402

KEY = "secret"


@pytest.fixture
def folder(workplace, model_file, monkeypatch):
    return two_styles(workplace, model_file, monkeypatch)


@pytest.fixture
def service(folder, monkeypatch):
    """A service with the styles of this folder, which the page is told of."""
    with Service().running() as running:
        monkeypatch.setenv("FAST_STYLE_URL", running.url)
        monkeypatch.setenv("FAST_STYLE_API_KEY", KEY)
        monkeypatch.setattr("fast_style.inference.remote.time.sleep", lambda seconds: None)
        yield running


@pytest.fixture
def no_styles_here(monkeypatch):
    """The page itself can neither list nor load styles; the service in this process still can."""

    def fail(*_, **__):
        raise AssertionError("the page did it itself")

    monkeypatch.setattr("fast_style.demo.backend.list_styles", fail)
    monkeypatch.setattr("fast_style.demo.backend.Stylizer", fail)
    monkeypatch.setattr("fast_style.demo.cache.Stylizer", fail)


def test_the_service_paints(service, no_styles_here):
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


def test_what_this_process_would_compute_is_not_there(service):
    at = open_page()
    assert [tab.label for tab in at.tabs] == ["Stylize", "About"]
    assert "all-styles" not in [button.key for button in at.button]
    assert "The service at 127.0.0.1 paints" in words(at)
    assert "by 127.0.0.1" in words(at)


def test_about_shows_the_cards_of_the_service(service, no_styles_here):
    at = AppTest.from_file(PAGE)
    at.session_state["tab"] = "About"
    run(at)
    assert "Waves" in at.selectbox(key="about-style").options


def test_a_service_that_is_down_and_comes_back(folder, monkeypatch):
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


def test_it_looks_again_by_itself(service, monkeypatch):
    reruns = []
    monkeypatch.setattr(page.st, "rerun", lambda: reruns.append(1))
    service.answers = [problem(500, "no")]
    calls = iter([0, 1, 2])
    page._try_again(calls)
    page._try_again(calls)
    assert not reruns
    page._try_again(calls)
    assert reruns == [1]


def test_a_photo_that_fails_is_one_sentence_and_the_page_stays(service):
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


def test_an_address_with_a_password_is_not_shown(folder, monkeypatch):
    monkeypatch.setenv("FAST_STYLE_URL", "http://me:password@127.0.0.1:1")
    assert "password" not in words(open_page())


def test_without_the_variable_nothing_changes(folder, monkeypatch):
    monkeypatch.setenv("FAST_STYLE_URL", " ")
    at = open_page()
    assert "Your own model" in [tab.label for tab in at.tabs]
    assert picture(at) == expected(SAMPLE)
