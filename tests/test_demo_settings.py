"""The demo's settings: links that carry them, the history, masks, sizes of downloads."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")

from streamlit.testing.v1 import AppTest  # noqa: E402

import fast_style  # noqa: E402
from fast_style.demo import history, masks, session, settings  # noqa: E402
from tests.conftest import STYLE  # noqa: E402
from tests.demo_page import (  # noqa: E402
    OTHER,
    PAGE,
    SAMPLE,
    SHOWN_QUALITY,
    expected,
    get_text,
    open_page,
    photo_bytes,
    picture,
    run,
    slider,
    two_styles,
)


@pytest.fixture
def folder(workplace, model_file, monkeypatch):
    return two_styles(workplace, model_file, monkeypatch)


def open_link(**values: str) -> AppTest:
    at = AppTest.from_file(PAGE)
    for key, value in values.items():
        at.query_params[key] = value
    return run(at)


def query(at: AppTest) -> dict[str, str]:
    return {
        key: value[0] if isinstance(value, list) else value
        for key, value in at.query_params.items()
    }


def make_mask(size=(60, 40)) -> bytes:
    """Return a mask with a white left half."""
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[:, : size[0] // 2] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class TestLinks:
    def test_a_link_carries_all_settings(self, folder):
        at = open_page()
        at.slider(key="strength").set_value(60)
        at.select_slider(key="size").set_value(384)
        at.select_slider(key="stroke").set_value(2.0)
        at.selectbox(key="colours").select("chroma")
        at.selectbox(key="blend").select(OTHER)
        run(at)
        run(at.slider(key="share").set_value(30))
        link = query(at)
        assert link == {
            "style": STYLE,
            "strength": "60",
            "size": "384",
            "stroke": "2.0",
            "colours": "chroma",
            "blend": OTHER,
            "share": "30",
        }
        again = open_link(**link)
        assert picture(again) == picture(at)
        assert again.slider(key="strength").value == 60
        assert query(again) == link

    def test_defaults_are_left_out(self, folder):
        at = open_page()
        assert query(at) == {"style": STYLE}
        run(at.slider(key="strength").set_value(50))
        assert query(at) == {"style": STYLE, "strength": "50"}
        run(at.slider(key="strength").set_value(100))
        assert query(at) == {"style": STYLE}

    @pytest.mark.parametrize(
        "values",
        [{"strength": "47"}, {"size": "-1"}, {"stroke": "nan"}, {"colours": "x" * 9999}],
        ids=["step", "size", "stroke", "colours"],
    )
    def test_values_that_are_none_are_ignored(self, folder, values):
        at = open_link(style=STYLE, **values)
        assert picture(at) == expected(SAMPLE)
        assert query(at) == {"style": STYLE}

    def test_a_link_to_a_missing_blend_is_ignored(self, folder):
        at = open_link(style=STYLE, blend="frobnicate", elsewhere="frobnicate")
        assert picture(at) == expected(SAMPLE)


class TestHistory:
    def entries(self, at: AppTest) -> list:
        return [button for button in at.button if button.key.startswith("history-")]

    def test_results_can_be_gone_back_to(self, folder):
        at = open_page()
        assert self.entries(at) == []
        first = picture(at)
        content = photo_bytes(1)
        run(at.file_uploader(key="upload").set_value([("mine.png", content, "image/png")]))
        run(at.button(key=f"pick-{OTHER}").click())
        run(at.slider(key="strength").set_value(40))
        last = picture(at)
        buttons = self.entries(at)
        assert len(buttons) == 4
        assert buttons[0].label.startswith("✓")
        run(buttons[-1].click())
        assert picture(at) == first
        assert at.slider(key="strength").value == 100
        assert self.entries(at)[-1].label.startswith("✓")
        run(self.entries(at)[0].click())
        assert picture(at) == last
        assert len(self.entries(at)) == 4  # going back adds nothing

    def test_it_is_bounded(self, folder, monkeypatch):
        monkeypatch.setattr(history, "MAX_ENTRIES", 3)
        at = open_page()
        for strength in (10, 20, 30, 40):
            run(at.slider(key="strength").set_value(strength))
        assert len(self.entries(at)) == 3
        monkeypatch.setattr(history, "MAX_TOTAL_MB", 1e-6)
        for seed in (1, 2):
            upload = ("mine.png", photo_bytes(seed), "image/png")
            run(at.file_uploader(key="upload").set_value([upload]))
        assert len(at.session_state.history) == 1

    def test_visitors_have_their_own(self, folder):
        first, second = open_page(), open_page()
        run(first.slider(key="strength").set_value(10))
        assert len(self.entries(first)) == 2
        assert self.entries(run(second)) == []


class TestMasks:
    def with_mask(self, folder, content: bytes) -> AppTest:
        at = open_page()
        at.session_state["mask_way"] = "Upload"
        run(at)
        return run(at.file_uploader(key="mask-upload").set_value(("m.png", content, "image/png")))

    def stylized(self, style=STYLE, **options) -> bytes:
        chosen = {"feather": 8.0, **options}
        photo, guides = fast_style.read_image(SAMPLE), fast_style.read_guides(make_mask())
        made = fast_style.Stylizer(style).stylize_photo(
            photo, fast_style.StyleOptions(size=1024, **chosen), guides
        )
        return fast_style.encode_image(made, format="JPEG", quality=SHOWN_QUALITY)[0]

    def test_an_uploaded_mask_is_that_of_the_library(self, folder):
        at = self.with_mask(folder, make_mask())
        assert picture(at) == self.stylized()
        run(at.slider(key="feather").set_value(0))
        assert picture(at) == self.stylized(feather=0.0)
        run(at.toggle(key="invert").set_value(True))
        assert picture(at) == self.stylized(feather=0.0, invert_mask=True)
        run(at.slider(key="strength").set_value(30))
        assert picture(at) == self.stylized(feather=0.0, invert_mask=True, strength=0.3)

    def test_another_style_goes_elsewhere(self, folder):
        at = self.with_mask(folder, make_mask())
        run(at.selectbox(key="elsewhere").select(OTHER))
        assert picture(at) == self.stylized([STYLE, OTHER])

    def test_a_broken_mask_is_one_sentence(self, folder):
        at = self.with_mask(folder, b"nothing")
        (error,) = at.error
        assert "mask" in error.value.replace("\\", "")
        run(at.file_uploader(key="mask-upload").set_value(None))
        assert picture(at) == expected(SAMPLE)

    def test_a_mask_is_part_of_the_history(self, folder):
        at = self.with_mask(folder, make_mask())
        masked = picture(at)
        (_, whole) = [b for b in at.button if b.key.startswith("history-")]
        run(whole.click())
        assert picture(at) == expected(SAMPLE)
        assert at.session_state["mask_way"] == "Whole photo"
        run(next(b for b in at.button if b.key.startswith("history-")).click())
        assert picture(at) == masked

    @pytest.mark.parametrize("text", ["", "x", "data:image/png;base64,!!!", masks._PNG + "AAAA"])
    def test_what_the_editor_sends_is_checked(self, folder, text, monkeypatch):
        state = {"mask-editor": {"mask": text}}
        monkeypatch.setattr(masks.st, "session_state", state)
        masks._handle_painting()
        assert state["masks"] == {}

    def test_what_is_painted_is_the_mask(self, folder, monkeypatch):
        text = masks._PNG + base64.b64encode(make_mask()).decode()
        state = {"mask-editor": {"mask": text}}
        monkeypatch.setattr(masks.st, "session_state", state)
        masks._handle_painting()
        read = fast_style.read_guides(state["masks"]["Paint"].content).masks[0]
        np.testing.assert_array_equal(read, fast_style.read_guides(make_mask()).masks[0])


class TestFullSize:
    def test_the_download_has_the_size_of_the_photo(self, folder, monkeypatch):
        files = {}
        button = st.download_button

        def record(label, data, **options):
            files[options["key"]] = data
            return button(label, data, **options)

        monkeypatch.setattr(st, "download_button", record)
        at = open_page()
        run(at.select_slider(key="size").set_value(384))
        content = photo_bytes(1, (800, 600))
        run(at.file_uploader(key="upload").set_value([("big.png", content, "image/png")]))
        assert slider(at)["width"] == 384
        assert "the download has 800 \u00d7 600" in get_text(at)
        with Image.open(io.BytesIO(files["download"]())) as image:
            assert image.size == (800, 600)
        whole = fast_style.Stylizer(STYLE).stylize_photo(
            fast_style.read_image(content), fast_style.StyleOptions()
        )
        wanted = fast_style.encode_image(whole, format="JPEG")[0]
        assert files["download"]() == wanted

    def test_strokes_grow_with_the_picture(self):
        from fast_style.demo.downloads import scale_options

        options = fast_style.StyleOptions(size=1024, stroke_size=2.0, feather=10.0)
        scaled = scale_options(options, 3.0)
        assert scaled.size is None
        assert scaled.stroke_size == 6.0
        assert scaled.feather == 30.0
        assert scale_options(fast_style.StyleOptions(size=9), 3.0).stroke_size == "auto"


def test_photos_of_phones_are_read(folder, tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs the extra heif")
    with Image.open(io.BytesIO(photo_bytes(5, (96, 64)))) as image:
        heif.from_pillow(image).save(tmp_path / "IMG_0001.heic", quality=90)
    content = (tmp_path / "IMG_0001.heic").read_bytes()
    at = open_page()
    upload = ("IMG_0001.HEIC", content, "image/heic")
    run(at.file_uploader(key="upload").set_value([upload]))
    assert not at.error
    assert picture(at) == expected(content)


def test_settings_have_sound_defaults():
    for key, setting in settings.SETTINGS.items():
        assert setting.read(str(setting.default)) == setting.default, key
    assert session.MAX_OWN_STYLES > 1
