"""Make docs/demo.png: a screenshot of the demo with the styles that are installed.

python -m docs.make_demo_picture --style starry-night

It starts the demo and takes a screenshot in Chromium, which must be installed.
"""

import argparse
import asyncio
import os
import shutil
from pathlib import Path

from PIL import Image
from playwright.async_api import async_playwright

from benchmarks.demo_load import free_port, running_demo, wait_until_up

PICTURE = Path(__file__).parent / "demo.png"
SCREEN = {"width": 1280, "height": 900}
SHOWN = (1024, 720)
COLOURS = 256  # a palette halves the PNG's size with no visible difference


async def take(style: str, sample: str) -> None:
    """Open the page, select style and photo, and write the screenshot."""
    port = free_port()
    with running_demo(port):
        await wait_until_up(port)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
                args=["--no-sandbox"] if os.geteuid() == 0 else [],
            )
            page = await browser.new_page(viewport=SCREEN, color_scheme="light")
            page.set_default_timeout(120_000)
            await page.goto(f"http://localhost:{port}/?style={style}")
            await page.locator(f".st-key-sample-{sample} button").click()
            await page.get_by_alt_text(f"{sample}.jpg in the style of").wait_for()
            await page.mouse.move(0, 0)
            await page.wait_for_timeout(3000)
            await page.screenshot(path=PICTURE)
            await browser.close()
    with Image.open(PICTURE) as image:
        small = image.convert("RGB").resize(SHOWN, Image.Resampling.LANCZOS)
    small.quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG).save(PICTURE, optimize=True)


def main() -> None:
    """Make the picture."""
    parser = argparse.ArgumentParser(description="Make docs/demo.png.")
    parser.add_argument("--style", default="starry-night", help="the style that is picked")
    parser.add_argument("--sample", default="chelsea", help="the photo that is picked")
    arguments = parser.parse_args()
    asyncio.run(take(arguments.style, arguments.sample))


if __name__ == "__main__":
    main()
