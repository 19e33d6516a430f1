"""`RemoteStylizer` against a small service: the library behind http.server."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

import fast_style
from fast_style import RemoteStylizer, Stylizer, read_image, remote_styles
from fast_style.images import Photo
from fast_style.models.model_file import save_model
from fast_style.options import StyleOptions
from fast_style.styles.registry import list_styles
from tests.conftest import SMALLEST, STYLE, make_card, make_weights
from tests.small_service import Service, document, problem

OTHER = "waves"
KEY = "secret"


@pytest.fixture
def service(workplace, model_file, monkeypatch):
    folder = workplace / "styles"
    save_model(folder / f"{OTHER}.safetensors", make_card(OTHER), make_weights(SMALLEST, seed=5))
    (folder / model_file.name).write_bytes(model_file.read_bytes())
    monkeypatch.setenv("FAST_STYLE_MODELS", str(folder))
    monkeypatch.setattr("fast_style.inference.remote.time.sleep", lambda seconds: None)
    with Service().running() as running:
        yield running


@pytest.fixture
def photo() -> Photo:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (50, 70, 3), np.uint8)
    return Photo(pixels, alpha=random.integers(0, 256, (50, 70), np.uint8), exif=b"Exif\0\0x")


class TestPaint:
    @pytest.mark.parametrize(
        "options", [{}, {"size": 40}, {"size": 400, "stroke_size": 2.0}], ids=str
    )
    @pytest.mark.parametrize("style", [STYLE, f"{STYLE}:0.25,{OTHER}:0.75"])
    def test_paint_equals_the_local_stylizer(self, service, photo, style, options):
        far = RemoteStylizer(service.url, style).paint(photo, StyleOptions(**options))
        near = Stylizer(style).paint(photo, StyleOptions(**options))
        np.testing.assert_array_equal(far.pixels, near.pixels)
        np.testing.assert_array_equal(far.content.pixels, near.content.pixels)
        np.testing.assert_array_equal(far.content.alpha, near.content.alpha)
        assert far.content.exif == photo.exif
        finish = StyleOptions(strength=0.5, preserve_color=True)
        finished, wanted = far.finish(finish), near.finish(finish)
        np.testing.assert_array_equal(finished.pixels, wanted.pixels)

    def test_request_has_the_expected_fields(self, service, photo):
        RemoteStylizer(service.url + "/", STYLE, api_key=KEY).paint(photo, StyleOptions(size=40))
        ((method, path, fields),) = service.asked
        assert (method, path) == ("POST", "/v1/stylize")
        sent = fields.pop("photo")
        with Image.open(io.BytesIO(sent)) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (40, 29))
            assert not image.getexif()
        assert fields == {
            "style": STYLE.encode(),
            "size": b"40",
            "stroke_size": b"auto",
            "format": b"png",
        }
        assert service.keys == [KEY]

    def test_no_key_is_sent_by_default(self, service, photo):
        RemoteStylizer(service.url, STYLE).paint(photo)
        assert service.keys == [None]

    def test_invalid_arguments_are_refused_before_a_request(self, service, photo):
        for arguments in (("ftp://x", STYLE), (service.url, STYLE)):
            with pytest.raises(fast_style.UsageError):
                RemoteStylizer(*arguments, timeout=0 if arguments[0] == service.url else 1)
        assert service.asked == []


class TestCards:
    def test_remote_styles_lists_cards(self, service):
        cards = remote_styles(service.url)
        assert cards == [entry.card for entry in list_styles() if entry.card]
        assert {STYLE, OTHER} <= {card.name for card in cards}

    def test_card_of_a_style(self, service):
        card = RemoteStylizer(service.url, STYLE).card
        assert card == Stylizer(STYLE).card

    def test_card_of_a_mixture(self, service):
        style = f"{STYLE}:0.25,{OTHER}:0.75"
        assert RemoteStylizer(service.url, style).card == Stylizer(style).card

    def test_missing_style_is_reported(self, service, photo):
        stylizer = RemoteStylizer(service.url, "frobnicate")
        for ask in (lambda: stylizer.card, lambda: stylizer.paint(photo)):
            with pytest.raises(fast_style.StyleNotFoundError, match=r"no style .*'frobnicate'"):
                ask()

    @pytest.mark.parametrize(
        "body", [b"<html>", b"[]", b'{"styles": 3}', b'{"a": ' * 3000], ids=lambda b: b[:9]
    )
    def test_other_servers_are_recognized(self, service, body):
        service.answers = [(200, {}, body)]
        with pytest.raises(fast_style.ServiceError, match=r"127\.0\.0\.1"):
            remote_styles(service.url)

    def test_invalid_card_is_refused(self, service):
        service.answers = [document({"name": "x"})]
        with pytest.raises(fast_style.ModelFileError, match="card of x"):
            _ = RemoteStylizer(service.url, "x").card


class TestErrors:
    def test_busy_service_is_retried(self, service, photo):
        service.answers = [problem(503, "full", **{"Retry-After": "1"})] * 2
        painted = RemoteStylizer(service.url, STYLE).paint(photo)
        np.testing.assert_array_equal(painted.pixels, Stylizer(STYLE).paint(photo).pixels)
        assert len(service.asked) == 3

    @pytest.mark.parametrize("after", ["1", "99999999", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
    def test_retries_are_limited(self, service, photo, monkeypatch, after):
        pauses = []
        monkeypatch.setattr("fast_style.inference.remote.time.sleep", pauses.append)
        service.answers = [problem(503, "full", **{"Retry-After": after})] * 9
        with pytest.raises(fast_style.ServiceError, match="is busy"):
            RemoteStylizer(service.url, STYLE).paint(photo)
        assert len(service.asked) == 4
        assert len(pauses) == 3
        assert max(pauses) <= 8

    def test_retries_end_at_the_timeout(self, service, photo):
        service.answers = [problem(503, "full", **{"Retry-After": "5"})] * 9
        with pytest.raises(fast_style.ServiceError, match="is busy"):
            RemoteStylizer(service.url, STYLE, timeout=2).paint(photo)
        assert len(service.asked) == 1

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (413, fast_style.ImageTooLargeError),
            (422, fast_style.UsageError),
            (401, fast_style.ServiceError),
            (500, fast_style.ServiceError),
        ],
    )
    def test_problem_documents_become_exceptions(self, service, photo, status, kind):
        service.answers = [problem(status, "so it\n is")]
        with pytest.raises(kind, match="so it is"):
            RemoteStylizer(service.url, STYLE).paint(photo)
        assert len(service.asked) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            (404, {}, b"not here"),
            (302, {"Location": "http://example.invalid/"}, b""),
            (500, {"Content-Type": "application/problem+json"}, b"[1"),
            (500, {"Content-Type": "application/problem+json"}, b"[1]"),
        ],
        ids=["404", "302", "broken", "list"],
    )
    def test_other_error_responses(self, service, photo, answer):
        service.answers = [answer]
        with pytest.raises(fast_style.ServiceError, match=f"answers {answer[0]}"):
            RemoteStylizer(service.url, STYLE).paint(photo)

    def test_response_that_is_not_a_picture(self, service, photo):
        service.answers = [(200, {}, b"nothing")]
        with pytest.raises(fast_style.UnreadableImageError, match="the service's picture"):
            RemoteStylizer(service.url, STYLE).paint(photo)

    def test_response_of_another_size(self, service, photo):
        buffer = io.BytesIO()
        Image.new("RGB", (3, 4)).save(buffer, "PNG")
        service.answers = [(200, {}, buffer.getvalue())]
        with pytest.raises(fast_style.ServiceError, match="3x4 pixels for a photo of 70x50"):
            RemoteStylizer(service.url, STYLE).paint(photo)

    def test_unreachable_service(self, service, photo):
        url = "http://me:password@127.0.0.1:1"
        for ask in (lambda: RemoteStylizer(url, STYLE).paint(photo), lambda: remote_styles(url)):
            with pytest.raises(fast_style.ServiceError, match="no connection") as caught:
                ask()
            assert "password" not in str(caught.value)

    def test_timeout(self, service, photo, monkeypatch):
        monkeypatch.setattr(
            service.__class__, "answer", lambda *_: (threading.Event().wait(0.5), {}, b"")
        )
        with pytest.raises(fast_style.ServiceError, match="cannot be used"):
            RemoteStylizer(service.url, STYLE, timeout=0.1).paint(photo)


def test_paint_and_finish_equal_stylize_photo(service, astronaut):
    photo = read_image(astronaut)
    options = StyleOptions(size=128, strength=0.7)
    far = RemoteStylizer(service.url, STYLE).paint(photo, options).finish(options)
    near = Stylizer(STYLE).stylize_photo(photo, options)
    np.testing.assert_array_equal(far.pixels, near.pixels)
