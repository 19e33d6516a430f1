"""Helpers for tests of the demo: open the page in AppTest, and compute expected results."""

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")

from streamlit.testing.v1 import AppTest  # noqa: E402

import fast_style  # noqa: E402
from fast_style.demo.gallery import Gallery  # noqa: E402
from fast_style.models.model_file import save_model  # noqa: E402
from tests.commands import CHECKOUT  # noqa: E402
from tests.conftest import SMALLEST, STYLE, make_card, make_weights  # noqa: E402

PAGE = CHECKOUT / "streamlit_main.py"
SHOWN_QUALITY = 88
OTHER = "waves"
SAMPLE = (CHECKOUT / "examples" / "astronaut.jpg").read_bytes()


FILL = Gallery.fill


def two_styles(workplace: Path, model_file: Path, monkeypatch) -> Path:
    """Make a folder with two tiny styles, clear the page's caches, and switch off previews.

    The styles that ship are in the gallery too: their previews would take seconds in each test.
    """
    monkeypatch.setattr(Gallery, "fill", lambda gallery: None)
    folder = workplace / "styles"
    folder.mkdir()
    shutil.copy(model_file, folder)
    card = make_card(OTHER, title="Waves", artist="Nobody", year="1900")
    save_model(folder / f"{OTHER}.safetensors", card, make_weights(SMALLEST, seed=5))
    monkeypatch.setenv("FAST_STYLE_MODELS", str(folder))
    st.cache_resource.clear()
    st.cache_data.clear()
    return folder


def run(page) -> AppTest:
    """Run the page, or a changed control."""
    at = page.run(timeout=60)
    assert not at.exception
    return at


def open_page(*styles: str) -> AppTest:
    at = AppTest.from_file(PAGE)
    at.query_params["style"] = list(styles or (STYLE,))
    return run(at)


def link(at: AppTest) -> list[str]:
    """Return the styles in the page's address."""
    found = at.query_params.get("style", [])
    return [found] if isinstance(found, str) else list(found)


def slider(at: AppTest) -> dict:
    (found,) = sliders(at)
    return found


def sliders(at: AppTest) -> list[dict]:
    """Return the data of all before/after sliders on the page."""
    data = [json.loads(element.proto.json) for element in at.get("bidi_component")]
    return [one for one in data if "before" in one]


def picture(at: AppTest) -> bytes:
    """Return the stylized picture that the page shows."""
    return base64.b64decode(slider(at)["after"].partition(",")[2])


def expected(content: bytes, style=STYLE, *, size=1024, **options) -> bytes:
    photo = fast_style.read_image(content)
    stylized = fast_style.Stylizer(style).stylize_photo(
        photo, fast_style.StyleOptions(size=size, **options)
    )
    return fast_style.encode_image(stylized, format="JPEG", quality=SHOWN_QUALITY)[0]


def photo_bytes(seed: int, size=(96, 64), format="PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1] // 8, size[0] // 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(buffer, format)
    return buffer.getvalue()


def get_text(at: AppTest) -> str:
    elements = [*at.error, *at.info, *at.caption, *at.markdown, *at.success, *at.warning]
    return "\n".join(element.value for element in elements).replace("\\", "")
