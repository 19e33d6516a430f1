"""Which workers are alive: a lock that the operating system or the server lets go when one dies.

No clock is compared and no heartbeat written. In SQLite there is one worker to a database, which
holds a lock on a small file beside it. In PostgreSQL each worker holds an advisory lock of its own
session; what a worker has begun whose lock is free is taken over by another.
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

_SPACE = 0x4653  # "FS": advisory locks of other programs in the same database have another number
_PING_SECONDS = 2.0


class Liveness(Protocol):
    """A worker's sign of life.

    Attributes:
        executor: the worker's name in the database.
    """

    executor: str

    def dead(self, executor: str) -> bool:
        """Tell whether a worker of that name is gone, and keep others from asking until `free`."""

    def free(self, executor: str) -> None:
        """Let others ask for it again."""

    def close(self) -> None:
        """Give the sign of life up."""


def sign_of_life(settings: JobSettings, *, wait_seconds: float = 30.0) -> Liveness:
    """Give a worker's sign of life.

    Args:
        settings: `database` is looked at.
        wait_seconds: how long to wait for a worker before, which may be about to end.

    Raises:
        JobError: another worker has the SQLite database, or PostgreSQL cannot be reached.
    """
    if settings.sqlite_file is not None:
        return _FileLock(settings.sqlite_file, wait_seconds)
    return _SessionLock(settings.database)


class _FileLock:
    """One worker a database; DBOS takes up by itself what was begun under the same name."""

    executor = "local"

    def __init__(self, database: Path, wait_seconds: float) -> None:
        path = database.with_name(database.name + "-worker")
        # SQLite's own locking works on every system; nothing is ever written into this file.
        self._lock = sqlite3.connect(path, timeout=wait_seconds, check_same_thread=False)
        self._lock.isolation_level = None
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            self._lock.close()
            raise JobError(
                f"another worker has the database {database}: SQLite is for one worker, several "
                "need PostgreSQL (--database postgresql://...)"
            ) from error

    def dead(self, executor: str) -> bool:
        return False  # there is no other

    def free(self, executor: str) -> None:
        pass

    def close(self) -> None:
        self._lock.close()


class _SessionLock:
    """Each worker a number, locked as long as its session with the server lasts."""

    def __init__(self, database: str) -> None:
        self._url = database.replace("postgresql+psycopg://", "postgresql://", 1)
        self._number = secrets.randbelow(2**31 - 1)
        self.executor = f"worker-{self._number}"
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._session: Any = None
        self._connect()
        threading.Thread(target=self._keep, name="sign-of-life", daemon=True).start()

    def dead(self, executor: str) -> bool:
        number = executor.removeprefix("worker-")
        if executor == self.executor or not number.isdecimal():
            return False
        return self._ask("pg_try_advisory_lock", int(number))

    def free(self, executor: str) -> None:
        self._ask("pg_advisory_unlock", int(executor.removeprefix("worker-")))

    def close(self) -> None:
        self._closing.set()
        with self._guard:
            self._session.close()

    def _connect(self) -> None:
        import psycopg

        try:
            # A host that vanishes without a word is noticed by the server within half a minute.
            options = (
                "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
            )
            self._session = psycopg.connect(
                self._url, autocommit=True, application_name=self.executor, options=options
            )
        except psycopg.Error as error:
            raise JobError(f"the database cannot be reached: {error}".strip()) from error
        if not self._ask("pg_try_advisory_lock", self._number):
            raise JobError(f"the sign of life of {self.executor} is taken")

    def _ask(self, function: str, number: int) -> bool:
        with self._guard:
            query = f"SELECT {function}(%s, %s)"
            return bool(self._session.execute(query, (_SPACE, number)).fetchone()[0])

    def _keep(self) -> None:
        """Notice that the session is lost, and get a new one.

        Others may take over meanwhile what this worker is at. Then DBOS refuses what this one
        would record, and the files are the same by name and content.
        """
        import psycopg

        while not self._closing.wait(_PING_SECONDS):
            try:
                with self._guard:
                    self._session.execute("SELECT 1")
            except psycopg.Error:
                if self._closing.is_set():
                    return
                LOG.warning("the database is gone; trying to reach it again")
                try:
                    self._connect()
                except JobError as error:
                    LOG.warning("%s", error)


def watch(
    liveness: Liveness,
    executors: Callable[[], set[str]],
    take_over: Callable[[str], None],
    stop: threading.Event,
    seconds: float,
) -> None:
    """Take over from dead workers, again and again until `stop`.

    Args:
        liveness: of this worker.
        executors: names the workers that have jobs in hand.
        take_over: is given the name of a dead one.
        stop: ends it.
        seconds: from one look to the next.
    """
    while not stop.wait(seconds):
        began = time.monotonic()
        try:
            for executor in executors() - {liveness.executor}:
                if liveness.dead(executor):
                    LOG.info("%s is gone: its jobs are taken over", executor)
                    try:
                        take_over(executor)
                    finally:
                        liveness.free(executor)
        except Exception as error:  # the database is away: the next look will tell
            LOG.warning("workers could not be looked after (%s)", error)
            stop.wait(min(30.0, time.monotonic() - began))
