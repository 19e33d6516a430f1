"""The progress display: a bar on a terminal, lines of text elsewhere."""

import contextlib
import io
import re

import pytest

from fast_style.training.progress_bar import ProgressDisplay


class Terminal(io.StringIO):
    """Stands in for stderr on a terminal."""

    def isatty(self):
        return True

    @property
    def text(self):
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


def show(display, stream):
    """Show a task of three pictures on a stream in place of stderr."""
    with contextlib.redirect_stderr(stream):
        _show(display)


def _show(display):
    display.start(3, unit="photos")
    for number in range(1, 4):
        display.update(number, f"{number}/3", f"picture-{number}.jpg")
        if number == 2:
            display.print("a message with [markup]")
    display.stop()
    display.print("the end")


def test_bar_on_a_terminal(terminal):
    show(ProgressDisplay(), terminal)
    for part in ("1/3", "3/3", "photos/s", "left", "picture-2.jpg", "a message with [markup]"):
        assert part in terminal.text
    assert terminal.text.endswith("the end\n")
    assert not ProgressDisplay().has_bar


def test_lines_at_an_interval_without_a_terminal(capsys, monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    display = ProgressDisplay(seconds_between_lines=10)
    display.start()
    for number in range(25):
        assert display.is_due() == (number % 10 == 0)
        display.update(number, f"step {number}", "fine")
        now += 1
    assert capsys.readouterr().err.splitlines() == [
        "step 0  fine",
        "step 10  fine",
        "step 20  fine",
    ]


def test_dumb_terminal_gets_no_bar(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    show(ProgressDisplay(), terminal)
    assert "\x1b" not in terminal.getvalue()
    assert terminal.text == "a message with [markup]\nthe end\n"


@pytest.mark.parametrize("on_terminal", [True, False])
def test_quiet_shows_nothing(terminal, monkeypatch, on_terminal):
    monkeypatch.setattr(terminal, "isatty", lambda: on_terminal)
    display = ProgressDisplay(quiet=True, seconds_between_lines=0)
    show(display, terminal)
    assert not display.is_due()
    assert terminal.getvalue() == ""
