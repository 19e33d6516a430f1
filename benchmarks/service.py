"""The service under load: the real command on the loopback interface, every answer checked.

    python -m benchmarks.service --style starry-night --requests 10000

Measured are: the throughput with 1, 4, 16 and 64 concurrent clients and photos of 512x512 pixels,
in rounds that alternate with rounds of the engine alone; an overload of more clients than the
service admits; and its memory over many requests. Every result is compared byte for byte with the
library's. The library may have two results for a photo, since concurrency changes the order of
summation.
"""

import argparse
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.photos import make_photo
from fast_style import Stylizer, encode_image, read_image
from fast_style.images.grain import add_grain
from fast_style.service.settings import ServiceSettings

SIDE = 512
PHOTOS = 8
CLIENTS = (1, 4, 16, 64)
OVERLOAD = 300
TIMEOUT = 120.0
BOUNDARY = "a-boundary-that-is-in-no-photo"


@dataclass(frozen=True)
class Case:
    """A request with a photo, and the possible bodies of its answer."""

    request: bytes
    wanted: tuple[bytes, ...]  # not a set: hashing takes ten times as long as comparing


@dataclass
class Tally:
    """The answers that clients received."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    started: float = 0.0
    ended: float = 0.0

    @property
    def rate(self) -> float:
        return self.statuses[200] / (self.ended - self.started)

    def quantile(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def make_photo_file(seed: int) -> bytes:
    buffer = io.BytesIO()
    make_photo(SIDE, SIDE, seed).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_cases(style: str) -> list[Case]:
    """Make photos, and the library's one or two results of each."""
    photos = [make_photo_file(seed) for seed in range(PHOTOS)]
    stylizer = Stylizer(style, concurrency=ServiceSettings().at_once)

    def make_picture(photo: bytes) -> bytes:
        return encode_image(stylizer.stylize_photo(read_image(photo)), format="JPEG")[0]

    alone = [make_picture(photo) for photo in photos]
    meeting = threading.Barrier(2)

    def make_pictures_concurrently(photo: bytes) -> set[bytes]:
        meeting.wait()
        return {make_picture(photo) for _ in range(8)}

    with ThreadPoolExecutor(2) as threads:
        several = list(threads.map(make_pictures_concurrently, photos))
    cases = []
    for photo, one, found in zip(photos, alone, several, strict=True):
        wanted = (one, *(found - {one}))
        if len(wanted) > 2:
            raise SystemExit(
                f"the library has {len(wanted)} results for one photo; expected at most 2"
            )
        cases.append(Case(make_request(photo, style), wanted))
    return cases


