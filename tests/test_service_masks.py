"""Masks, colours and other controls of `POST /v1/stylize`."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fast_style.images import read_image
from fast_style.inference.guides import read_guides
from fast_style.inference.stylizer import Stylizer
from fast_style.models.model_file import save_model
from fast_style.options import StyleOptions
from fast_style.service.app import create_app
from fast_style.service.settings import ServiceSettings
from tests.conftest import SMALLEST, STYLE, make_card, make_weights
from tests.service_client import AppClient

OTHER = "waves"
MASK = np.zeros((20, 30), np.uint8)
MASK[:, :15] = 255


@pytest.fixture(scope="module")
def client(tmp_path_factory, model_file):
    folder = tmp_path_factory.mktemp("styles")
    save_model(folder / f"{STYLE}.safetensors", make_card(), make_weights(SMALLEST))
    save_model(folder / f"{OTHER}.safetensors", make_card(OTHER), make_weights(SMALLEST, 5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAST_STYLE_MODELS", str(folder))
        patch.chdir(folder)
        with AppClient(create_app(ServiceSettings(warm=STYLE, decoders=1))) as client:
            yield client


def png(array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photo(astronaut: Path) -> bytes:
    with Image.open(astronaut) as image:
        picture = image.resize((90, 60)).convert("RGB")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return png(np.asarray(picture))


def post(client, photo, *files, **fields):
    several = [("photo", ("x", photo)), *((name, (name, data)) for name, data in files)]
    data = {"style": STYLE, "format": "png", **fields}
    return client.post("/v1/stylize", files=several, data=data)


@pytest.mark.parametrize(
    ("files", "fields", "style", "options"),
    [
        (["mask"], {"feather": "5", "invert_mask": "true"}, STYLE, {}),
        (["mask"], {"style": f"{STYLE}+{OTHER}"}, [STYLE, OTHER], {}),
        (["mask", "mask"], {"style": f"{STYLE}+{OTHER}"}, [STYLE, OTHER], {}),
        (["colors_of"], {"color_share": "0.5"}, STYLE, {}),
        ([], {"alpha_mask": "true"}, STYLE, {}),
        ([], {"preserve_color": "histogram", "variant": "2"}, STYLE, {}),
        ([], {"color_strength": "0.2", "stroke_strength": "1.3"}, STYLE, {}),
    ],
)
def test_answer_equals_the_picture_of_the_library(client, photo, files, fields, style, options):
    files = [(name, png(MASK)) for name in files]
    answer = post(client, photo, *files, **fields)
    assert answer.status_code == 200, answer.text
    known = {
        "feather": float,
        "invert_mask": bool,
        "color_share": float,
        "preserve_color": str,
        "variant": int,
        "color_strength": float,
        "stroke_strength": float,
    }
    options = {name: known[name](text) for name, text in fields.items() if name in known}
    masks = [MASK for name, _ in files if name == "mask"]
    masks += ["alpha"] if "alpha_mask" in fields else []
    colors = next((MASK for name, _ in files if name == "colors_of"), None)
    wanted = Stylizer(style).stylize_photo(
        read_image(photo), StyleOptions(**options), read_guides(masks, colors)
    )
    np.testing.assert_array_equal(read_image(answer.content).pixels, wanted.pixels)


@pytest.mark.parametrize(
    ("files", "fields", "sentence"),
    [
        (["mask", "mask"], {}, "there are 2 masks for one style"),
        ([], {"style": f"{STYLE}+{OTHER}"}, "there are 0 masks for 2 styles"),
        (["colors_of", "colors_of"], {}, "at most one colors_of"),
        (["mask"], {"style": f"{STYLE}+none"}, "there is no style named 'none'"),
        ([], {"variant": "-1"}, "variant is '-1'"),
    ],
)
def test_wrong_requests_are_refused(client, photo, files, fields, sentence):
    answer = post(client, photo, *((name, png(MASK)) for name in files), **fields)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


def test_a_mask_that_is_no_picture_is_refused(client, photo):
    assert post(client, photo, ("mask", b"text")).status_code == 415
