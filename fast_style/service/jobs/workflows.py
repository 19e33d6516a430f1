"""The jobs as DBOS workflows: which steps there are, in which order; what a step does is elsewhere.

What a workflow does between its steps must follow from what the steps gave, for after a kill it
runs again from the top with what is recorded. A change of the steps or their order changes
`desk.VERSION`.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from dbos import DBOS

from fast_style.errors import FastStyleError
from fast_style.service.jobs.batch_job import Batch, Outcome, is_the_stores_matter
from fast_style.service.jobs.context import LOG, Workplace
from fast_style.service.jobs.optimize_job import Run
from fast_style.service.jobs.spec import JobSpec

_MOST_RECOVERIES = 100
"""So many workers may die at a job, or be stopped, before it is given up."""

_RETRIES: dict[str, Any] = {
    "retries_allowed": True,
    "max_attempts": 6,
    "interval_seconds": 1.0,
    "should_retry": is_the_stores_matter,
}

_T = TypeVar("_T")


class _Opened(Generic[_T]):
    """What the steps of one execution share, opened by the first that is not only replayed."""

    def __init__(self, open: Callable[[int], _T]) -> None:
        self._open = open
        self.it: _T | None = None

    def at(self, number: int) -> _T:
        if self.it is None:
            self.it = self._open(number)
        return self.it


def register(work: Workplace) -> None:
    """Make the workflows known to DBOS, before it is launched.

    Args:
        work: where the steps are done.
    """

    @DBOS.step(name="paint", **_RETRIES)
    def paint(photos: _Opened[Batch], position: int, failed: int) -> Outcome:
        return photos.at(position).paint(position, failed)

    @DBOS.step(name="bundle", **_RETRIES)
    def bundle(photos: _Opened[Batch], outcomes: list[Outcome]) -> dict[str, Any]:
        return photos.at(len(outcomes)).bundle(outcomes)

    @DBOS.step(name="advance", **_RETRIES)
    def advance(run: _Opened[Run], number: int) -> dict[str, Any]:
        return run.at(number).advance()

    @DBOS.step(name="finish", **_RETRIES)
    def finish(run: _Opened[Run], number: int) -> dict[str, Any]:
        return run.at(number).finish()

    @DBOS.workflow(name="batch", max_recovery_attempts=_MOST_RECOVERIES)
    def batch(spec: dict[str, Any]) -> dict[str, Any]:
        job_id = _own_id()
        photos = _Opened(lambda _: Batch(work, job_id, JobSpec.from_dict(spec)))
        try:
            outcomes: list[Outcome] = []
            failed = 0
            for position in range(spec["photos"]):
                with work.step():
                    outcomes.append(paint(photos, position, failed))
                failed += outcomes[-1]["error"] is not None
            with work.step():
                return bundle(photos, outcomes)
        except Exception as error:
            _tell(job_id, error)
            raise
        finally:
            if photos.it is not None:
                photos.it.close()

    @DBOS.workflow(name="optimize", max_recovery_attempts=_MOST_RECOVERIES)
    def optimize(spec: dict[str, Any]) -> dict[str, Any]:
        job_id, number, finished = _own_id(), 0, False
        run = _Opened(lambda number: Run(work, job_id, JobSpec.from_dict(spec), number))
        try:
            while not finished:
                with work.step():
                    finished = advance(run, number)["finished"]
                number += 1
            with work.step():
                return finish(run, number)
        except Exception as error:
            _tell(job_id, error)
            raise


def _own_id() -> str:
    job_id = DBOS.workflow_id
    assert job_id is not None
    return job_id


def _tell(job_id: str, error: Exception) -> None:
    """Log a failure: in a sentence where the job is to blame, in full where we are."""
    ours = isinstance(error, FastStyleError)
    LOG.error("job %s failed: %s", job_id, error, exc_info=None if ours else error)
