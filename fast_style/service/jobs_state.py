"""What the routes of the jobs share: the forms, the database, and the service's own worker."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.concurrency import run_in_threadpool

from fast_style.errors import FastStyleError, JobError, MissingExtraError
from fast_style.service.job_form import JobForms
from fast_style.service.jobs.client import JobClient
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.supervisor import WorkerSupervisor
from fast_style.service.metrics import ServiceMetrics
from fast_style.service.settings import ServiceSettings

__all__ = ["JobsState"]

_MAX_UPLOADS = 4
"""Forms that are received at once."""

_CHECK_SECONDS, _PATIENCE_SECONDS = 1.0, 3.0


class JobsState:
    """What the routes of the jobs share; they find it as `app.state.jobs`.

    Attributes:
        settings: the options of the service.
        jobs: the options of the jobs.
        forms: the forms that request jobs.
        client: the database and files of the jobs, while the app runs.
        supervisor: keeps the service's own worker running; None if workers run elsewhere.
        uploads: limits the forms that are received at once.
    """

    client: JobClient
    _opened = False

    def __init__(self, settings: ServiceSettings, jobs: JobSettings) -> None:
        """Prepare the state; nothing is opened or started."""
        self.settings, self.jobs = settings, jobs
        self.forms = JobForms(settings, jobs)
        self.supervisor = WorkerSupervisor(jobs) if jobs.worker == "own" else None
        self.uploads = asyncio.Semaphore(_MAX_UPLOADS)
        self._problem: str | None = None
        self._checked = -math.inf

    def open(self) -> None:
        """Open the database and the folder of results, before the service listens.

        Raises:
            MissingExtraError: a package of the extra `serve` is not installed.
            JobError: one of them cannot be written; the message names the options for another.
        """
        try:
            self.client = JobClient(self.jobs)
        except MissingExtraError:
            raise
        except FastStyleError as error:
            raise JobError(
                f"{error}; background jobs are kept there: give another --database and --results, "
                "or serve without jobs (--no-jobs)"
            ) from error
        self._opened = True

    async def find_problem(self) -> str | None:
        """Return why jobs cannot be done at present, or None; looked up once a second at most."""
        if self.supervisor is not None and self.supervisor.failing:
            return (
                "the worker of the background jobs ends as soon as it is started; the log of the "
                "service says why"
            )
        if time.monotonic() - self._checked > _CHECK_SECONDS:
            self._checked, self._problem = time.monotonic(), None
            try:
                waiting = run_in_threadpool(self.client.count_waiting)
                await asyncio.wait_for(waiting, _PATIENCE_SECONDS)
            except Exception:  # of the database's driver
                self._problem = "the database of the background jobs cannot be reached"
        return self._problem

    @asynccontextmanager
    async def lifespan(self, metrics: ServiceMetrics) -> AsyncIterator[None]:
        """Open the database and start the worker; stop and close them at the end."""
        if not self._opened:
            await run_in_threadpool(self.open)
        metrics.gauge(
            "fast_style_jobs_waiting", "Jobs that wait for a worker.", self._count_waiting
        )
        if self.supervisor is not None:
            self.supervisor.start()
        try:
            yield
        finally:
            if self.supervisor is not None:
                await run_in_threadpool(self.supervisor.stop)
            self.client.close()
            self._opened = False

    def _count_waiting(self) -> float:
        try:
            return self.client.count_waiting()
        except Exception:  # without the database, the other metrics are still useful
            return float("nan")
