"""What the routes of the jobs share: the forms, the database, and the service's own worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.concurrency import run_in_threadpool

from fast_style.service.job_form import JobForms
from fast_style.service.jobs.client import JobClient
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.supervisor import WorkerSupervisor
from fast_style.service.metrics import ServiceMetrics
from fast_style.service.settings import ServiceSettings

__all__ = ["JobsState"]

_MAX_UPLOADS = 4
"""Forms that are received at once."""


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

    def __init__(self, settings: ServiceSettings, jobs: JobSettings) -> None:
        """Prepare the state; nothing is opened or started."""
        self.settings, self.jobs = settings, jobs
        self.forms = JobForms(settings, jobs)
        self.supervisor = WorkerSupervisor(jobs) if jobs.worker == "own" else None
        self.uploads = asyncio.Semaphore(_MAX_UPLOADS)

    @asynccontextmanager
    async def lifespan(self, metrics: ServiceMetrics) -> AsyncIterator[None]:
        """Open the database and start the worker; stop and close them at the end."""
        self.client = await run_in_threadpool(JobClient, self.jobs)
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

    def _count_waiting(self) -> float:
        try:
            return self.client.count_waiting()
        except Exception:  # without the database, the other metrics are still useful
            return float("nan")
