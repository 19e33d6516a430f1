"""A picture as the style of a request: predicted once, within the limits of every upload."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the service needs the extra serve")

from fast_style import Stylizer, encode_image, predict_style, read_image
from fast_style.service.app import create_app
from fast_style.service.settings import ServiceSettings
from fast_style.styles import prediction
from tests.service_client import AppClient


def saved(image, format="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        settings = ServiceSettings(
            warm="none", decoders=1, max_megapixels=0.2, max_body_megabytes=1.0
        )
        with AppClient(create_app(settings)) as client:
            yield client


@pytest.fixture(scope="module")
def painting():
    noise = np.random.default_rng(7).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return saved(Image.fromarray(noise).resize((120, 90), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def photo(astronaut):
    with Image.open(astronaut) as image:
        return saved(image.resize((80, 64)))


def post(client, files, **fields):
    return client.post("/v1/stylize", files={k: ("x", v) for k, v in files.items()}, data=fields)


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["detail"]


@pytest.mark.parametrize("size", [None, 96])
def test_answer_is_the_picture_of_the_predicted_style(client, photo, painting, size):
    fields = {} if size is None else {"style_size": str(size)}
    answer = post(client, {"photo": photo, "style_image": painting}, format="png", **fields)
    assert answer.status_code == 200, answer.text
    stylizer = Stylizer(predict_style(painting, style_size=size, cache=False))
    expected = stylizer.stylize_photo(read_image(photo))
    expected = dataclasses.replace(expected, exif=None, icc_profile=None)
    assert answer.content == encode_image(expected, format="PNG")[0]


def test_a_picture_is_predicted_once(client, photo, painting, monkeypatch):
    first = post(client, {"photo": photo, "style_image": painting})
    monkeypatch.setattr(prediction, "predict_style", lambda *_, **__: 1 / 0)
    second = post(client, {"photo": photo, "style_image": painting})
    assert second.status_code == 200
    assert second.content == first.content
    counted = client.get("/metrics").text
    assert 'fast_style_pictures_total{style="predicted"}' in counted


def test_a_form_has_a_style_or_a_picture_which_is_used_in_its_place(client, photo, painting):
    both = {"photo": photo, "style_image": painting}
    pictured = post(client, both, format="png").content
    assert post(client, both, style="starry-night", format="png").content == pictured
    assert post(client, both, style="no-such-style").status_code == 422
    assert "the field style" in problem(post(client, {"photo": photo}), 422)
    sentence = problem(post(client, {"photo": photo}, style="starry-night", style_size="96"), 422)
    assert sentence.startswith("style_size is for a style_image")
    sentence = problem(post(client, both, style_size="5000"), 422)
    assert "style_size is '5000'; expected a whole number from 32 to 1024" in sentence
    sentence = problem(post(client, {"photo": photo}, style_image="painting.jpg"), 422)
    assert "at most one style_image, and it must be a file" in sentence


@pytest.mark.parametrize(
    ("picture", "status", "word"),
    [
        (b"no picture", 415, "style_image"),
        (b"", 422, "style_image"),
        (saved(Image.new("RGB", (4, 900))), 422, "style_image is 4x900 pixels, too small"),
        (
            saved(Image.new("RGBA", (40, 40), (9, 9, 9, 0))),
            422,
            "style_image is wholly transparent",
        ),
        (saved(Image.new("RGB", (600, 400))), 422, "style_image has more than 0.2 megapixels"),
    ],
)
def test_unusable_pictures_get_a_sentence(client, photo, picture, status, word):
    sentence = problem(post(client, {"photo": photo, "style_image": picture}), status)
    assert word in sentence
    assert "the photo" not in sentence


def test_small_and_flat_pictures_are_styles(client, photo):
    flat = saved(Image.new("RGB", (16, 16), (200, 30, 60)))
    assert post(client, {"photo": photo, "style_image": flat}).status_code == 200


def test_both_files_count_towards_the_limit_of_a_body(client, photo):
    assert "1,000,000 bytes" in problem(
        post(client, {"photo": photo, "style_image": b"\x89PNG" + bytes(1_000_000)}), 413
    )


def test_the_document_describes_the_upload(client):
    document = client.get("/openapi.json").json()
    form = document["paths"]["/v1/stylize"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"]["properties"]["style_image"]["format"] == "binary"
    assert form["schema"]["anyOf"] == [{"required": ["style"]}, {"required": ["style_image"]}]
    assert "style_image" in form["encoding"]
