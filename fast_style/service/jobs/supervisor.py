"""Keeps the service's own worker running: a child process that is restarted when it dies."""

import os
import subprocess
import sys
import threading
import time

from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.worker import STOP_SECONDS

_MIN_UPTIME = 10.0
"""A worker that runs for a shorter time, in seconds, is restarted after a growing pause."""

_MAX_PAUSE = 30.0

_FAILING = 2
"""Short lives of a worker in a row that count as a failure; one may be a kill."""


class WorkerSupervisor:
    """Keeps one worker process running.

    The worker's stdin is a pipe: when this process ends, in whatever way, the pipe is closed and
    the worker stops.
    """

    def __init__(self, settings: JobSettings) -> None:
        """Prepare the command; nothing is started."""
        self._command = [
            *(sys.executable, "-m", "fast_style", "worker", "--with-parent"),
            *settings.worker_options(),
        ]
        self._environment = {
            **os.environ,
            **settings.worker_environment(),
            "PYTHONUNBUFFERED": "1",
        }
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._short_lives, self._began = 0, 0.0
        self._thread = threading.Thread(target=self._keep, name="worker-supervisor", daemon=True)

    @property
    def pid(self) -> int | None:
        """The worker's process id; None while none runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def failing(self) -> bool:
        """Whether the worker has ended at once several times, and has not stayed up since."""
        return self._short_lives >= _FAILING and time.monotonic() - self._began < _MIN_UPTIME

    def start(self) -> None:
        """Start the worker, and restart it whenever it ends."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the worker after its running steps."""
        self._stop.set()
        with self._guard:
            process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS + 4)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._thread.join()

    def _keep(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            with self._guard:
                if self._stop.is_set():
                    return
                self._began = time.monotonic()
                self._process = process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    env=self._environment,
                    start_new_session=True,  # the service handles Ctrl-C
                )
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
            if time.monotonic() - self._began > _MIN_UPTIME:
                pause, self._short_lives = 0.0, 0
            else:  # a worker that cannot start must not be restarted without a pause
                pause, self._short_lives = (
                    min(_MAX_PAUSE, max(0.5, 2 * pause)),
                    self._short_lives + 1,
                )
