"""The demo in a real browser, from the upload to the downloaded file."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fast_style
from fast_style.models.model_file import save_model
from tests.commands import CHECKOUT, environment
from tests.conftest import SMALLEST, make_card, make_weights

pytest.importorskip("streamlit", reason="the demo needs the extra demo")
api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.slow,
]
SCREENS = {"wide": (1280, 900), "narrow": (390, 844)}
STYLES = {"waves": "Waves", "wheat": "Wheat"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("styles")
    for seed, (name, title) in enumerate(STYLES.items()):
        card = make_card(name, title=title)
        save_model(folder / f"{name}.safetensors", card, make_weights(SMALLEST, seed))
    return folder


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    """Start the demo by its command; yield its address."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    # Without the lower priority of optimisations: with other tests beside, they would take long.
    start = tmp_path_factory.mktemp("start")
    (start / "sitecustomize.py").write_text("import os\nos.nice = lambda levels: 0\n")
    path = os.pathsep.join((str(start), environment()["PYTHONPATH"]))
    own = {"FAST_STYLE_MODELS": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    process = subprocess.Popen(
        [sys.executable, "-m", "fast_style", "demo", "--no-browser", "--port", str(port)],
        env={**environment(), **own},
        cwd=tmp_path_factory.mktemp("somewhere"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = f"http://localhost:{port}"
    try:
        wait_for(f"{address}/_stcore/health", process)
        yield address
    finally:
        process.terminate()
        _, log = process.communicate(timeout=30)
    # Streamlit's server raises this one by itself if a page is closed while it answers.
    failures = [text for text in log.split("Traceback")[1:] if "WebSocketDisconnected" not in text]
    assert not failures, log


def wait_for(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the demo did not start")


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        own = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*own, *camera])
        yield browser
        browser.close()


@pytest.fixture(params=list(SCREENS))
def page(request, browser, server):
    """Open the page; fail if it asks another server for anything, or a script fails."""
    width, height = SCREENS[request.param]
    context = browser.new_context(
        viewport={"width": width, "height": height}, has_touch=request.param == "narrow"
    )
    context.set_default_timeout(90_000)  # on a busy machine
    page = context.new_page()
    asked, failures = [], []
    page.on("request", lambda asking: asked.append(asking.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(f"{server}/?style=wheat")
    yield page
    outside = [url for url in asked if not url.startswith((server, "data:", "blob:"))]
    assert not outside
    assert not failures
    context.close()


def stylized(page, photo: str, style: str):
    """Wait for a result and return its image."""
    image = page.get_by_alt_text(f"{photo} in the style of {style}")
    image.wait_for()
    return image


def settled(page) -> None:
    """Wait until the page has sent its settings and shows the result."""
    # Longer than sliders wait for further keys; a timer in the page, so that it ends after theirs.
    page.evaluate("() => new Promise(done => setTimeout(done, 400))")
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def uncovered(page) -> float:
    """Return the share of the photo that the slider uncovers, in per cent, from the layout."""
    stage = page.locator(".stage").bounding_box()
    handle = page.locator(".stage .handle").bounding_box()
    return 100 * (handle["x"] + handle["width"] / 2 - stage["x"]) / stage["width"]


def set_strength(page, percent: int) -> None:
    """Move the slider Strength by its keys."""
    slider = page.get_by_role("slider", name="Strength")
    slider.focus()
    for _ in range(100):  # a rerun of the page may swallow a key
        now = int(slider.get_attribute("aria-valuenow") or slider.input_value())
        if now == percent:
            return
        slider.press("ArrowLeft" if now > percent else "ArrowRight")
    raise AssertionError(f"the slider stays at {now}")


def make_photo(path: Path, size: tuple[int, int] = (360, 240)) -> Path:
    pixels = np.random.default_rng(3).integers(0, 255, (30, 45, 3), np.uint8)
    exif = Image.Exif()
    exif[0x010E] = "A photo"
    Image.fromarray(pixels).resize(size).save(path, quality=92, exif=exif)
    return path


def test_upload_stylize_and_download(page, folder, tmp_path):
    stylized(page, "astronaut.jpg", "Wheat")
    photo = make_photo(tmp_path / "mine.jpg")
    settled(page)
    page.locator(".st-key-upload input[type=file]").set_input_files(photo)
    stylized(page, "mine.jpg", "Wheat")

    waves = page.get_by_role("button", name="Waves")
    waves.focus()
    page.keyboard.press("Enter")  # instead of a click
    after = stylized(page, "mine.jpg", "Waves")
    assert page.url.endswith("?style=waves")
    full = after.get_attribute("src")

    settled(page)
    set_strength(page, 60)
    page.wait_for_function(
        "([image, old]) => image.src !== old", arg=[after.element_handle(), full]
    )
    page.get_by_text("60 %").wait_for()

    stage = page.locator(".stage")
    stage.scroll_into_view_if_needed()
    assert uncovered(page) == pytest.approx(50, abs=1)
    box = stage.bounding_box()
    middle = box["y"] + box["height"] / 2
    if page.viewport_size["width"] == SCREENS["narrow"][0]:
        page.touchscreen.tap(box["x"] + box["width"] * 0.2, middle)
    else:
        page.mouse.move(box["x"] + box["width"] * 0.5, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.35, middle, steps=3)
        page.mouse.move(box["x"] + box["width"] * 0.2, middle, steps=3)
        page.mouse.up()
    assert uncovered(page) == pytest.approx(20, abs=1)
    page.get_by_role("slider", name="Share of the original photo").press("ArrowRight")
    assert uncovered(page) == pytest.approx(25, abs=1)

    page.get_by_text("PNG", exact=True).click()
    settled(page)
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download", exact=True).click()
    assert coming.value.suggested_filename == "mine-waves.png"
    stylizer = fast_style.Stylizer(folder / "waves.safetensors")
    whole = stylizer.stylize_photo(
        fast_style.read_image(photo), fast_style.StyleOptions(size=1024, strength=0.6)
    )
    wanted, _ = fast_style.encode_image(whole, format="PNG")
    assert coming.value.path().read_bytes() == wanted


def test_cards_are_clickable_and_tabs_fit_the_width(page):
    stylized(page, "astronaut.jpg", "Wheat")
    for name in ("Stylize", "Any painting", "Video", "Your own model", "About"):
        page.get_by_role("tab", name=name).click()
        settled(page)
        wide = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert wide <= page.viewport_size["width"]
    page.get_by_role("tab", name="Stylize").click()
    missing = page.eval_on_selector_all("img", "images => images.filter(i => !i.alt).length")
    assert missing == 0
    # Forced: the button that lies over the picture takes the click.
    page.get_by_alt_text("The face of a ginger cat").click(force=True)
    stylized(page, "chelsea.jpg", "Wheat")


def test_a_broken_photo_shows_an_error(page, tmp_path):
    stylized(page, "astronaut.jpg", "Wheat")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((CHECKOUT / "examples" / "coffee.jpg").read_bytes()[:2000])
    settled(page)
    page.locator(".st-key-upload input[type=file]").set_input_files(broken)
    page.get_by_role("alert").get_by_text("broken.jpg").wait_for()
    assert page.locator("[data-testid=stException]").count() == 0


class TestAnyPainting:
    """With a photo of few pixels, for quick steps."""

    @pytest.fixture
    def tab(self, page, tmp_path):
        pytest.importorskip("torch", reason="optimising needs the extra torch")
        stylized(page, "astronaut.jpg", "Wheat")
        page.get_by_role("tab", name="Any painting").click()
        page.locator(".st-key-painting-samples").wait_for()
        page.get_by_text("This photo only").click()
        photo, painting = make_photo(tmp_path / "mine.jpg", (96, 64)), tmp_path / "theirs.png"
        random = np.random.default_rng(4)
        Image.fromarray(random.integers(0, 255, (48, 64, 3), np.uint8)).save(painting)
        settled(page)
        page.locator(".st-key-any-upload input[type=file]").set_input_files(photo)
        page.locator(".st-key-looks").get_by_alt_text("The photo mine.jpg").wait_for()
        settled(page)
        page.locator(".st-key-painting-upload input[type=file]").set_input_files(painting)
        page.locator(".st-key-looks").get_by_alt_text("The painting theirs.png").wait_for()
        page.set_default_timeout(300_000)
        return page, photo, painting

    def start(self, page, steps: int) -> None:
        page.get_by_role("slider", name="Steps").focus()
        page.keyboard.press("End" if steps == 200 else "Home")
        page.locator(".st-key-any-iterations").get_by_text(str(steps), exact=True).first.wait_for()
        settled(page)
        page.get_by_role("button", name="Start", exact=True).click()

    def is_set(self, page, *, steps: int) -> None:
        for key, value in (("iterations", str(steps)), ("size", "384 px"), ("weight", "40")):
            page.locator(f".st-key-any-{key}").get_by_text(value, exact=True).first.wait_for()

    def test_optimize_and_download(self, tab):
        page, photo, painting = tab
        self.start(page, 10)
        stylized(page, "mine.jpg", "theirs.png")
        page.get_by_text("10 steps in").wait_for()
        self.is_set(page, steps=10)
        page.locator(".st-key-any-format").get_by_text("PNG", exact=True).click()
        settled(page)
        with page.expect_download() as coming:
            page.get_by_role("button", name="Download", exact=True).click()
        assert coming.value.suggested_filename == "mine-theirs.png"
        torch = sys.modules["torch"]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as on the server: the order of summation changes the last digits
        *_, last = fast_style.optimize_steps(photo, painting, size=384, iterations=10)
        torch.set_num_threads(threads)
        wanted, _ = fast_style.encode_image(last.photo(), format="PNG")
        assert coming.value.path().read_bytes() == wanted
        with page.expect_download() as coming:
            page.get_by_role("button", name="All 10 intermediate pictures").click()
        with zipfile.ZipFile(coming.value.path()) as archive:
            assert archive.namelist() == [f"step-{number:04d}.jpg" for number in range(1, 11)]
        missing = page.eval_on_selector_all("img", "images => images.filter(i => !i.alt).length")
        assert missing == 0
        wide = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert wide <= page.viewport_size["width"]

    @pytest.mark.parametrize("page", ["wide"], indirect=True)
    def test_live_preview_and_stop(self, tab, server):
        page, *_ = tab
        self.start(page, 200)
        image = stylized(page, "mine.jpg", "theirs.png")
        first = image.get_attribute("src")
        page.wait_for_function(
            "([image, old]) => image.src !== old", arg=[image.element_handle(), first]
        )
        page.locator(".st-key-any-stop button").click()
        page.get_by_text("stopped early").wait_for()
        page.get_by_role("button", name="Download", exact=True).wait_for()
        self.is_set(page, steps=200)
        page.get_by_role("tab", name="About").click()
        page.get_by_text("How it works").wait_for()
        page.get_by_role("tab", name="Any painting").click()
        page.get_by_text("stopped early").wait_for()
        self.is_set(page, steps=200)
        took = page.get_by_text(re.compile(r"\d+ steps in")).inner_text()
        steps = int(re.search(r"(\d+) steps in", took)[1])
        assert 1 < steps < 200

    @pytest.mark.parametrize("page", ["wide"], indirect=True)
    def test_closing_the_page_starts_the_next_in_the_queue(self, tab, browser, server):
        page, photo, _ = tab
        self.start(page, 200)
        stylized(page, "mine.jpg", "theirs.png")
        other = browser.new_page()
        other.set_default_timeout(300_000)
        other.goto(server)
        other.get_by_role("tab", name="Any painting").click()
        other.get_by_text("This photo only").click()
        settled(other)
        other.locator(".st-key-any-upload input[type=file]").set_input_files(photo)
        other.locator(".st-key-looks").get_by_alt_text("The photo mine.jpg").wait_for()
        self.start(other, 200)
        other.get_by_text("1 other is before you in the queue").wait_for()
        page.goto("about:blank")
        stylized(other, "mine.jpg", "composition-vii.jpg")
        other.locator(".st-key-any-stop button").click()
        other.get_by_text("stopped early").wait_for()
        other.close()
