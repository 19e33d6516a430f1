"""The service for tests, in a thread or as the command, with or without jobs; and a client."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import uvicorn

from fast_style.service.app import create_app
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.settings import ServiceSettings
from tests.commands import environment

PATIENCE = 120.0


@dataclass(frozen=True)
class Answer:
    """An answer of the service."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def zip(self) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}


class Client:
    """Sends requests to a service on the loopback."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._pool = urllib3.PoolManager(retries=False, timeout=30)

    def ask(self, method: str, path: str, key: str = "", **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if key:
            headers["X-API-Key"] = key
        got = self._pool.request(method, self.address + path, headers=headers, **options)
        return Answer(got.status, got.headers, got.data)

    def get(self, path: str, key: str = "") -> Answer:
        return self.ask("GET", path, key)

    def metrics(self) -> str:
        return self.get("/metrics").content.decode()

    def post(self, fields: list[tuple[str, Any]], key: str = "", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", "/v1/jobs", key, fields=fields, headers=named)

    def wait(self, place: str, *states: str, key: str = "") -> dict[str, Any]:
        """Wait until a job is in one of these states."""
        end = time.monotonic() + PATIENCE
        while True:
            job = self.get(place, key).json
            if job["state"] in states:
                return job
            assert time.monotonic() < end, job
            assert job["state"] in ("queued", "running"), job
            time.sleep(0.05)


def batch_form(photos: Mapping[str, bytes], style: str, **options: Any) -> list[tuple[str, Any]]:
    """The form of a batch."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in photos.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    fields = [("kind", "batch"), ("style", style), *((k, str(v)) for k, v in options.items())]
    return [*fields, ("photos", ("photos.zip", file.getvalue()))]


def optimize_form(photo: bytes, *paintings: bytes, **options: Any) -> list[tuple[str, Any]]:
    """The form of an optimisation."""
    fields = [("kind", "optimize"), *((k, str(v)) for k, v in options.items())]
    files = [("painting", (f"{n}.png", data)) for n, data in enumerate(paintings)]
    return [*fields, ("photo", ("photo.png", photo)), *files]


@contextmanager
def running(settings: ServiceSettings, jobs: JobSettings | None = None) -> Iterator[Client]:
    """Run the service in a thread."""
    app = create_app(settings, jobs)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # see service/server.py
        config = uvicorn.Config(app, log_config=None, ws="none", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            end = time.monotonic() + PATIENCE
            while not server.started:
                assert thread.is_alive(), "the service did not start"
                assert time.monotonic() < end
                time.sleep(0.02)
            client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}")
            client.app = app  # type: ignore[attr-defined]
            yield client
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Process:
    """A command of the package in a process, which tests may kill; it appends its log to a file."""

    def __init__(self, log: Path, *arguments: object) -> None:
        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "fast_style", *map(str, arguments)],
                env={**environment(), "OMP_NUM_THREADS": "1"},
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        self._process.terminate()
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def end(self) -> None:
        if self.alive:
            self.stop()


def children(pid: int) -> dict[int, str]:
    """Return the child processes of a process, with their command lines."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(") ")[2].split()[1])
            if parent == pid:
                line = (status.parent / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(status.parent.name)] = line.decode()
        except (OSError, ValueError, IndexError):  # the process has ended
            continue
    return found


def worker_of(server: Process) -> int | None:
    """Return the process id of the service's own worker, None while there is none."""
    for pid, line in children(server.pid).items():
        if " worker " in line:
            return pid
    return None


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
