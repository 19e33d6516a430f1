"""The demo in a real browser: pasting, masks, history, any painting, a clip, the live camera."""

import io

import numpy as np
import pytest
from PIL import Image

import fast_style
from tests.test_demo_browser import (
    CHROMIUM,
    api,
    browser,
    folder,
    make_photo,
    page,
    server,
    settled,
    stylized,
)

__all__ = ["api", "browser", "folder", "page", "server"]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.slow,
]

PASTE = """async ([width, height]) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.fillStyle = "#3a7";
  context.fillRect(0, 0, width, height);
  const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
  const data = new DataTransfer();
  data.items.add(new File([blob], "pasted.png", { type: "image/png" }));
  const options = { clipboardData: data, bubbles: true, cancelable: true };
  document.dispatchEvent(new ClipboardEvent("paste", options));
}"""


def is_narrow(page) -> bool:
    return page.viewport_size["width"] < 600


def assert_fits(page) -> None:
    wide = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
    assert wide <= page.viewport_size["width"]


def download(page, name: str) -> tuple[str, bytes]:
    with page.expect_download() as coming:
        page.get_by_role("button", name=name, exact=True).click()
    return coming.value.suggested_filename, coming.value.path().read_bytes()


def draw(page, box: dict, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a line on the photo, by mouse or finger; positions are shares of the box."""
    points = [
        (
            box["x"] + box["width"] * (start[0] + (end[0] - start[0]) * step / 8),
            box["y"] + box["height"] * (start[1] + (end[1] - start[1]) * step / 8),
        )
        for step in range(9)
    ]
    if not is_narrow(page):
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()
        return
    devtools = page.context.new_cdp_session(page)
    for number, (x, y) in enumerate(points):
        kind = "touchMove" if number else "touchStart"
        touch = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
        devtools.send("Input.dispatchTouchEvent", touch)
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_the_gallery_fills_with_the_own_photo(page, tmp_path):
    stylized(page, "astronaut.jpg", "Wheat")
    settled(page)
    page.locator(".st-key-upload input[type=file]").set_input_files(
        make_photo(tmp_path / "mine.jpg")
    )
    page.get_by_alt_text("Preview: mine.jpg as Waves").first.wait_for(state="attached")
    page.get_by_placeholder("Search").fill("waves")
    page.keyboard.press("Enter")
    settled(page)
    assert page.locator("[class*=st-key-card-pick-]").count() == 1
    assert_fits(page)


def test_a_photo_of_a_phone_comes_back_in_full_size(page, folder, tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs the extra heif")
    stylized(page, "astronaut.jpg", "Wheat")
    path = tmp_path / "IMG_1.heic"
    with Image.open(make_photo(tmp_path / "large.jpg", (1600, 1200))) as image:
        heif.from_pillow(image).save(path, quality=90)
    settled(page)
    page.locator(".st-key-upload input[type=file]").set_input_files(path)
    stylized(page, "IMG_1.heic", "Wheat")
    page.get_by_text("the download has 1600 \u00d7 1200").wait_for()
    settled(page)
    name, content = download(page, "Download")
    assert name == "IMG_1-wheat.jpg"
    whole = fast_style.Stylizer(folder / "wheat.safetensors").stylize_photo(
        fast_style.read_image(path)
    )
    assert content == fast_style.encode_image(whole, format="JPEG")[0]


def test_paste_paint_a_mask_and_go_back(page, folder):
    stylized(page, "astronaut.jpg", "Wheat")
    page.evaluate(PASTE, [320, 200])
    after = stylized(page, "pasted.png", "Wheat")
    whole = after.get_attribute("src")
    page.locator(".st-key-mask-way").get_by_text("Paint", exact=True).click()
    board = page.locator("canvas")
    board.wait_for()
    settled(page)
    board.scroll_into_view_if_needed()
    draw(page, board.bounding_box(), (0.1, 0.5), (0.4, 0.5))
    page.wait_for_function(
        "([image, old]) => image.src !== old", arg=[after.element_handle(), whole]
    )
    settled(page)
    page.locator(".st-key-format").get_by_text("PNG", exact=True).click()
    settled(page)
    name, content = download(page, "Download")
    assert name == "pasted-wheat.png"
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image.convert("RGB"), np.int16)
    photo = np.array([0x33, 0xAA, 0x77])
    changed = np.abs(pixels - photo).max(axis=2) > 2
    assert changed[100, 60:100].mean() > 0.9  # below the line
    assert not changed[:, 200:].any()  # far from it
    assert_fits(page)
    history = page.locator("[class*=st-key-history-] button")
    assert history.count() == 3
    history.nth(1).click()
    page.wait_for_function(
        "([image, old]) => image.src === old", arg=[after.element_handle(), whole]
    )


def test_a_link_carries_the_settings(page, server):
    page.goto(f"{server}/?style=waves&strength=40&colours=chroma")
    stylized(page, "astronaut.jpg", "Waves")
    page.get_by_text("40 %").wait_for()
    settled(page)
    assert page.url.endswith("?style=waves&strength=40&colours=chroma")


@pytest.mark.parametrize("page", ["wide"], indirect=True)
def test_any_painting_is_trained_and_kept(page, tmp_path):
    pytest.importorskip("pytorch_lightning", reason="training needs the extra train")
    stylized(page, "astronaut.jpg", "Wheat")
    page.set_default_timeout(400_000)
    page.get_by_role("tab", name="Any painting").click()
    settled(page)
    page.locator(".st-key-any-upload input[type=file]").set_input_files(
        make_photo(tmp_path / "mine.jpg", (96, 64))
    )
    painting = tmp_path / "dots.png"
    random = np.random.default_rng(4)
    Image.fromarray(random.integers(0, 255, (48, 64, 3), np.uint8)).save(painting)
    settled(page)
    page.locator(".st-key-painting-upload input[type=file]").set_input_files(painting)
    page.get_by_alt_text("mine.jpg in the style of Dots").wait_for()
    page.get_by_role("button", name="Make it better").click()
    page.get_by_alt_text("mine.jpg in the style of dots.png").wait_for()  # the live picture
    page.locator(".st-key-training-stop button").click()
    page.get_by_text("Trained for").first.wait_for()
    settled(page)
    name, content = download(page, "Download the model")
    assert name == "dots.safetensors"
    assert fast_style.model_from_bytes(content).card.training["steps_taken"] >= 1
    page.get_by_role("button", name="Keep", exact=True).click()
    page.get_by_text("in your gallery").wait_for()
    page.get_by_role("tab", name="Stylize").click()
    page.get_by_role("button", name="✓ Dots").first.wait_for()
    shown = page.get_by_alt_text("mine.jpg in the style of Dots").first
    shown.wait_for(state="attached")


def test_a_clip_is_stylized(page, folder, tmp_path):
    pytest.importorskip("av", reason="videos need the extra video")
    from tests.test_demo_video import decode, make_clip

    stylized(page, "astronaut.jpg", "Wheat")
    page.set_default_timeout(300_000)
    page.get_by_role("tab", name="Video").click()
    clip = make_clip(tmp_path / "clip.mp4")
    settled(page)
    page.locator(".st-key-clip-upload input[type=file]").set_input_files(clip)
    page.get_by_role("button", name="Stylize the clip").click()
    page.get_by_role("button", name="Play").wait_for()
    settled(page)
    page.wait_for_function(
        """() => {
          const find = root => [...root.querySelectorAll("*")].flatMap(
            one => one.shadowRoot ? [one.shadowRoot, ...find(one.shadowRoot)] : []);
          const videos = find(document).flatMap(root => [...root.querySelectorAll("video")]);
          return videos.length === 2 && videos.every(video => video.videoWidth === 64);
        }"""
    )
    assert_fits(page)
    name, content = download(page, "Download the video")
    assert name == "clip-wheat.mp4"
    fast_style.stylize_video(
        clip,
        tmp_path / "wanted.mp4",
        folder / "wheat.safetensors",
        options=fast_style.StyleOptions(size=480),
    )
    assert decode(content) == decode((tmp_path / "wanted.mp4").read_bytes())


@pytest.mark.parametrize("page", ["wide"], indirect=True)
def test_the_live_camera_shows_stylized_pictures(page):
    stylized(page, "astronaut.jpg", "Wheat")
    page.context.grant_permissions(["camera"])
    page.get_by_role("tab", name="Video").click()
    page.get_by_text("Live camera").click()
    page.get_by_role("button", name="Start the camera").click()
    image = page.get_by_alt_text("The camera in the style of Wheat")
    image.wait_for()
    first = image.get_attribute("src")
    page.wait_for_function(
        "([image, old]) => image.src !== old", arg=[image.element_handle(), first]
    )
    page.get_by_role("button", name="Stop the camera").click()
