"""Leases of workers: locks that the operating system or the server releases when a worker dies.

There are no heartbeats and no clocks to compare. With SQLite there is one worker per database,
which holds a lock on a small file beside it. With PostgreSQL each worker holds an advisory lock of
its own session; the jobs of a worker whose lock is free are taken over by another.
"""

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from fast_style.errors import JobError
from fast_style.service.jobs.context import LOG
from fast_style.service.jobs.settings import JobSettings

_LOCK_SPACE = 0x4653  # "FS": other programs in the same database use other numbers
_PING_SECONDS = 2.0


class WorkerLease(Protocol):
    """Shows to other workers that a worker is alive.

    Attributes:
        executor: the worker's name in the database.
    """

    executor: str

    def claim_if_dead(self, executor: str) -> bool:
        """Return whether a worker is dead; if so, no other can claim it until `release`."""

    def release(self, executor: str) -> None:
        """Release the claim of a dead worker."""

    def close(self) -> None:
        """Give up the lease."""


def acquire_lease(settings: JobSettings, *, wait_seconds: float = 30.0) -> WorkerLease:
    """Acquire the lease of a new worker.

    Args:
        settings: `database` is used.
        wait_seconds: how long to wait for a previous worker, which may be about to end.

    Raises:
        JobError: another worker uses the SQLite database, or PostgreSQL cannot be reached.
    """
    if settings.sqlite_file is not None:
        return _SqliteLease(settings.sqlite_file, wait_seconds)
    return _PostgresLease(settings.database)


class _SqliteLease:
    """One worker per database; DBOS itself continues the jobs of an executor of the same name."""

    executor = "local"

    def __init__(self, database: Path, wait_seconds: float) -> None:
        path = database.with_name(database.name + "-worker")
        # SQLite's locking works on every system; nothing is written into this file.
        self._lock = sqlite3.connect(path, timeout=wait_seconds, check_same_thread=False)
        self._lock.isolation_level = None
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            self._lock.close()
            raise JobError(
                f"another worker uses the database {database}: SQLite is for one worker, several "
                "need PostgreSQL (--database postgresql://...)"
            ) from error

    def claim_if_dead(self, executor: str) -> bool:
        return False  # there is no other worker

    def release(self, executor: str) -> None:
        pass

    def close(self) -> None:
        self._lock.close()


class _PostgresLease:
    """A number for each worker, locked as long as its session with the server lasts."""

    def __init__(self, database: str) -> None:
        self._url = database.replace("postgresql+psycopg://", "postgresql://", 1)
        self._number = secrets.randbelow(2**31 - 1)
        self.executor = f"worker-{self._number}"
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._session: Any = None
        self._connect()
        threading.Thread(target=self._keep, name="worker-lease", daemon=True).start()

    def claim_if_dead(self, executor: str) -> bool:
        number = executor.removeprefix("worker-")
        if executor == self.executor or not number.isdecimal():
            return False
        return self._call("pg_try_advisory_lock", int(number))

    def release(self, executor: str) -> None:
        self._call("pg_advisory_unlock", int(executor.removeprefix("worker-")))

    def close(self) -> None:
        self._closing.set()
        with self._guard:
            self._session.close()

    def _connect(self) -> None:
        import psycopg

        try:
            # The server notices within half a minute that a host has vanished.
            options = (
                "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
            )
            self._session = psycopg.connect(
                self._url, autocommit=True, application_name=self.executor, options=options
            )
        except psycopg.Error as error:
            raise JobError(f"the database cannot be reached: {error}".strip()) from error
        if not self._call("pg_try_advisory_lock", self._number):
            raise JobError(f"another worker has the lock of {self.executor}")

    def _call(self, function: str, number: int) -> bool:
        with self._guard:
            query = f"SELECT {function}(%s, %s)"
            return bool(self._session.execute(query, (_LOCK_SPACE, number)).fetchone()[0])

    def _keep(self) -> None:
        """Reconnect whenever the session is lost.

        Meanwhile another worker may take over the jobs of this one. Then DBOS refuses the results
        of this worker, and its files have the same names and contents.
        """
        import psycopg

        while not self._closing.wait(_PING_SECONDS):
            try:
                with self._guard:
                    self._session.execute("SELECT 1")
            except psycopg.Error:
                if self._closing.is_set():
                    return
                LOG.warning("the connection to the database is lost; connecting again")
                try:
                    self._connect()
                except JobError as error:
                    LOG.warning("%s", error)


def take_over_dead_workers(
    lease: WorkerLease,
    busy_executors: Callable[[], set[str]],
    take_over: Callable[[str], None],
    stop: threading.Event,
    seconds: float,
) -> None:
    """Take over the jobs of dead workers, repeatedly until `stop` is set.

    Args:
        lease: of this worker.
        busy_executors: returns the names of the workers that have running jobs.
        take_over: called with the name of a dead worker.
        stop: the stop flag.
        seconds: the time from one check to the next.
    """
    while not stop.wait(seconds):
        began = time.monotonic()
        try:
            for executor in busy_executors() - {lease.executor}:
                if lease.claim_if_dead(executor):
                    LOG.info("%s is dead: its jobs are taken over", executor)
                    try:
                        take_over(executor)
                    finally:
                        lease.release(executor)
        except Exception as error:  # the database cannot be reached for now
            LOG.warning("dead workers could not be looked for (%s)", error)
            stop.wait(min(30.0, time.monotonic() - began))
