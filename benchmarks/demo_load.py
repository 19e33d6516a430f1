"""The demo under load, and its cold start: the real command, on the loopback interface.

    python -m benchmarks.demo_load --visitors 20 --seconds 120

Cold start: the time from the command until the page is usable, and from an upload to its result and
to the whole gallery, in a real browser. Under load: visitors that implement the page's protocol
each upload their own photos repeatedly; every result is compared byte for byte with the library's
for that photo.
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
from fast_style.options import StyleOptions

PHOTOS_EACH = 2
SIZE = (768, 512)
STYLE = "starry-night"
QUALITY = 88  # of pictures on the page
TIMEOUT_MS = 60_000
UPLOADER = ".st-key-upload input[type=file]"  # the other one is for models


@contextmanager
def running_demo(port: int) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Run `fast-style demo`; yield the process and its start time."""
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


async def wait_until_up(port: int) -> None:
    """Wait until the server is up."""
    while True:
        try:
            urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=1).close()
            return
        except OSError:
            await asyncio.sleep(0.02)


def make_photo_file(folder: Path, visitor: int, number: int) -> Path:
    path = folder / f"visitor-{visitor}-photo-{number}.jpg"
    make_photo(*SIZE, seed=1000 * visitor + number).save(path, quality=90)
    return path


def make_expected(stylizer: Stylizer, path: Path) -> bytes:
    stylized = stylizer.stylize_photo(read_image(path), StyleOptions(size=1024))
    return encode_image(stylized, format="JPEG", quality=QUALITY)[0]


async def upload(page: Page, path: Path) -> tuple[float, bytes]:
    """Upload a photo; return the seconds until its result is visible, and the result's file."""
    start = time.perf_counter()
    await page.locator(UPLOADER).set_input_files(path)
    image = page.get_by_alt_text(f"{path.name} in the style of")
    await image.wait_for(timeout=TIMEOUT_MS)
    source = await image.get_attribute("src")
    seconds = time.perf_counter() - start
    return seconds, base64.b64decode((source or "").partition(",")[2])


async def wait_for_gallery(page: Page, path: Path) -> None:
    """Wait until each card of the gallery shows the photo."""
    cards = await page.locator("[class*=st-key-picture-pick-]").count()
    previews = page.locator(f'[class*=st-key-picture-pick-] img[alt^="Preview: {path.name}"]')
    await previews.nth(cards - 1).wait_for(state="attached", timeout=TIMEOUT_MS)


async def measure_cold_start(browser: Browser, photo: Path, wanted: bytes) -> dict[str, float]:
    """Start the command, open the page and upload a photo."""
    port = free_port()
    with running_demo(port) as (_, start):
        await wait_until_up(port)
        page = await browser.new_page()
        await page.goto(f"http://localhost:{port}/?style={STYLE}")
        await page.locator("[data-testid=stFileUploaderDropzone] button").first.wait_for()
        usable = time.perf_counter() - start
        begin = time.perf_counter()
        seconds, picture = await upload(page, photo)
        await wait_for_gallery(page, photo)
        gallery = time.perf_counter() - begin
        await page.close()
    if picture != wanted:
        raise SystemExit("cold start: the result differs from the library's")
    return {"usable": usable, "first_result": seconds, "gallery": gallery}


def read_resident_bytes(process: subprocess.Popen[bytes]) -> int:
    """Return the resident memory of the demo, in bytes."""
    with open(f"/proc/{process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def visit(
    port: int, files: list[tuple[Path, bytes]], end: float, counts: dict[str, Any]
) -> None:
    """Upload photos as one visitor until the end time."""
    number = 0
    async with Visitor(port, STYLE) as visitor:
        while time.perf_counter() < end:
            path, wanted = files[number % len(files)]
            seconds, picture = await visitor.upload(path)
            counts["seconds"].append(seconds)
            counts["wrong"] += picture != wanted
            number += 1
        counts["errors"] += len(visitor.problems)


async def measure_load(files: list[list[tuple[Path, bytes]]], seconds: float) -> dict[str, Any]:
    """Run all visitors concurrently."""
    port = free_port()
    counts: dict[str, Any] = {"seconds": [], "wrong": 0, "errors": 0}
    memory: list[tuple[float, int]] = []
    with running_demo(port) as (process, _):
        await wait_until_up(port)
        start = time.perf_counter()
        visits = [asyncio.create_task(visit(port, own, start + seconds, counts)) for own in files]
        waiting = asyncio.gather(*visits)
        while not waiting.done():
            memory.append((time.perf_counter() - start, read_resident_bytes(process)))
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
    """Measure everything."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    stylizer = Stylizer(STYLE)
    with tempfile.TemporaryDirectory() as name:
        files = []
        for visitor in range(visitors):
            paths = [make_photo_file(Path(name), visitor, number) for number in range(PHOTOS_EACH)]
            files.append([(path, make_expected(stylizer, path)) for path in paths])
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
            )
            warm = await browser.new_page()  # the browser itself is started beforehand
            await warm.goto("about:blank")
            cold = [await measure_cold_start(browser, *files[0][0]) for _ in range(3)]
            load = await measure_load(files, seconds) if seconds else {}
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
