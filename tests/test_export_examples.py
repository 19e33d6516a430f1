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
    more = ("--uint8", "--rgba", "-o", site / "style.onnx")
    assert invoke("export", STYLE, "--to", "onnx", *more).code == 0
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
