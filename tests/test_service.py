"""The HTTP service: each answer is the library's own picture, each mistake gets a sentence."""

import dataclasses
import importlib.util
import io
import json
import logging
import shutil

import numpy as np
import pytest
from PIL import Image, ImageCms

pytest.importorskip("fastapi", reason="the service needs the extra serve")

from fast_style import Photo, Stylizer, encode_image, read_image
from fast_style.models.model_file import read_card, save_model
from fast_style.options import StyleOptions
from fast_style.service.app import create_app
from fast_style.service.middleware import LOGGER
from fast_style.service.settings import ServiceSettings
from tests.conftest import SMALLEST, STYLE, make_card, make_weights
from tests.service_client import AppClient

OTHER = "waves"


@pytest.fixture(scope="module")
def styles(tmp_path_factory, model_file):
    """A folder with two tiny styles, known to the catalogue."""
    folder = tmp_path_factory.mktemp("styles")
    shutil.copy(model_file, folder)
    thumbnail = io.BytesIO()
    Image.new("RGB", (8, 8), "navy").save(thumbnail, "WEBP")
    card = make_card(OTHER, title="Waves", thumbnail=thumbnail.getvalue(), grain=4)
    save_model(folder / f"{OTHER}.safetensors", card, make_weights(SMALLEST, seed=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAST_STYLE_MODELS", str(folder))
        patch.chdir(folder)  # in the checkout there are others
        yield folder


def service(**options):
    settings = {"warm": STYLE, "decoders": 1, **options}
    return AppClient(create_app(ServiceSettings(**settings)))


@pytest.fixture(scope="module")
def client(styles):
    with service() as client:
        yield client


@pytest.fixture(scope="module")
def jpeg(astronaut):
    """A JPEG with EXIF (a camera, a place, an orientation) and a colour profile."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8825)[2] = (52.0, 30.0, 0.0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with Image.open(astronaut) as image:
        return saved(image.resize((150, 100)), "JPEG", exif=exif, icc_profile=profile)


@pytest.fixture(scope="module")
def cutout(astronaut):
    """A PNG with alpha."""
    with Image.open(astronaut) as image:
        picture = image.resize((61, 47)).convert("RGB")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return saved(picture, "PNG")


def saved(image, format, **settings):
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return buffer.getvalue()


def post(client, photo, **fields):
    return client.post(
        "/v1/stylize", files={"photo": ("x", photo)}, data={"style": STYLE, **fields}
    )


def library(photo, style=STYLE, format="JPEG", keep=False, **options):
    """Return the stylized photo of the library, as a file."""
    stylized = Stylizer(style).stylize_photo(read_image(photo), StyleOptions(**options))
    if not keep:
        stylized = dataclasses.replace(stylized, exif=None, icc_profile=None)
    return encode_image(stylized, format=format)[0]


def problem(answer, status):
    """Check that an answer is a problem, and give its sentence."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert len(document["detail"]) > 15
    return document["detail"]


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {}),
        ({"style": OTHER}, {"style": OTHER}),
        ({"style": f"{STYLE}:0.6,{OTHER}:0.4"}, {"style": f"{STYLE}:0.6,{OTHER}:0.4"}),
        ({"strength": "0.5"}, {"strength": 0.5}),
        ({"strength": "0"}, {"strength": 0.0}),
        ({"preserve_color": "true"}, {"preserve_color": True}),
        ({"size": "70"}, {"size": 70}),
        ({"stroke_size": "2.5"}, {"stroke_size": 2.5}),
        ({"format": "png"}, {"format": "PNG"}),
        ({"format": "webp", "size": "50"}, {"format": "WEBP", "size": 50}),
        ({"keep_metadata": "true"}, {"keep": True}),
    ],
)
def test_answer_equals_the_picture_of_the_library(client, jpeg, fields, options):
    answer = post(client, jpeg, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.content == library(jpeg, **options)
    assert answer.headers["content-type"] == f"image/{options.get('format', 'JPEG').lower()}"


def test_transparency_is_kept_unless_jpeg_is_requested(client, cutout):
    kept, flat = post(client, cutout, size=30), post(client, cutout, format="jpeg")
    assert kept.headers["content-type"] == "image/png"
    assert kept.content == library(cutout, format="PNG", size=30)
    assert flat.content == library(cutout)


def test_metadata_is_removed_unless_requested(client, jpeg):
    bare, full = (
        Image.open(io.BytesIO(post(client, jpeg, keep_metadata=keep).content))
        for keep in ("false", "true")
    )
    assert bare.size == full.size == (100, 150)  # turned upright all the same
    assert not bare.getexif()
    assert "icc_profile" not in bare.info
    assert full.getexif()[0x010F] == "Maker"
    assert full.getexif().get_ifd(0x8825)[2] == (52.0, 30.0, 0.0)
    assert "icc_profile" in full.info


def test_headers_report_time_engine_and_size(client, jpeg):
    headers = post(client, jpeg).headers
    assert 0 < float(headers["fast-style-seconds"]) < 60
    assert headers["fast-style-size"] == "100x150"
    engine = Stylizer(STYLE).engine
    assert headers["fast-style-engine"] == f"{engine.name} (cpu, {engine.precision})"
    stages = {part.split(";")[0].strip() for part in headers["server-timing"].split(",")}
    assert stages == {"wait", "decode", "network", "encode"}
    assert len(headers["x-request-id"]) == 16


def test_notes_are_sent_in_a_header(client):
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    animation = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert "only the first is used" in post(client, animation).headers["fast-style-notes"]


def test_styles_are_listed_with_cards_and_thumbnails(client, styles):
    listed = {style["name"]: style for style in client.get("/v1/styles").json()["styles"]}
    assert set(listed[OTHER]) == {
        *("name", "title", "artist", "year", "licence", "size", "thumbnail"),
        *("description", "tags", "other_sizes"),
    }
    assert listed[OTHER]["title"] == "Waves"
    assert listed[STYLE]["thumbnail"] is None
    card = client.get(f"/v1/styles/{OTHER}").json()
    known = read_card(styles / f"{OTHER}.safetensors")
    assert card["network"] == known.network.to_dict()
    picture = client.get(listed[OTHER]["thumbnail"])
    assert picture.headers["content-type"] == "image/webp"
    assert picture.content == known.thumbnail
    assert "no thumbnail" in problem(client.get(f"/v1/styles/{STYLE}/thumbnail"), 404)
    for path in ("/v1/styles/monet", "/v1/styles/monet/thumbnail", "/v1/nothing"):
        problem(client.get(path), 404)
    assert "POST" in client.get("/v1/stylize").headers["allow"]
    problem(client.get("/v1/stylize"), 405)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"style": ""}, "style"),
        ({"style": "monet"}, "monet"),
        ({"style": f"{STYLE}:0.5,monet:0.5"}, "monet"),
        ({"style": f"{STYLE}:0.5,{OTHER}"}, "share"),
        ({"style": f"{STYLE}:0,{OTHER}:0"}, "0"),
        ({"style": "x" * 3000}, "style"),
        ({"strength": "1.6"}, "1.6"),
        ({"strength": "nan"}, "nan"),
        ({"strength": ""}, "strength"),
        ({"preserve_color": "yes"}, "yes"),
        ({"size": "0"}, "size"),
        ({"size": "1e3"}, "size"),
        ({"size": "70000"}, "70000"),
        ({"stroke_size": "0.1"}, "0.25"),
        ({"format": "bmp"}, "bmp"),
        ({"keep_metadata": "1"}, "keep_metadata"),
        ({"preserve_colour": "true"}, "preserve_color"),
    ],
)
def test_wrong_fields_are_refused_by_name(client, jpeg, fields, word):
    assert word in problem(post(client, jpeg, **fields), 422)


