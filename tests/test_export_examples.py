"""The examples that run exported styles: in plain Python, and in a browser."""

import base64
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fast_style import Stylizer
from tests.commands import CHECKOUT, invoke

EXAMPLES = CHECKOUT / "examples"
STYLE = CHECKOUT / "saved_models" / "starry-night.safetensors"
TINY = CHECKOUT / "saved_models" / "starry-night-tiny.safetensors"
# Two engines may round a value between two levels either way.
LEVELS = 1


@pytest.fixture
def photo(workplace, astronaut) -> Path:
    """A small photo without loss, of sides that are no multiples of four."""
    path = workplace / "photo.png"
    Image.open(astronaut).resize((157, 122)).save(path)
    return path


def library_picture(photo: Path) -> np.ndarray:
    stylized = Stylizer(STYLE, device="cpu", precision="fp32").stylize(photo)
    return np.asarray(stylized).astype(int)


def test_python_example(workplace, photo):
    pytest.importorskip("onnxruntime")
    exported = invoke("export", STYLE, "--to", "onnx", "--uint8", "-o", "style.onnx")
    assert exported.code == 0, exported.err
    # Where Fast Style and torch cannot be imported at all.
    alone = (
        "import runpy, sys\n"
        "sys.modules['fast_style'] = sys.modules['torch'] = None\n"
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    script = EXAMPLES / "onnx_python" / "stylize.py"
    done = subprocess.run(
        [sys.executable, "-c", alone, script, "style.onnx", photo, "stylized.png"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = np.asarray(Image.open("stylized.png")).astype(int)
    assert np.abs(found - library_picture(photo)).max() <= LEVELS


@pytest.fixture
def page(workplace) -> Iterator[str]:
    """The browser example, served by its own server; gives its address."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    modules = EXAMPLES / "onnx_web" / "node_modules"
    if not (modules / "onnxruntime-web").is_dir():
        pytest.skip("onnxruntime-web is not installed: npm install, in examples/onnx_web")
    site = workplace / "site"
    shutil.copytree(EXAMPLES / "onnx_web", site, ignore=shutil.ignore_patterns("node_modules"))
    (site / "node_modules").symlink_to(modules)
    for style, name in ((STYLE, "style.onnx"), (TINY, "tiny.onnx")):
        more = ("--uint8", "--rgba", "-o", site / name)
        assert invoke("export", style, "--to", "onnx", *more).code == 0
    (site / "styles.json").write_text('["style.onnx", "tiny.onnx"]')
    server = subprocess.Popen([node, site / "serve.mjs", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.communicate()


def chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.skipif(chromium() is None, reason="there is no Chromium here")
def test_browser_example(page, photo):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            view = browser.new_page()
            problems: list[str] = []
            view.on("pageerror", lambda error: problems.append(str(error)))
            view.goto(page)
            view.locator("#photo:enabled").wait_for(timeout=60_000)
            assert view.evaluate("crossOriginIsolated")
            view.locator("#photo").set_input_files(photo)
            status = view.locator("#status")
            done = re.compile(r"^(Done in|This photo|The style)")
            playwright.expect(status).to_have_text(done, timeout=60_000)
            assert status.inner_text().startswith("Done in ")
            shown = view.evaluate("document.getElementById('picture').toDataURL('image/png')")
            view.screenshot(path="page.png")
            assert not problems
        finally:
            browser.close()
    picture = Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2])))
    found = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(found - library_picture(photo)).max() <= LEVELS
    # The server gives nothing from outside its folder.
    for path in ("/../photo.png", "/%2e%2e/photo.png", "/node_modules"):
        connection = HTTPConnection(page.removeprefix("http://"), timeout=10)
        connection.request("GET", path)
        assert connection.getresponse().status == 404
        connection.close()


CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.skipif(chromium() is None, reason="there is no Chromium here")
def test_browser_example_on_a_camera(page):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", *CAMERA]
        browser = driver.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            view = browser.new_page()
            problems: list[str] = []
            view.on("pageerror", lambda error: problems.append(str(error)))
            view.goto(page)
            view.locator("#camera:enabled").wait_for(timeout=60_000)
            view.locator("#style").select_option("tiny.onnx")
            view.locator("#camera").click()
            running = re.compile(r"^\d+\.\d frames a second\.$")
            status = view.locator("#status")
            playwright.expect(status).to_have_text(running, timeout=60_000)
            assert not view.locator("#photo").is_enabled()
            tiny = shown_on(view)
            assert max(tiny.size) == 320
            view.wait_for_function(
                "before => document.getElementById('picture').toDataURL() !== before",
                arg=view.evaluate("document.getElementById('picture').toDataURL()"),
                timeout=60_000,
            )
            view.locator("#style").select_option("style.onnx")
            playwright.expect(status).to_have_text(running, timeout=60_000)
            view.screenshot(path="camera.png")
            view.locator("#camera").click()
            playwright.expect(view.locator("#camera")).to_have_text("Start the camera")
            assert view.locator("#photo").is_enabled()
            assert not problems
        finally:
            browser.close()
    # Chromium's fake camera shows a plain green picture with a clock; a painting is neither.
    pixels = np.asarray(tiny.convert("RGB")).astype(int)
    assert (np.abs(pixels - np.median(pixels, axis=(0, 1))).max(axis=2) > 20).mean() > 0.3


def shown_on(view) -> Image.Image:
    data = view.evaluate("document.getElementById('picture').toDataURL('image/png')")
    return Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))
