"""The service under load: the real command, on the loopback, every answer checked.

    python -m benchmarks.service --style starry-night --requests 10000

The service's throughput with 1, 4, 16 and 64 clients at once and photos of 512x512 pixels, in
rounds, each between two of the engine alone; then more clients than it has places for; then its
memory over many requests. Every picture is compared, byte for byte, with what the library
makes of the photo: alone, or beside others, where sums are rounded in another order.
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
PATIENCE = 120.0
BOUNDARY = "a-boundary-that-is-in-no-photo"


@dataclass(frozen=True)
class Case:
    """A photo as a whole request, and what the answer's body may be."""

    request: bytes
    wanted: tuple[bytes, ...]  # no set: hashing a picture takes ten times as long as comparing it


@dataclass
class Tally:
    """What clients have seen."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    begun: float = 0.0
    ended: float = 0.0

    @property
    def rate(self) -> float:
        return self.statuses[200] / (self.ended - self.begun)

    def quantile(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def photo_file(seed: int) -> bytes:
    buffer = io.BytesIO()
    make_photo(SIDE, SIDE, seed).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_cases(style: str) -> list[Case]:
    """Photos, and the pictures that the library makes of them, at most two of each."""
    photos = [photo_file(seed) for seed in range(PHOTOS)]
    stylizer = Stylizer(style, concurrency=ServiceSettings().at_once)

    def picture(photo: bytes) -> bytes:
        return encode_image(stylizer.stylize_photo(read_image(photo)), format="JPEG")[0]

    alone = [picture(photo) for photo in photos]
    meeting = threading.Barrier(2)

    def beside(photo: bytes) -> set[bytes]:
        meeting.wait()
        return {picture(photo) for _ in range(8)}

    with ThreadPoolExecutor(2) as threads:
        several = list(threads.map(beside, photos))
    cases = []
    for photo, one, found in zip(photos, alone, several, strict=True):
        wanted = (one, *(found - {one}))
        if len(wanted) > 2:
            raise SystemExit(f"the library makes {len(wanted)} pictures of one photo")
        cases.append(Case(request_for(photo, style), wanted))
    return cases


def request_for(photo: bytes, style: str) -> bytes:
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
    """The command `fast-style serve`, ready; gives its port."""
    command = [sys.executable, "-m", "fast_style", "serve", "--no-jobs", "--port", "0", *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as sink:
            process = subprocess.Popen(command, cwd=folder, stderr=sink, env=environment())
        try:
            port = wait_for_port(log, process)
            wait_until_ready(port)
            yield port
        finally:
            process.terminate()
            process.wait(60)
            if "Traceback" in (text := log.read_text(errors="replace")):
                print(text, file=sys.stderr)


def environment() -> dict[str, str]:
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


def metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
    raise SystemExit(f"/metrics has no {name}")


class Client:
    """One connection, which costs the machine as little as it can."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._buffer = bytearray(1 << 20)

    def post(self, case: Case) -> tuple[int, bytes | memoryview]:
        self._socket.sendall(case.request)
        view, end = memoryview(self._buffer), 0
        while (head := self._buffer.find(b"\r\n\r\n", 0, end)) < 0:
            end += self._received(view[end:])
        text = bytes(view[:head]).lower()
        length = int(text.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while end < head + 4 + length:
            end += self._received(view[end:])
        return int(text[9:12]), view[head + 4 : end]

    def _received(self, view: memoryview) -> int:
        count = self._socket.recv_into(view)
        if not count:
            raise SystemExit("the service closed a connection")
        return count

    def close(self) -> None:
        self._socket.close()


def load(port: int, cases: list[Case], clients: int, seconds: float, most: int = 0) -> Tally:
    """So many clients at once, each asking again as soon as it has its answer."""
    tally, lock, left = Tally(), threading.Lock(), [most or 1 << 60]
    barrier = threading.Barrier(clients + 1)
    trouble: list[BaseException] = []

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
                    time.sleep(0.2)  # less than the Retry-After, so that it stays too much
                turn += 1
        except BaseException as error:
            trouble.append(error)
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
    tally.begun = time.perf_counter()
    for thread in threads:
        thread.join()
    tally.ended = time.perf_counter()
    if trouble:
        raise SystemExit(f"a client failed: {trouble[0]!r}")
    if tally.wrong:
        raise SystemExit(f"{tally.wrong} answers are not the library's picture")
    return tally


def engine_alone(stylizer: Stylizer, seconds: float) -> float:
    """Pictures a second of the engine, on pixels that are there already."""
    pictures = [
        add_grain(read_image(photo_file(seed)).pixels, stylizer.card.grain)[None]
        for seed in range(PHOTOS)
    ]
    for picture in pictures[:3]:
        stylizer.engine.predict(picture)
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        stylizer.engine.predict(pictures[count % PHOTOS])
        count += 1
    return count / (time.perf_counter() - start)


def library_alone(stylizer: Stylizer, seconds: float) -> float:
    """Pictures a second of the library from file to file, one after the other."""
    photos = [photo_file(seed) for seed in range(PHOTOS)]
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        stylized = stylizer.stylize_photo(read_image(photos[count % PHOTOS]))
        encode_image(stylized, format="JPEG")
        count += 1
    return count / (time.perf_counter() - start)


def throughput(
    port: int, stylizer: Stylizer, cases: list[Case], seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """The service's rate between two of the engine alone, again and again; medians of rounds.

    On a machine that others use too, speed changes within a minute by more than what is measured.
    """
    rows = []
    for clients in CLIENTS:
        load(port, cases, clients, 1.0)
        tally, rates, ratios = Tally(), [], []
        alone = [engine_alone(stylizer, seconds / 2)]
        for _ in range(rounds):
            part = load(port, cases, clients, seconds)
            alone.append(engine_alone(stylizer, seconds / 2))
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


def overload(port: int, cases: list[Case], seconds: float) -> dict[str, Any]:
    tally = load(port, cases, OVERLOAD, seconds)
    if set(tally.statuses) != {200, 503}:
        raise SystemExit(f"under overload: {dict(tally.statuses)}; expected 200 and 503 alone")
    return {
        "clients": OVERLOAD,
        "pictures": tally.statuses[200],
        "a second": round(tally.rate, 2),
        "refused with 503": tally.statuses[503],
        "p99 ms": round(1000 * tally.quantile(0.99), 1),
    }


def memory(port: int, cases: list[Case], requests: int) -> dict[str, Any]:
    """Resident memory of service and decoders after each tenth of so many requests."""
    sizes = []
    for _ in range(10):
        load(port, cases, 16, 3600.0, most=requests // 10)
        sizes.append(round(metric(port, "fast_style_resident_bytes") / 1e6))
    return {"requests": requests // 10 * 10, "MB after each tenth": sizes}


def measure(style: str, seconds: float, rounds: int, requests: int) -> dict[str, Any]:
    """All figures."""
    stylizer = Stylizer(style)
    cases = make_cases(style)
    packages = ("openvino", "uvicorn", "fastapi", "pillow")
    document: dict[str, Any] = {"machine": describe_machine(*packages), "style": style}
    with running_service() as port:
        document["library, file to file, a second"] = round(library_alone(stylizer, seconds / 2), 2)
        document["throughput"] = throughput(port, stylizer, cases, seconds, rounds)
        document["overload"] = overload(port, cases, 2 * seconds)
        if requests:
            document["memory"] = memory(port, cases, requests)
    return document


def show(document: dict[str, Any]) -> None:
    print(document["machine"])
    print("style:", document["style"])
    print("the library alone, file to file:", document["library, file to file, a second"])
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
    parser.add_argument("--style", default="starry-night", help="a name, of whatever size")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=10_000, help="to watch the memory over")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    document = measure(arguments.style, arguments.seconds, arguments.rounds, arguments.requests)
    show(document)
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
