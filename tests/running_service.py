"""The command `fast-style serve` as a process of its own, for tests."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.commands import environment

PATIENCE = 60.0


@dataclass(frozen=True)
class Running:
    """A running service."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    client: httpx.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def metric(self, name: str) -> float:
        for line in self.client.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise AssertionError(f"/metrics has no {name}")

    def until(self, name: str, value: float) -> None:
        """Wait until a metric has a value."""
        end = time.monotonic() + PATIENCE
        while (seen := self.metric(name)) != value:
            assert time.monotonic() < end, f"{name} is {seen}"
            time.sleep(0.02)

    def decoders(self) -> list[int]:
        """Return the ids of its decoding processes."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = path.read_text().rpartition(")")[2].split()
                command = path.with_name("cmdline").read_bytes()
            except OSError:  # the process has ended
                continue
            if int(words[1]) == self.process.pid and b"decoder_process" in command:
                found.append(int(path.parent.name))
        return found

    def signal_decoders(self, number: int) -> None:
        for process in self.decoders():
            os.kill(process, number)


@contextmanager
def running(
    folder: Path, *options: object, descriptors: int | None = None, **variables: str
) -> Iterator[Running]:
    """Run the service in a folder until it is ready; kill it at the end.

    Args:
        folder: where it runs.
        options: of `fast-style serve`.
        descriptors: the limit of its open files; None for that of the tests.
        variables: of its environment.
    """
    log = folder / "service.log"
    command = [sys.executable, "-W", "error", "-m", "fast_style", "serve", "--port", "0"]
    command += ["--no-jobs", *map(str, options)]
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh", *command]
    variables_of_it: Mapping[str, str] = {**environment(), **variables}
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=folder, stderr=sink, env=variables_of_it)
    # Connections are not reused: the service may close idle ones at any time.
    limits = httpx.Limits(max_keepalive_connections=0)
    try:
        with httpx.Client(verify=False, timeout=PATIENCE, limits=limits) as client:
            end = time.monotonic() + PATIENCE
            while b"serving on" not in (text := log.read_bytes()):
                assert process.poll() is None, text
                assert time.monotonic() < end, text
                time.sleep(0.02)
            port = int(text.split(b"\n")[0].rpartition(b":")[2])
            service = Running(process, port, log, client)
            while client.get(f"{service.url}/readyz").status_code != 200:
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.02)
            yield service
    finally:
        process.kill()
        process.wait()
