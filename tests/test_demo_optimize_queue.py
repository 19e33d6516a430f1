"""One optimisation at a time for the whole process: turns, places, ends."""

import pytest

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")
torch = pytest.importorskip("torch", reason="optimising needs the extra torch")


from fast_style.demo import optimize_queue, optimize_tab  # noqa: E402
from tests.demo_page import run  # noqa: E402
from tests.demo_page import words as told  # noqa: E402
from tests.test_demo_any_painting import (  # noqa: E402
    _fresh,
    finished,
    held,
    order,
    progress_text,
    start,
    wait_until,
    with_pictures,
)

__all__ = ["_fresh", "held"]


class TestEasel:
    def test_one_at_a_time_in_their_order(self, held):
        one = optimize_queue.Easel()
        runs = [optimize_queue.Run(order()) for _ in range(3)]
        assert all(one.take(each) for each in runs)
        wait_until(lambda: held.begun == 1)
        assert [one.ahead(each) for each in runs] == [0, 1, 2]
        assert [each.state for each in runs] == ["running", "waiting", "waiting"]
        runs[1].stop()
        assert runs[1].state == "stopped"
        assert one.ahead(runs[2]) == 1
        held.endless = True
        wait_until(lambda: one.is_idle)
        assert [each.state for each in runs] == ["done", "stopped", "done"]
        assert runs[1].points == []
        assert held.begun == held.closed == 2

    def test_the_queue_is_bounded(self, held, monkeypatch):
        monkeypatch.setattr(optimize_queue, "MOST_WAITING", 1)
        at = with_pictures()
        first = optimize_queue.Run(order())
        optimize_tab.easel().take(first)
        wait_until(lambda: held.begun == 1)
        optimize_tab.easel().take(waiting := optimize_queue.Run(order()))
        run(at.button(key="any-start-button").click())
        assert "Too many are waiting" in told(at)
        assert "run" not in at.session_state
        waiting.stop()  # its place is free at once
        start(at)
        assert "Another painting comes first" in progress_text(at)
        held.endless = True
        assert finished(at).state == "done"

    def test_pictures_on_the_way_are_bounded(self, monkeypatch):
        monkeypatch.setattr(optimize_queue, "KEPT", 3)
        made = optimize_queue.Run(order(iterations=10))
        made.paint()
        assert made.state == "done"
        last = made.points[-1].iteration
        assert list(made.frames) == sorted({4, 8, last} & set(range(last + 1)))

    def test_it_gives_way(self, monkeypatch):
        levels = []
        monkeypatch.setattr(optimize_queue, "GIVING_WAY", 7)
        monkeypatch.setattr(optimize_queue.os, "nice", levels.append)
        monkeypatch.setattr(optimize_queue.sys, "platform", "linux")
        one = optimize_queue.Easel()
        one.take(made := optimize_queue.Run(order()))
        made.stop()
        wait_until(lambda: one.is_idle)
        assert levels == [7]
