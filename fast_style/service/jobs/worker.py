"""A worker: a process that takes jobs from the queue and does them.

Within eight seconds of the stop flag the running steps end, and then the process. The jobs are
continued by the next worker.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from fast_style.errors import MissingExtraError
from fast_style.service.jobs.client import APPLICATION, QUEUE, VERSION, JobClient
from fast_style.service.jobs.context import LOG, WorkerContext
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.worker_lease import WorkerLease, acquire_lease, take_over_dead_workers

STOP_SECONDS = 8.0
"""How long running steps may take to end; container engines kill a process after ten seconds."""

ORPHAN_SECONDS = 3600.0
"""Age at which files without a job are deleted; a service that was killed leaves such files."""

REMEMBERED_SECONDS = 30 * 86400.0
"""How long an ended job stays known as expired (HTTP 410); later it is unknown (404)."""

_POLL_SECONDS = 0.25
_LEASE_SECONDS = 3.0
_EXPIRY_SECONDS = 60.0


def run_worker(
    settings: JobSettings, stop: threading.Event, *, exit_code: Callable[[], int]
) -> NoReturn:
    """Do jobs until `stop` is set; then the process exits.

    Args:
        settings: where jobs are stored, and how many run at once.
        stop: the stop flag.
        exit_code: returns the exit code of the process, once `stop` is set.

    Raises:
        MissingExtraError: a package of the extra `serve` is not installed.
        JobError: another worker uses the SQLite database, or PostgreSQL cannot be reached.
        FastStyleError: the folder or URL for results cannot be used.
    """
    try:
        from dbos import DBOS
    except ModuleNotFoundError as error:
        raise MissingExtraError("fast-style worker", "dbos", "serve") from error
    _log_to_stderr()
    client = JobClient(settings)
    lease = acquire_lease(settings)
    context = WorkerContext(client.store, _is_cancelled, settings.checkpoint_seconds)
    _launch_dbos(settings, lease, context)
    LOG.info("%s is ready for jobs", lease.executor)
    for target, arguments in (
        (
            take_over_dead_workers,
            # DBOS has no public function to recover the workflows of a given executor.
            (
                lease,
                _busy_executors,
                lambda executor: DBOS._recover_pending_workflows([executor]),
                stop,
                _LEASE_SECONDS,
            ),
        ),
        (_delete_expired_repeatedly, (client, stop, _EXPIRY_SECONDS)),
    ):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    stop.wait()
    LOG.info("stopping: running steps end, and the jobs continue in the next worker")
    if not context.stop(STOP_SECONDS):
        LOG.info("a step takes too long and will be repeated")
    # Workflows block before their next step. Only the end of the process ends them without an
    # outcome in the database.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code())


def delete_expired(client: JobClient) -> int:
    """Delete the files of expired jobs, and forget old jobs; several workers may do so at once.

    Returns:
        The number of folders that were deleted.
    """
    deleted = 0
    folders = client.store.names()
    for job_id in folders:
        job = client.find(job_id)
        if job is None:
            age = client.store.age(job_id)
            if age is None or age < ORPHAN_SECONDS:
                continue
        elif job.state != "expired":
            continue
        client.store.delete_folder(job_id)
        deleted += 1
        LOG.info("job %s: its files are deleted", job_id)
    old = client.ended_before(REMEMBERED_SECONDS)
    client.forget([job_id for job_id in old if job_id not in folders])
    return deleted


def _delete_expired_repeatedly(client: JobClient, stop: threading.Event, seconds: float) -> None:
    while not stop.wait(seconds):
        try:
            delete_expired(client)
        except Exception as error:  # the database or the store cannot be reached for now
            LOG.warning("expired jobs could not be deleted (%s)", error)


def _launch_dbos(settings: JobSettings, lease: WorkerLease, context: WorkerContext) -> None:
    from dbos import DBOS, DBOSPortableJSONSerializer

    from fast_style.service.jobs.workflows import register

    DBOS(
        config={
            "name": APPLICATION,
            "system_database_url": settings.database,
            "application_version": VERSION,
            "executor_id": lease.executor,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
            "enable_otlp": False,
            "scheduler_polling_interval_sec": 3600.0,  # there are no schedules
        }
    )
    register(context)
    DBOS.listen_queues([QUEUE])
    DBOS.launch()
    DBOS.register_queue(
        QUEUE,
        worker_concurrency=settings.jobs_at_once,
        polling_interval_sec=_POLL_SECONDS,
        on_conflict="always_update",
    )


def _is_cancelled(job_id: str) -> bool:
    from dbos import DBOS

    found = DBOS.list_workflows(
        workflow_ids=[job_id], status="CANCELLED", load_input=False, load_output=False
    )
    return bool(found)


def _busy_executors() -> set[str]:
    from dbos import DBOS

    running = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
    return {status.executor_id for status in running if status.executor_id}


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s worker: %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    # DBOS logs each failed job with its traceback; `workflows` has logged it already.
    logging.getLogger("dbos").addFilter(lambda record: "background workflow" not in record.msg)
