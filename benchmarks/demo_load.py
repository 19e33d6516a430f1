"""The demo under load, and from cold: the real command, on the loopback.

    python -m benchmarks.demo_load --visitors 20 --seconds 120

From cold: the time from the command to a page that can be used, and from an upload to its picture,
as a browser sees them. Under load: visitors who speak the page's protocol and each upload photos of
their own over and over; each picture that comes back is compared, byte for byte, with what the
library makes of that visitor's photo.
"""

import argparse
import asyncio
import base64
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from benchmarks.demo_visitor import Visitor
from benchmarks.machine import describe_machine
from benchmarks.photos import make_photo
from fast_style import Stylizer, encode_image, read_image

PHOTOS_EACH = 2
SIZE = (768, 512)
STYLE = "starry-night"
QUALITY = 88  # of what the page shows
PATIENCE = 60_000
UPLOADER = ".st-key-upload input[type=file]"  # there is one for models too


@contextmanager
def running_demo(port: int) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """The command `fast-style demo`, and when it was given."""
    command = [sys.executable, "-m", "fast_style", "demo", "--no-browser", "--port", str(port)]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            yield process, start
        finally:
            process.terminate()
            process.wait(30)
            log.seek(0)
            if b"Traceback" in (text := log.read()):
                print(text.decode(errors="replace"), file=sys.stderr)


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return int(server.getsockname()[1])


async def answering(port: int) -> None:
    """Wait until the server is up."""
    while True:
        try:
            urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=1).close()
            return
        except OSError:
            await asyncio.sleep(0.02)


def photo_file(folder: Path, visitor: int, number: int) -> Path:
    path = folder / f"visitor-{visitor}-photo-{number}.jpg"
    make_photo(*SIZE, seed=1000 * visitor + number).save(path, quality=90)
    return path


def expected(stylizer: Stylizer, path: Path) -> bytes:
    stylized = stylizer.stylize_photo(read_image(path), size=1024)
    return encode_image(stylized, format="JPEG", quality=QUALITY)[0]


async def upload(page: Page, path: Path) -> tuple[float, bytes]:
    """Upload a photo; give the seconds until its picture is seen, and the picture's file."""
    start = time.perf_counter()
    await page.locator(UPLOADER).set_input_files(path)
    image = page.get_by_alt_text(f"{path.name} in the style of")
    await image.wait_for(timeout=PATIENCE)
    source = await image.get_attribute("src")
    seconds = time.perf_counter() - start
    return seconds, base64.b64decode((source or "").partition(",")[2])


async def from_cold(browser: Browser, photo: Path, wanted: bytes) -> dict[str, float]:
    """Start the command and use the page as soon as it is there."""
    port = free_port()
    with running_demo(port) as (_, start):
        await answering(port)
        page = await browser.new_page()
        await page.goto(f"http://localhost:{port}/?style={STYLE}")
        await page.locator("[data-testid=stFileUploaderDropzone] button").first.wait_for()
        usable = time.perf_counter() - start
        seconds, picture = await upload(page, photo)
        await page.close()
    if picture != wanted:
        raise SystemExit("from cold: not the picture that the library gives")
    return {"usable": usable, "first_result": seconds}


def resident(process: subprocess.Popen[bytes]) -> int:
    """Memory of the demo, in bytes."""
    with open(f"/proc/{process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def visit(
    port: int, files: list[tuple[Path, bytes]], end: float, counts: dict[str, Any]
) -> None:
    """One visitor, until the time is up."""
    number = 0
    async with Visitor(port, STYLE) as visitor:
        while time.perf_counter() < end:
            path, wanted = files[number % len(files)]
            seconds, picture = await visitor.upload(path)
            counts["seconds"].append(seconds)
            counts["mixed_up"] += picture != wanted
            number += 1
        counts["errors"] += len(visitor.trouble)


async def under_load(files: list[list[tuple[Path, bytes]]], seconds: float) -> dict[str, Any]:
    """All visitors at once."""
    port = free_port()
    counts: dict[str, Any] = {"seconds": [], "mixed_up": 0, "errors": 0}
    memory: list[tuple[float, int]] = []
    with running_demo(port) as (process, _):
        await answering(port)
        start = time.perf_counter()
        visits = [asyncio.create_task(visit(port, own, start + seconds, counts)) for own in files]
        waiting = asyncio.gather(*visits)
        while not waiting.done():
            memory.append((time.perf_counter() - start, resident(process)))
            await asyncio.sleep(1)
        await waiting
    taken = sorted(counts.pop("seconds"))
    half = [size for at, size in memory if at < seconds / 2]
    return counts | {
        "visitors": len(files),
        "seconds": round(memory[-1][0]),
        "pictures": len(taken),
        "median_seconds": round(statistics.median(taken), 2),
        "slowest_seconds": round(taken[-1], 2),
        "peak_mb_first_half": round(max(half) / 1e6),
        "peak_mb": round(max(size for _, size in memory) / 1e6),
        "end_mb": round(memory[-1][1] / 1e6),
    }


async def measure(visitors: int, seconds: float) -> dict[str, Any]:
    """All figures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    stylizer = Stylizer(STYLE)
    with tempfile.TemporaryDirectory() as name:
        files = []
        for visitor in range(visitors):
            paths = [photo_file(Path(name), visitor, number) for number in range(PHOTOS_EACH)]
            files.append([(path, expected(stylizer, path)) for path in paths])
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
            )
            warm = await browser.new_page()  # the visitor's browser is open already
            await warm.goto("about:blank")
            cold = [await from_cold(browser, *files[0][0]) for _ in range(3)]
            load = await under_load(files, seconds) if seconds else {}
            await browser.close()
    middle = {key: round(statistics.median(one[key] for one in cold), 2) for key in cold[0]}
    return {"machine": describe_machine("streamlit", "openvino"), "cold": middle, "load": load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(measure(arguments.visitors, arguments.seconds)), indent=2))


if __name__ == "__main__":
    main()
