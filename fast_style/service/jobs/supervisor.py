"""The service's own worker: a process beside it, started again when it dies, gone when it goes."""

import os
import subprocess
import sys
import threading
import time

from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.worker import STOP_SECONDS

_SHORTEST_LIFE = 10.0
_LONGEST_PAUSE = 30.0


class WorkerProcess:
    """Keeps one worker running.

    The worker holds the other end of a pipe: when this process ends, however it does, the pipe
    closes and the worker stops.
    """

    def __init__(self, settings: JobSettings) -> None:
        """See the class; nothing runs before `start`."""
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
        self._thread = threading.Thread(target=self._keep, name="worker-keeper", daemon=True)

    @property
    def pid(self) -> int | None:
        """The worker's process id; None while none runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the worker, and start it again whenever it ends."""
        self._thread.start()

    def stop(self) -> None:
        """Let the worker end its steps, and end it."""
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
            began = time.monotonic()
            with self._guard:
                if self._stop.is_set():
                    return
                self._process = process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    env=self._environment,
                    start_new_session=True,  # Ctrl-C is the service's to pass on
                )
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
            if time.monotonic() - began > _SHORTEST_LIFE:
                pause = 0.0
            else:  # one that cannot even start is not started a hundred times a second
                pause = min(_LONGEST_PAUSE, max(0.5, 2 * pause))
