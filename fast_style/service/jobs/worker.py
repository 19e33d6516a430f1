"""A worker: a process that takes jobs from the database and does them until it is told to stop.

It may be killed at any moment. Told to stop, it ends the steps it is at, which take seconds, and
then the process; what it had in hand goes on in the next worker.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from fast_style.errors import MissingExtraError
from fast_style.service.jobs.client import APPLICATION, QUEUE, VERSION, Desk
from fast_style.service.jobs.context import LOG, Workplace
from fast_style.service.jobs.expiry import keep_sweeping
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.worker_lease import sign_of_life, watch

STOP_SECONDS = 8.0
"""How long the steps in hand may take to end; container engines kill after ten seconds."""

_POLL_SECONDS = 0.25
_WATCH_SECONDS = 3.0
_SWEEP_SECONDS = 60.0


def work(settings: JobSettings, stop: threading.Event, *, code: Callable[[], int]) -> NoReturn:
    """Do jobs until `stop` is set; the process ends then.

    Args:
        settings: where jobs are kept, and how many are done at once.
        stop: the word to stop.
        code: gives the exit code of the process, once `stop` is set.

    Raises:
        MissingExtraError: a package of the extra `serve` is not installed.
        JobError: another worker has the SQLite database, or PostgreSQL cannot be reached.
        FastStyleError: the place for files cannot be used.
    """
    try:
        from dbos import DBOS, DBOSPortableJSONSerializer
    except ModuleNotFoundError as error:
        raise MissingExtraError("fast-style worker", "dbos", "serve") from error
    _log_to_stderr()
    desk = Desk(settings)
    liveness = sign_of_life(settings)

    def cancelled(job_id: str) -> bool:
        found = DBOS.list_workflows(
            workflow_ids=[job_id], status="CANCELLED", load_input=False, load_output=False
        )
        return bool(found)

    def busy_executors() -> set[str]:
        in_hand = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        return {status.executor_id for status in in_hand if status.executor_id}

    DBOS(
        config={
            "name": APPLICATION,
            "system_database_url": settings.database,
            "application_version": VERSION,
            "executor_id": liveness.executor,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
            "enable_otlp": False,
            "scheduler_polling_interval_sec": 3600.0,  # there are no schedules
        }
    )
    from fast_style.service.jobs.workflows import register

    workplace = Workplace(desk.store, cancelled, settings.checkpoint_seconds)
    register(workplace)
    DBOS.listen_queues([QUEUE])
    DBOS.launch()
    DBOS.register_queue(
        QUEUE,
        worker_concurrency=settings.jobs_at_once,
        polling_interval_sec=_POLL_SECONDS,
        on_conflict="always_update",
    )
    LOG.info("%s is ready for jobs", liveness.executor)
    for target, arguments in (
        # The one look over DBOS's fence: it has no public way to name an executor dead.
        (
            watch,
            (
                liveness,
                busy_executors,
                lambda executor: DBOS._recover_pending_workflows([executor]),
                stop,
                _WATCH_SECONDS,
            ),
        ),
        (keep_sweeping, (desk, stop, _SWEEP_SECONDS)),
    ):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    stop.wait()
    LOG.info("stopping: the steps in hand are ended, the rest goes on in the next worker")
    if not workplace.stop(STOP_SECONDS):
        LOG.info("a step takes too long and will be done again")
    # Workflows wait at their next step, for ever if need be: only the end of the process ends
    # them without an outcome. It is a tidy kill.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code())


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s worker: %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    # DBOS tells of every job that fails, with all of the stack; we have told of it already.
    logging.getLogger("dbos").addFilter(lambda record: "background workflow" not in record.msg)