def test_paths_are_not_accepted_as_styles(client, jpeg, styles, tmp_path):
    """Clients cannot make the service open files, or find out whether files exist."""
    path = tmp_path / "private.safetensors"
    shutil.copy(styles / f"{OTHER}.safetensors", path)
    for name in (str(path), f"{path}:0.5,{STYLE}:0.5", f"{STYLE}.safetensors", "../styles/waves"):
        assert "there is no style named" in problem(post(client, jpeg, style=name), 422)


def test_a_form_without_one_photo_is_refused(client, jpeg):
    data = {"style": STYLE}
    problem(client.post("/v1/stylize", files={"other": jpeg}, data=data), 422)
    problem(client.post("/v1/stylize", data=data, files={"photo": (None, "text")}), 422)
    two = [("photo", jpeg), ("photo", jpeg)]
    assert "one photo" in problem(client.post("/v1/stylize", files=two, data=data), 422)
    many = [("photo", jpeg), *[("mask", jpeg)] * 40]
    assert "more files" in problem(client.post("/v1/stylize", files=many, data=data), 400)
    assert "content type" in problem(client.post("/v1/stylize", data=data), 415)
    assert "content type" in problem(client.post("/v1/stylize", content=jpeg), 415)


def test_files_that_are_not_pictures_are_refused(client, jpeg, cutout):
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)
    has_decoder = importlib.util.find_spec("pillow_heif") is not None
    assert "HEI" in problem(post(client, heic), 422 if has_decoder else 415)
    assert "text" in problem(post(client, b"Dear Sir or Madam"), 415)
    assert "PDF" in problem(post(client, b"%PDF-1.7 ..."), 415)
    assert "empty" in problem(post(client, b""), 422)
    assert "cut off" in problem(post(client, jpeg[: len(jpeg) // 2]), 422)
    assert "damaged" in problem(post(client, cutout[:40] + bytes(9) + cutout[49:]), 422)


@pytest.mark.parametrize("package", ["pillow_heif", "imagecodecs"])
def test_photos_of_optional_decoders_are_read(client, package):
    pytest.importorskip(package)
    pixels = np.full((48, 64, 3), (200, 90, 30), np.uint8)
    if package == "pillow_heif":
        data, _ = encode_image(Photo(pixels), format="heic")
    else:
        import imagecodecs

        data = imagecodecs.jpeg2k_encode(pixels.astype(np.uint16) << 8, level=0, planar=False)
    answer = post(client, data)
    assert answer.status_code == 200, answer.text


def test_large_photos_and_bodies_are_refused(styles, jpeg):
    with service(max_megapixels=0.01, max_body_megabytes=0.1) as client:
        assert "0.01 megapixels" in problem(post(client, jpeg), 422)
        assert "100,000 bytes" in problem(post(client, bytes(200_000)), 413)

        sent = 0

        async def endless():
            nonlocal sent
            yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="x"\r\n\r\n'
            while True:
                sent += 1000
                yield bytes(1000)

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = client.post("/v1/stylize", content=endless(), headers=headers)
        assert "100,000 bytes" in problem(answer, 413)
        assert sent <= 101_000  # it is refused as soon as it is too large


def test_metrics_count_requests_and_pictures(styles, jpeg):
    with service() as client:
        for _ in range(3):
            assert post(client, jpeg).status_code == 200
        post(client, b"Dear Sir")
        text = client.get("/metrics").text
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    stylize = 'method="POST",route="/v1/stylize"'
    assert lines[f'fast_style_requests_total{{{stylize},status="200"}}'] == "3.0"
    assert lines[f'fast_style_requests_total{{{stylize},status="415"}}'] == "1.0"
    assert lines[f'fast_style_pictures_total{{style="{STYLE}"}}'] == "3.0"
    assert float(lines["fast_style_megapixels_total"]) == pytest.approx(3 * 0.015)
    for stage in ("wait", "decode", "network", "encode"):
        assert lines[f'fast_style_stage_seconds_count{{stage="{stage}"}}'] == "3.0"
    assert float(lines["fast_style_resident_bytes"]) > 50e6
    assert lines["fast_style_queue_length"] == lines["fast_style_in_flight"] == "0.0"
    assert lines["fast_style_held_bytes"] == "0.0"


def test_ready_from_warm_up_until_shutdown(styles, jpeg):
    cold = AppClient(create_app(ServiceSettings(warm=STYLE)))  # not started: nothing is warm
    assert "being loaded" in problem(cold.get("/readyz"), 503)
    assert cold.get("/healthz").json() == {"status": "ok"}
    with service() as client:
        state = client.app.state.service
        while not state.warm:
            assert state.failure is None
        assert client.get("/readyz").json() == {"status": "ready"}
        state.admission.draining = True
        assert "shutting down" in problem(client.get("/readyz"), 503)
        answer = post(client, jpeg)
        assert "shutting down" in problem(answer, 503)
        assert answer.headers["retry-after"] == "5"


def test_not_ready_if_a_style_to_warm_is_missing(styles):
    with service(warm="monet") as client:
        while client.app.state.service.failure is None:
            pass
        assert "monet" in problem(client.get("/readyz"), 503)


def test_replaced_model_is_loaded_anew_within_the_limit(client, styles, jpeg, tmp_path):
    path = styles / "changing.safetensors"
    with service(loaded=2) as client:
        state, seen = client.app.state.service, set()
        while not state.warm:
            pass
        for seed in (1, 2, 3):
            card = make_card("changing")
            save_model(path, card, make_weights(SMALLEST, seed=seed))
            state.styles._listed = float("-inf")  # the catalogue is looked at every other second
            answer = post(client, jpeg, style="changing")
            assert answer.content == library(jpeg, style="changing")
            seen.add(answer.content)
            assert len(state.styles) <= 2
        assert len(seen) == 3
        path.unlink()
        assert "not there any more" in problem(post(client, jpeg, style="changing"), 422)


def test_one_log_line_per_request(client, jpeg, caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    with caplog.at_level(logging.INFO, LOGGER.name):
        post(client, jpeg)
        client.get("/v1/nothing?key=secret")
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [(line["path"], line["status"]) for line in lines] == [
        ("/v1/stylize", 200),
        ("/v1/nothing", 404),
    ]
    assert lines[0]["bytes_in"] > len(jpeg)
    assert "secret" not in caplog.text  # queries are not logged


def test_a_bug_is_answered_with_a_problem(client, jpeg, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(Stylizer, "stylize_photo", fail)
    sentence = problem(post(client, jpeg), 500)
    assert "ZeroDivisionError" in sentence
    assert "secret" not in sentence
    monkeypatch.undo()
    assert post(client, jpeg).content == library(jpeg)


def test_photo_larger_than_the_pipes_is_decoded(client):
    """More than any pipe holds, there and back."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (800, 700, 3), np.uint8))
    photo = saved(noise, "PNG")
    assert len(photo) > 1_500_000
    assert post(client, photo, format="png").content == library(photo, format="PNG")