def make_request(photo: bytes, style: str) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    body = (
        f'{head}"style"\r\n\r\n{style}\r\n{head}"photo"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    body += photo + f"\r\n--{BOUNDARY}--\r\n".encode()
    return (
        "POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@contextmanager
def running_service(*options: str) -> Iterator[int]:
    """Run `fast-style serve`; yield its port once it is ready."""
    command = [sys.executable, "-m", "fast_style", "serve", "--no-jobs", "--port", "0", *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as sink:
            process = subprocess.Popen(command, cwd=folder, stderr=sink, env=make_environment())
        try:
            port = wait_for_port(log, process)
            wait_until_ready(port)
            yield port
        finally:
            process.terminate()
            process.wait(60)
            if "Traceback" in (text := log.read_text(errors="replace")):
                print(text, file=sys.stderr)


def make_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


def wait_for_port(log: Path, process: subprocess.Popen[bytes]) -> int:
    while process.poll() is None:
        first = log.read_text(errors="replace").partition("\n")
        if first[1] and "serving on" in first[0]:
            return int(first[0].rpartition(":")[2])
        time.sleep(0.02)
    raise SystemExit(f"the service ended: {log.read_text(errors='replace')}")


def wait_until_ready(port: int) -> None:
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)


def read_metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
    raise SystemExit(f"/metrics has no {name}")


class Client:
    """One connection, with as little overhead as possible."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self._buffer = bytearray(1 << 20)

    def post(self, case: Case) -> tuple[int, bytes | memoryview]:
        self._socket.sendall(case.request)
        view, end = memoryview(self._buffer), 0
        while (head := self._buffer.find(b"\r\n\r\n", 0, end)) < 0:
            end += self._receive(view[end:])
        text = bytes(view[:head]).lower()
        length = int(text.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while end < head + 4 + length:
            end += self._receive(view[end:])
        return int(text[9:12]), view[head + 4 : end]

    def _receive(self, view: memoryview) -> int:
        count = self._socket.recv_into(view)
        if not count:
            raise SystemExit("the service closed a connection")
        return count

    def close(self) -> None:
        self._socket.close()


def run_load(port: int, cases: list[Case], clients: int, seconds: float, most: int = 0) -> Tally:
    """Run concurrent clients, each of which sends its next request after each answer."""
    tally, lock, left = Tally(), threading.Lock(), [most or 1 << 60]
    barrier = threading.Barrier(clients + 1)
    failures: list[BaseException] = []

    def visit(number: int) -> None:
        client, own, turn = Client(port), Tally(), number
        try:
            barrier.wait()
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                with lock:
                    left[0] -= 1
                    if left[0] < 0:
                        break
                case = cases[turn % len(cases)]
                start = time.perf_counter()
                status, body = client.post(case)
                own.statuses[status] += 1
                if status == 200:
                    own.seconds.append(time.perf_counter() - start)
                    own.wrong += bytes(body) not in case.wanted
                else:
                    time.sleep(0.2)  # less than Retry-After, so that the overload continues
                turn += 1
        except BaseException as error:
            failures.append(error)
        finally:
            client.close()
            with lock:
                tally.seconds += own.seconds
                tally.statuses += own.statuses
                tally.wrong += own.wrong

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    barrier.wait()
    tally.started = time.perf_counter()
    for thread in threads:
        thread.join()
    tally.ended = time.perf_counter()
    if failures:
        raise SystemExit(f"a client failed: {failures[0]!r}")
    if tally.wrong:
        raise SystemExit(f"{tally.wrong} answers differ from the library's results")
    return tally


def measure_engine(stylizer: Stylizer, seconds: float) -> float:
    """Return the engine's pictures per second, on decoded pixels."""
    pictures = [
        add_grain(read_image(make_photo_file(seed)).pixels, stylizer.card.grain)[None]
        for seed in range(PHOTOS)
    ]
    for picture in pictures[:3]:
        stylizer.engine.predict(picture)
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        stylizer.engine.predict(pictures[count % PHOTOS])
        count += 1
    return count / (time.perf_counter() - start)


def measure_library(stylizer: Stylizer, seconds: float) -> float:
    """Return the library's pictures per second, sequentially from file to file."""
    photos = [make_photo_file(seed) for seed in range(PHOTOS)]
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        stylized = stylizer.stylize_photo(read_image(photos[count % PHOTOS]))
        encode_image(stylized, format="JPEG")
        count += 1
    return count / (time.perf_counter() - start)


def measure_throughput(
    port: int, stylizer: Stylizer, cases: list[Case], seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """Measure the service in rounds, each between two of the engine alone; return medians.

    On a shared machine, the speed changes within a minute by more than the differences measured.
    """
    rows = []
    for clients in CLIENTS:
        run_load(port, cases, clients, 1.0)
        tally, rates, ratios = Tally(), [], []
        alone = [measure_engine(stylizer, seconds / 2)]
        for _ in range(rounds):
            part = run_load(port, cases, clients, seconds)
            alone.append(measure_engine(stylizer, seconds / 2))
            rates.append(part.rate)
            ratios.append(part.rate / statistics.mean(alone[-2:]))
            tally.seconds += part.seconds
            tally.statuses += part.statuses
        if set(tally.statuses) != {200}:
            raise SystemExit(f"with {clients} clients: {dict(tally.statuses)}")
        rows.append(
            {
                "clients": clients,
                "pictures": tally.statuses[200],
                "a second": round(statistics.median(rates), 2),
                "engine alone": round(statistics.median(alone), 2),
                "ratio": round(statistics.median(ratios), 3),
                "of rounds": f"{min(ratios):.2f} to {max(ratios):.2f}",
                "p50 ms": round(1000 * tally.quantile(0.5), 1),
                "p99 ms": round(1000 * tally.quantile(0.99), 1),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def measure_overload(port: int, cases: list[Case], seconds: float) -> dict[str, Any]:
    tally = run_load(port, cases, OVERLOAD, seconds)
    if set(tally.statuses) != {200, 503}:
        raise SystemExit(f"under overload: {dict(tally.statuses)}; expected 200 and 503 alone")
    return {
        "clients": OVERLOAD,
        "pictures": tally.statuses[200],
        "a second": round(tally.rate, 2),
        "refused with 503": tally.statuses[503],
        "p99 ms": round(1000 * tally.quantile(0.99), 1),
    }


def measure_memory(port: int, cases: list[Case], requests: int) -> dict[str, Any]:
    """Measure the resident memory of service and decoders after each tenth of the requests."""
    sizes = []
    for _ in range(10):
        run_load(port, cases, 16, 3600.0, most=requests // 10)
        sizes.append(round(read_metric(port, "fast_style_resident_bytes") / 1e6))
    return {"requests": requests // 10 * 10, "MB after each tenth": sizes}


def measure(style: str, seconds: float, rounds: int, requests: int) -> dict[str, Any]:
    """Measure everything."""
    stylizer = Stylizer(style)
    cases = make_cases(style)
    packages = ("openvino", "uvicorn", "fastapi", "pillow")
    document: dict[str, Any] = {"machine": describe_machine(*packages), "style": style}
    with running_service() as port:
        document["library, file to file, a second"] = round(
            measure_library(stylizer, seconds / 2), 2
        )
        document["throughput"] = measure_throughput(port, stylizer, cases, seconds, rounds)
        document["overload"] = measure_overload(port, cases, 2 * seconds)
        if requests:
            document["memory"] = measure_memory(port, cases, requests)
    return document


def print_report(document: dict[str, Any]) -> None:
    print(document["machine"])
    print("style:", document["style"])
    print("library, file to file, pictures a second:", document["library, file to file, a second"])
    rows = document["throughput"]
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")
    print("overload:", json.dumps(document["overload"]))
    if "memory" in document:
        print("memory:", json.dumps(document["memory"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--style", default="starry-night", help="name of the style")
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds of each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--requests", type=int, default=10_000, help="requests for measuring the memory"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    document = measure(arguments.style, arguments.seconds, arguments.rounds, arguments.requests)
    print_report(document)
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
