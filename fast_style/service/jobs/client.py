"""The client of the job queue: submits, finds, lists and cancels jobs, and does no work.

States are those of DBOS; a job that has ended is expired once its time is over or its files are
deleted.
"""

import hashlib
import json
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from fast_style import errors
from fast_style.errors import JobError, KeyReusedError, MissingExtraError, QueueFullError
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.spec import JobSpec
from fast_style.storage.object_store import ObjectStore

if TYPE_CHECKING:
    from dbos import DBOSClient, WorkflowStatus

APPLICATION = "fast-style"
VERSION = "jobs-1"
"""The version of what is stored in the database, not of the release: an upgraded worker continues
older jobs.

It must change if a workflow's steps change so that they cannot continue from older records; then
both forms must be supported for a while, see DBOS.patch."""

QUEUE = "jobs"
ENDED = ("done", "failed", "cancelled", "expired")
PROGRESS = "progress.json"

State = Literal["queued", "running", "done", "failed", "cancelled", "expired"]

_UNITS = {"batch": "photos", "optimize": "iterations", "video": "frames"}

_STATES: dict[str, State] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now.

    Attributes:
        id: 32 hexadecimal digits.
        spec: its options and inputs.
        state: its state.
        created: when it was submitted, in seconds since 1970.
        started: when a worker last began or continued it, or None.
        ended: when it ended, or None.
        output: the result of the workflow: `result` (name of a file), `media_type`, and figures.
        error: a sentence, if it failed.
    """

    id: str
    spec: JobSpec
    state: State
    created: float
    started: float | None
    ended: float | None
    output: Mapping[str, Any]
    error: str | None

    @property
    def expires(self) -> float | None:
        """When its files are deleted, in seconds since 1970; None until it has ended."""
        return None if self.ended is None else self.ended + self.spec.expiry_seconds


class JobClient:
    """Access to the database and the files of jobs; safe to use from several threads.

    Attributes:
        store: the files.
    """

    def __init__(self, settings: JobSettings) -> None:
        """Open the database, which is created if necessary.

        Raises:
            MissingExtraError: a package of the extra `serve` is not installed.
            JobError: the database cannot be reached.
            FastStyleError: the folder or URL for results cannot be used.
        """
        self._settings = settings
        self.store = ObjectStore(settings.results, extra="serve")
        self.store.create_folder()
        self.store.check_writable()
        prepare_database(settings)
        self._client = _client(settings)
        self._submitting = threading.Lock()

    def close(self) -> None:
        """Close the database."""
        self._client.destroy()

    def submit(
        self, spec: JobSpec, files: Mapping[str, IO[bytes]], *, owner: str = "", key: str = ""
    ) -> tuple[Job, bool]:
        """Submit a job, or find the one that was submitted with the same idempotency key.

        Args:
            spec: the job; `inputs` and `digest` are filled in here.
            files: the inputs by their names in the folder of inputs.
            owner: name of the client's API key, "" without keys.
            key: the idempotency key, "" for none.

        Returns:
            The job, and whether it is new.

        Raises:
            KeyReusedError: the key was used with another body.
            QueueFullError: the queue is full.
            OSError: the inputs cannot be stored.
        """
        from dbos import error as dbos_error

        job_id = _job_id(owner, key)
        digest = _digest(spec, files)
        if key and (existing := self.find(job_id)) is not None:
            return _check_same(existing, digest), False
        inputs = f"{job_id}/input-{digest[:16]}"
        stored = JobSpec.from_dict({**spec.to_dict(), "inputs": inputs, "digest": digest})
        with self._submitting:
            self._check_queue()
            for name, stream in files.items():
                self.store.write_stream(f"{inputs}/{name}", stream)
            try:
                self._client.enqueue(
                    {
                        "workflow_name": stored.kind,
                        "queue_name": QUEUE,
                        "workflow_id": job_id,
                        "workflow_id_reuse_policy": "reject",
                        "app_version": VERSION,
                        "authenticated_user": owner,
                    },
                    stored.to_dict(),
                )
            except dbos_error.DBOSWorkflowIDInUseError:
                # Another server received the same key a moment ago.
                existing = self.find(job_id)
                if existing is None:
                    raise
                if existing.spec.digest != digest:
                    self.store.delete_folder(inputs)
                return _check_same(existing, digest), False
        job = self.find(job_id)
        assert job is not None
        return job, True

    def find(self, job_id: str, *, owner: str | None = None) -> Job | None:
        """Find a job.

        Args:
            job_id: its id, as a client sent it.
            owner: name of the API key that it must belong to; None for any.
        """
        found = self._client.list_workflows(workflow_ids=[job_id])
        if not found or (owner is not None and (found[0].authenticated_user or "") != owner):
            return None
        return self._job(found[0])

    def list_jobs(self, owner: str, *, limit: int = 100) -> list[Job]:
        """List the jobs of an owner, the newest first."""
        found = self._client.list_workflows(
            user=owner, limit=limit, sort_desc=True, application_name=APPLICATION
        )
        return [self._job(status) for status in found]

    def cancel(self, job: Job) -> None:
        """Cancel a job that waits or runs; of one that has ended, delete the files."""
        if job.state in ENDED:
            self.store.delete_folder(job.id)
        else:
            self._client.cancel_workflow(job.id)

    def read_progress(self, job: Job) -> dict[str, Any]:
        """Read the progress of a job: `done`, `total`, `unit` and `losses`, after its last step."""
        total = job.spec.photos or job.spec.options.get("iterations", 0)
        blank: dict[str, Any] = {
            "done": 0,
            "total": total,
            "unit": _UNITS[job.spec.kind],
            "losses": [],
        }
        try:
            return {**blank, **json.loads(self.store.read(f"{job.id}/{PROGRESS}"))}
        except FileNotFoundError:
            return blank

    def count_waiting(self) -> int:
        """Count the jobs that wait for a worker."""
        return len(
            self._client.list_workflows(
                status=["ENQUEUED", "DELAYED"],
                queue_name=QUEUE,
                load_input=False,
                load_output=False,
                limit=self._settings.queue_limit,
            )
        )

    def ended_before(self, seconds: float, *, limit: int = 1000) -> list[str]:
        """Return the ids of jobs that ended this many seconds ago or earlier."""
        before = datetime.fromtimestamp(time.time() - seconds, UTC)
        old = self._client.list_workflows(
            completed_before=before.isoformat(),
            application_name=APPLICATION,
            load_input=False,
            load_output=False,
            limit=limit,
        )
        return [status.workflow_id for status in old]

    def forget(self, job_ids: Sequence[str]) -> None:
        """Delete jobs from the database."""
        if job_ids:
            self._client.delete_workflows([*job_ids])

    def _check_queue(self) -> None:
        if self.count_waiting() >= self._settings.queue_limit:
            raise QueueFullError(
                f"{self._settings.queue_limit} jobs wait already, as many as may wait: try "
                "again later"
            )

    def _job(self, status: "WorkflowStatus") -> Job:
        arguments = status.input["args"] if status.input else ()
        spec = JobSpec.from_dict(arguments[0])
        state = _STATES[status.status]
        ended = None
        if state in ENDED:
            ended = (status.completed_at or status.updated_at or 0) / 1000
            over = ended + spec.expiry_seconds <= time.time()
            if over or not self.store.exists(status.workflow_id):
                state = "expired"
        started = status.dequeued_at
        return Job(
            status.workflow_id,
            spec,
            state,
            (status.created_at or 0) / 1000,
            started / 1000 if started and state != "queued" else None,
            ended,
            status.output if isinstance(status.output, dict) else {},
            _error_sentence(status) if state == "failed" else None,
        )


def prepare_database(settings: JobSettings) -> None:
    """Create the database, or upgrade its tables.

    Raises:
        MissingExtraError: DBOS is not installed.
        JobError: it cannot be reached.
    """
    try:
        import sqlalchemy as sa
        from dbos import DBOS
    except ModuleNotFoundError as error:
        raise MissingExtraError("background jobs", "dbos", "serve") from error
    logging.getLogger("dbos").setLevel(logging.WARNING)
    try:
        if settings.sqlite_file is not None:
            settings.sqlite_file.parent.mkdir(parents=True, exist_ok=True)
            _check_sqlite_writable(settings.sqlite_file)
        DBOS.migrate(settings.database)
    except (sqlite3.Error, sa.exc.SQLAlchemyError, OSError) as error:
        shown = sa.make_url(settings.database).render_as_string(hide_password=True)
        plain = error.strerror if isinstance(error, OSError) else getattr(error, "orig", None)
        reason = " ".join(str(plain or error).split())
        raise JobError(f"the database {shown} cannot be opened: {reason}") from error


def _check_sqlite_writable(path: Path) -> None:
    """Begin a transaction that writes: a database that is complete is migrated without one.

    Raises:
        sqlite3.Error: it cannot be written, or is no database.
    """
    database = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute("PRAGMA user_version = 0")  # only a write finds that it is read-only
        database.execute("ROLLBACK")
    finally:
        database.close()


def _client(settings: JobSettings) -> "DBOSClient":
    from dbos import DBOSClient, DBOSPortableJSONSerializer

    return DBOSClient(
        system_database_url=settings.database,
        # JSON, not pickles: write access to the database must not allow to run code in a worker.
        serializer=DBOSPortableJSONSerializer(),
        application_name=APPLICATION,
        retry_connection_errors=False,  # the service answers 503 instead
    )


def _job_id(owner: str, key: str) -> str:
    """Return a random id, or one that depends on the owner and the idempotency key."""
    if not key:
        return secrets.token_hex(16)
    return hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()[:32]


def _digest(spec: JobSpec, files: Mapping[str, IO[bytes]]) -> str:
    digest = hashlib.sha256(json.dumps([spec.kind, spec.options], sort_keys=True).encode())
    for name, stream in sorted(files.items()):
        stream.seek(0)
        content = hashlib.sha256()
        while piece := stream.read(1 << 20):
            content.update(piece)
        digest.update(f"\0{name}\0{content.hexdigest()}".encode())
    return digest.hexdigest()


def _check_same(job: Job, digest: str) -> Job:
    if job.spec.digest != digest:
        raise KeyReusedError(
            "the Idempotency-Key was used with another body: use a new key for another job"
        )
    return job


def _error_sentence(status: "WorkflowStatus") -> str:
    """Return the error of a workflow as a sentence for the client."""
    if status.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        return "workers died at this job again and again, so it was given up"
    kind = getattr(status.error, "name", type(status.error).__name__)
    known = getattr(errors, str(kind), None)
    if isinstance(known, type) and issubclass(known, errors.FastStyleError):
        return str(status.error)
    return f"the worker failed ({kind}); see its log"
