"""The queue of the demo: one optimisation at a time in the process."""

import pytest

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")
torch = pytest.importorskip("torch", reason="optimising needs the extra torch")


from fast_style.demo import job_queue, optimize_job  # noqa: E402
from tests.demo_optimization import (  # noqa: E402
    controlled,
    fresh_page,
    make_request,
    open_with_pictures,
    progress_text,
    start,
    wait_for_end,
    wait_until,
)
from tests.demo_page import get_text, run  # noqa: E402

__all__ = ["controlled", "fresh_page"]


class TestJobQueue:
    def test_optimisations_run_one_at_a_time_in_order(self, controlled):
        queue = job_queue.JobQueue()
        runs = [optimize_job.QueuedOptimization(make_request()) for _ in range(3)]
        assert all(queue.submit(each) for each in runs)
        wait_until(lambda: controlled.started == 1)
        assert [queue.count_ahead(each) for each in runs] == [0, 1, 2]
        assert [each.state for each in runs] == ["running", "waiting", "waiting"]
        runs[1].stop()
        assert runs[1].state == "stopped"
        assert queue.count_ahead(runs[2]) == 1
        controlled.endless = True
        wait_until(lambda: queue.is_idle)
        assert [each.state for each in runs] == ["done", "stopped", "done"]
        assert runs[1].points == []
        assert controlled.started == controlled.closed == 2

    def test_queue_is_bounded(self, controlled, monkeypatch):
        monkeypatch.setattr(job_queue, "MAX_WAITING", 1)
        at = open_with_pictures()
        first = optimize_job.QueuedOptimization(make_request())
        job_queue.get_queue().submit(first)
        wait_until(lambda: controlled.started == 1)
        waiting = optimize_job.QueuedOptimization(make_request())
        job_queue.get_queue().submit(waiting)
        run(at.button(key="any-start-button").click())
        assert "Too many visitors are waiting" in get_text(at)
        assert "optimization" not in at.session_state
        waiting.stop()  # which makes room at once
        start(at)
        assert "1 other is before you in the queue" in progress_text(at)
        controlled.endless = True
        assert wait_for_end(at).state == "done"

    def test_intermediate_pictures_are_bounded(self, monkeypatch):
        monkeypatch.setattr(optimize_job, "MAX_FRAMES", 3)
        optimization = optimize_job.QueuedOptimization(make_request(iterations=10))
        optimization.run()
        assert optimization.state == "done"
        last = optimization.points[-1].step
        assert list(optimization.frames) == sorted({4, 8, last} & set(range(last + 1)))

    def test_thread_lowers_its_priority(self, monkeypatch):
        levels = []
        monkeypatch.setattr(job_queue, "NICENESS", 7)
        monkeypatch.setattr(job_queue.os, "nice", levels.append)
        monkeypatch.setattr(job_queue.sys, "platform", "linux")
        queue = job_queue.JobQueue()
        queue.submit(optimization := optimize_job.QueuedOptimization(make_request()))
        optimization.stop()
        wait_until(lambda: queue.is_idle)
        assert levels == [7]
