"""The jobs as DBOS workflows: their steps and the order of these.

After a kill a workflow runs again from its beginning, and steps that have ended return their
recorded results. So what a workflow does between steps may depend only on these results. A change
of the steps or their order needs a new `client.VERSION`. The names of workflows and steps are
stored in the database.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from dbos import DBOS

from fast_style.errors import FastStyleError
from fast_style.service.jobs.batch_job import BatchJob, PhotoRecord, is_transient
from fast_style.service.jobs.context import LOG, WorkerContext
from fast_style.service.jobs.optimize_job import OptimizeJob
from fast_style.service.jobs.spec import JobSpec
from fast_style.service.jobs.video_job import VideoJob

_MAX_RECOVERIES = 100
"""How often a worker may die or be stopped at a job before the job fails."""

_RETRIES: dict[str, Any] = {
    "retries_allowed": True,
    "max_attempts": 6,
    "interval_seconds": 1.0,
    "should_retry": is_transient,
}

_T = TypeVar("_T")


class _LazyJob(Generic[_T]):
    """A job that is opened by the first step that runs, not by those that are only replayed."""

    def __init__(self, open: Callable[[int], _T]) -> None:
        self._open = open
        self.job: _T | None = None

    def at(self, number: int) -> _T:
        """Return the job, opened at a step if it was not open."""
        if self.job is None:
            self.job = self._open(number)
        return self.job


def register(context: WorkerContext) -> None:
    """Register the workflows with DBOS, before it is launched.

    Args:
        context: what the jobs of this worker share.
    """
    _register_batch(context)
    _register_optimize(context)
    _register_video(context)


def _register_batch(context: WorkerContext) -> None:
    @DBOS.step(name="paint", **_RETRIES)
    def stylize(photos: _LazyJob[BatchJob], position: int, failed: int) -> PhotoRecord:
        return photos.at(position).stylize(position, failed)

    @DBOS.step(name="bundle", **_RETRIES)
    def bundle(photos: _LazyJob[BatchJob], records: list[PhotoRecord]) -> dict[str, Any]:
        return photos.at(len(records)).bundle(records)

    @DBOS.workflow(name="batch", max_recovery_attempts=_MAX_RECOVERIES)
    def batch(spec: dict[str, Any]) -> dict[str, Any]:
        job_id = _own_id()
        photos = _LazyJob(lambda _: BatchJob(context, job_id, JobSpec.from_dict(spec)))
        try:
            records: list[PhotoRecord] = []
            failed = 0
            for position in range(spec["photos"]):
                with context.step():
                    records.append(stylize(photos, position, failed))
                failed += records[-1]["error"] is not None
            with context.step():
                return bundle(photos, records)
        except Exception as error:
            _log_failure(job_id, error)
            raise
        finally:
            if photos.job is not None:
                photos.job.close()


def _register_optimize(context: WorkerContext) -> None:
    @DBOS.step(name="advance", **_RETRIES)
    def advance(run: _LazyJob[OptimizeJob], number: int) -> dict[str, Any]:
        return run.at(number).advance()

    @DBOS.step(name="finish", **_RETRIES)
    def finish(run: _LazyJob[OptimizeJob], number: int) -> dict[str, Any]:
        return run.at(number).finish()

    @DBOS.workflow(name="optimize", max_recovery_attempts=_MAX_RECOVERIES)
    def optimize(spec: dict[str, Any]) -> dict[str, Any]:
        job_id, number, finished = _own_id(), 0, False
        run = _LazyJob(lambda number: OptimizeJob(context, job_id, JobSpec.from_dict(spec), number))
        try:
            while not finished:
                with context.step():
                    finished = advance(run, number)["finished"]
                number += 1
            with context.step():
                return finish(run, number)
        except Exception as error:
            _log_failure(job_id, error)
            raise


def _register_video(context: WorkerContext) -> None:
    @DBOS.step(name="stylize_part", **_RETRIES)
    def stylize_part(run: _LazyJob[VideoJob], number: int) -> dict[str, Any] | None:
        return run.at(number).advance(number)

    @DBOS.workflow(name="video", max_recovery_attempts=_MAX_RECOVERIES)
    def video(spec: dict[str, Any]) -> dict[str, Any]:
        job_id, number = _own_id(), 0
        run = _LazyJob(lambda _: VideoJob(context, job_id, JobSpec.from_dict(spec)))
        result: dict[str, Any] | None = None
        try:
            while result is None:
                with context.step():
                    result = stylize_part(run, number)
                number += 1
            return result
        except Exception as error:
            _log_failure(job_id, error)
            raise
        finally:
            if run.job is not None:
                run.job.close()


def _own_id() -> str:
    job_id = DBOS.workflow_id
    assert job_id is not None
    return job_id


def _log_failure(job_id: str, error: Exception) -> None:
    """Log a failure: a sentence for errors of this package, the traceback for others."""
    expected = isinstance(error, FastStyleError)
    LOG.error("job %s failed: %s", job_id, error, exc_info=None if expected else error)
