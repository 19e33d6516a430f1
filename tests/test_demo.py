"""The demo's page in Streamlit's AppTest: every control, and results equal to the library's."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")

from streamlit.testing.v1 import AppTest  # noqa: E402

import fast_style  # noqa: E402
from fast_style.demo import session  # noqa: E402
from fast_style.models.model_file import save_model  # noqa: E402
from tests.commands import CHECKOUT  # noqa: E402
from tests.conftest import SMALLEST, STYLE, make_card, make_weights  # noqa: E402
from tests.demo_page import (  # noqa: E402
    OTHER,
    PAGE,
    SAMPLE,
    expected,
    get_text,
    link,
    open_page,
    photo_bytes,
    picture,
    run,
    slider,
    sliders,
    two_styles,
)


@pytest.fixture
def folder(workplace, model_file, monkeypatch):
    return two_styles(workplace, model_file, monkeypatch)


@pytest.fixture
def passes(monkeypatch):
    """Record the style and options of each pass of a network."""
    made = []
    paint = fast_style.Stylizer.paint

    def record(self, photo, options, guides=None):
        made.append((self.card.name, options))
        return paint(self, photo, options, guides)

    monkeypatch.setattr(fast_style.Stylizer, "paint", record)
    return made


@pytest.fixture
def offered(monkeypatch):
    """Return a function that makes the file that a download button offers."""
    files = {}
    button = st.download_button

    def record(label, data, **options):
        files[options["key"]] = data
        return button(label, data, **options)

    monkeypatch.setattr(st, "download_button", record)

    def download(key="download"):
        return files[key]() if callable(files[key]) else files[key]

    return download


class TestStylize:
    def test_it_opens_with_a_result(self, folder, passes):
        at = open_page()
        assert picture(at) == expected(SAMPLE)
        assert len(passes) == 2  # the second is the test's own
        data = slider(at)
        assert (data["width"], data["height"]) == (512, 512)
        assert "astronaut.jpg in the style of Wheat Field" in data["after_alt"]
        assert "512 \u00d7 512 pixels in" in get_text(at)
        assert "openvino (cpu," in get_text(at)
        alts = [image.proto.imgs[0].alt for image in at.get("imgs") or at.get("image")]
        paintings = [group for group in session.list_groups() if group.first.card.thumbnail]
        assert len(alts) == 4 + len(paintings) >= 5
        assert all(alts)
        for kind in ("button", "slider", "select_slider", "toggle", "selectbox", "file_uploader"):
            assert all(element.label for element in at.get(kind))

    def test_rerunning_computes_nothing(self, folder, passes):
        at = open_page()
        before = picture(at)
        for _ in range(3):
            assert picture(run(at)) == before
        assert len(passes) == 1

    def test_a_click_chooses_a_style_and_updates_the_link(self, folder):
        at = open_page()
        assert at.button(key=f"pick-{STYLE}").label.startswith("✓")
        run(at.button(key=f"pick-{OTHER}").click())
        assert picture(at) == expected(SAMPLE, OTHER)
        assert link(at) == [OTHER]
        assert at.button(key=f"pick-{OTHER}").label.startswith("✓")
        assert not at.button(key=f"pick-{STYLE}").label.startswith("✓")
        again = open_page(OTHER)
        assert picture(again) == picture(at)

    def test_a_link_to_a_missing_style_shows_a_notice(self, folder):
        at = open_page("frobnicate")
        assert "no style 'frobnicate'" in get_text(at)
        assert slider(at)["width"] == 512
        assert "frobnicate" not in get_text(run(at))

    @pytest.mark.parametrize(
        ("strength", "colours"),
        [(0, ""), (35, ""), (140, ""), (35, "luminance"), (100, "histogram"), (100, "chroma")],
    )
    def test_strength_and_colours_need_no_pass(self, folder, passes, strength, colours):
        at = open_page()
        at.slider(key="strength").set_value(strength)
        at.selectbox(key="colours").select(colours)
        run(at)
        assert len(passes) == 1
        wanted = expected(SAMPLE, strength=strength / 100, preserve_color=colours or False)
        assert picture(at) == wanted

    def test_size_and_strokes_need_one_pass(self, folder, passes):
        at = open_page()
        run(at.select_slider(key="size").set_value(384))
        assert picture(at) == expected(SAMPLE, size=384)
        passes.clear()
        run(at.select_slider(key="stroke").set_value(2.0))
        assert passes == [(STYLE, fast_style.StyleOptions(size=384, stroke_size=2.0))]
        assert picture(at) == expected(SAMPLE, size=384, stroke_size=2.0)
        passes.clear()
        run(at.select_slider(key="stroke").set_value("auto"))
        assert passes == []  # from the cache

    def test_blends_are_those_of_the_library(self, folder):
        at = open_page()
        assert at.slider(key="share").disabled
        run(at.selectbox(key="blend").select(OTHER))
        assert picture(at) == expected(SAMPLE, f"{STYLE}:0.5,{OTHER}:0.5")
        run(at.slider(key="share").set_value(80))
        assert picture(at) == expected(SAMPLE, f"{STYLE}:0.2,{OTHER}:0.8")
        run(at.slider(key="share").set_value(100))
        assert picture(at) == expected(SAMPLE, OTHER)

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WebP"])
    def test_download_is_the_file_of_the_library(self, folder, offered, format):
        at = open_page()
        at.slider(key="strength").set_value(60)
        at.get("button_group")  # the control is there under its own name
        at.session_state["format"] = format
        run(at)
        photo = fast_style.read_image(SAMPLE)
        whole = fast_style.Stylizer(STYLE).stylize_photo(
            photo, fast_style.StyleOptions(size=1024, strength=0.6)
        )
        assert offered() == fast_style.encode_image(whole, format=format)[0]


class TestPhotos:
    def test_samples_can_be_chosen(self, folder):
        at = open_page()
        run(at.button(key="sample-coffee").click())
        assert picture(at) == expected((CHECKOUT / "examples" / "coffee.jpg").read_bytes())
        assert at.button(key="sample-coffee").label.startswith("✓")

    def test_a_removed_upload_is_replaced_by_the_sample(self, folder):
        at = open_page()
        content = photo_bytes(1)
        run(at.file_uploader(key="upload").set_value([("mine.png", content, "image/png")]))
        assert picture(at) == expected(content)
        assert "mine.png" in slider(at)["before_alt"]
        run(at.file_uploader(key="upload").set_value(None))
        assert picture(at) == expected(SAMPLE)

    def test_camera_photos_are_used(self, folder):
        at = open_page()
        at.session_state["source"] = "Camera"
        run(at)
        content = photo_bytes(2, format="JPEG")
        run(at.camera_input(key="camera").set_value(("shot.jpg", content, "image/jpeg")))
        assert picture(at) == expected(content)
        at.session_state["source"] = "Upload"
        assert picture(run(at)) == expected(content)  # the last photo stays

    def test_several_photos_are_downloaded_as_one_archive(self, folder, offered):
        at = open_page()
        contents = [photo_bytes(seed) for seed in range(3)]
        names = ["a.png", "b.png", "a.png"]
        uploads = [(n, c, "image/png") for n, c in zip(names, contents, strict=True)]
        run(at.file_uploader(key="upload").set_value(uploads))
        assert picture(at) == expected(contents[0])
        run(at.selectbox(key="large").set_value(2))
        assert picture(at) == expected(contents[2])
        at.session_state["format"] = "PNG"
        run(at)
        with zipfile.ZipFile(io.BytesIO(offered())) as archive:
            wanted = [f"a-{STYLE}.png", f"b-{STYLE}.png", f"a-{STYLE}-2.png"]
            assert archive.namelist() == wanted
            stylizer = fast_style.Stylizer(STYLE)
            for name, content in zip(wanted, contents, strict=True):
                with Image.open(archive.open(name)) as image:
                    np.testing.assert_array_equal(image, stylizer.stylize(content, size=1024))

    def test_a_broken_photo_shows_an_error_and_the_others_are_stylized(self, folder):
        at = open_page()
        good = photo_bytes(3)
        uploads = [("bad.jpg", b"\xff\xd8\xffnothing", "image/jpeg"), ("x.png", good, "image/png")]
        run(at.file_uploader(key="upload").set_value(uploads))
        (error,) = at.error
        assert "bad.jpg" in error.value.replace("\\", "")
        assert picture(at) == expected(good)
        run(at.file_uploader(key="upload").set_value([uploads[0]]))
        assert len(at.error) == 1
        assert not sliders(at)

    def test_limits_are_enforced(self, folder, monkeypatch):
        at = open_page()
        uploads = [(f"{i}.png", photo_bytes(i, (16, 16)), "image/png") for i in range(11)]
        run(at.file_uploader(key="upload").set_value(uploads))
        assert "At most 10 photos" in get_text(at)
        assert len(at.session_state.photos) == 10
        monkeypatch.setattr(session, "MAX_FILE_MB", 0.0001)
        run(at.file_uploader(key="upload").set_value([("big.png", photo_bytes(1), "image/png")]))
        assert "big.png is left out" in get_text(at)
        assert picture(at) == expected(SAMPLE)

    def test_photos_with_too_many_pixels_are_refused(self, folder, monkeypatch):
        monkeypatch.setattr("fast_style.demo.cache.MAX_MEGAPIXELS", 0.001)
        at = open_page()
        run(at.file_uploader(key="upload").set_value([("big.png", photo_bytes(1), "image/png")]))
        assert "megapixel" in at.error[0].value


class TestSeveralStyles:
    def test_styles_are_compared(self, folder, offered):
        at = open_page()
        run(at.toggle(key="several").set_value(True))
        run(at.button(key=f"pick-{OTHER}").click())
        assert link(at) == [STYLE, OTHER]
        assert at.selectbox(key="large").options == [
            "astronaut.jpg, Wheat Field with Cypresses",
            "astronaut.jpg, Waves",
        ]
        with zipfile.ZipFile(io.BytesIO(offered())) as archive:
            assert archive.namelist() == [f"astronaut-{name}.jpg" for name in (STYLE, OTHER)]
        run(at.button(key=f"pick-{STYLE}").click())  # removes it
        assert picture(at) == expected(SAMPLE, OTHER)
        run(at.toggle(key="several").set_value(False))
        assert link(at) == [OTHER]

    def test_a_link_may_name_several_styles(self, folder):
        at = open_page(STYLE, OTHER)
        assert at.toggle(key="several").value is True
        assert len(at.selectbox(key="large").options) == 2

    def test_working_size_is_limited_for_several_pictures(self, folder, passes):
        at = open_page(STYLE, OTHER)
        run(at.select_slider(key="size").set_value(2048))
        assert "made at 1024 pixels" in get_text(at)
        assert {options.size for _, options in passes} == {1024}
        run(at.toggle(key="several").set_value(False))
        assert "made at 1024 pixels" not in get_text(at)
        assert passes[-1][1].size == 2048

    def test_number_of_styles_is_limited(self, folder, monkeypatch):
        monkeypatch.setattr(session, "MAX_STYLES", 1)
        at = open_page()
        run(at.toggle(key="several").set_value(True))
        run(at.button(key=f"pick-{OTHER}").click())
        assert "At most 1 styles" in get_text(at)
        assert picture(at) == expected(SAMPLE, STYLE)

    def test_contact_sheet_of_all_styles(self, folder, offered, monkeypatch):
        few = dict(list(session.list_registered_styles().items())[-3:])
        monkeypatch.setattr("fast_style.demo.downloads.list_registered_styles", lambda: few)
        at = open_page()
        assert "download-sheet" not in [button.key for button in at.get("download_button")]
        run(at.button(key="all-styles").click())
        photo = fast_style.read_image(SAMPLE).pixels
        sheet = fast_style.read_image(fast_style.contact_sheet([photo], list(few), size=320))
        wanted, _ = fast_style.encode_image(sheet, format="JPEG", quality=90)
        assert offered("download-sheet") == wanted
        run(at.button(key="sample-coffee").click())
        assert "download-sheet" not in [button.key for button in at.get("download_button")]


def test_gallery_of_many_styles(folder):
    for number in range(12):
        card = make_card(f"copy-{number:02d}", title=f"Copy {number}")
        path = folder / f"copy-{number:02d}.safetensors"
        save_model(path, card, make_weights(SMALLEST, seed=number))
    at = open_page()
    picks = [button for button in at.button if button.key.startswith("pick-")]
    assert len(picks) == len(session.list_groups()) >= 14
    assert sum(button.label.startswith("✓") for button in picks) == 1
    run(at.button(key="pick-copy-11").click())
    assert picture(at) == expected(SAMPLE, "copy-11")
    assert "Copy 3" in at.selectbox(key="blend").options


class TestUploadTab:
    def test_an_uploaded_model_is_added_to_the_gallery(self, folder, tmp_path, monkeypatch):
        path = tmp_path / "mine.safetensors"
        card = make_card("mine", title="<b>My</b> *own*", artist="Me")
        save_model(path, card, make_weights(SMALLEST, seed=9))
        at = open_page()
        cache = tmp_path / "cache"
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        content = path.read_bytes()
        upload = ("mine.safetensors", content, "application/octet-stream")
        run(at.file_uploader(key="model").set_value(upload))
        assert "<b>My</b> *own*" in get_text(at)
        assert not cache.exists()  # uploads are not compiled to disk
        assert picture(at) == expected(SAMPLE, path)
        assert link(at) == []
        run(at.button(key="forget").click())
        assert not [button for button in at.button if button.key.startswith("pick-own-")]
        (entry,) = [b for b in at.button if b.key.startswith("history-") and "My" in b.label]
        run(entry.click())
        assert "not in the gallery any more" in get_text(at)
        assert slider(at)["width"] == 512

    @pytest.mark.parametrize(
        ("name", "content", "sentence"),
        [
            ("a.safetensors", pickle.dumps({"a": 1}, protocol=2), "pickled checkpoint"),
            ("b.safetensors", b"PK\x03\x04" + bytes(50), "pickled checkpoint"),
            ("c.safetensors", b"nothing", "not a safetensors file"),
        ],
        ids=["pickle", "zip", "text"],
    )
    def test_other_files_are_refused(self, folder, name, content, sentence):
        at = open_page()
        upload = (name, content, "application/octet-stream")
        run(at.file_uploader(key="model").set_value(upload))
        (error,) = at.error
        assert name in error.value.replace("\\", "")
        assert sentence in error.value
        assert picture(at) == expected(SAMPLE)
        run(at.file_uploader(key="model").set_value(None))
        assert not at.error


def test_unexpected_failures_show_a_sentence_and_are_logged(folder, monkeypatch, caplog):
    monkeypatch.setattr("fast_style.demo.page.show_stylize_tab", lambda: 1 / 0)
    at = run(AppTest.from_file(PAGE))
    (error,) = at.error
    assert "went wrong on the server" in error.value
    assert "ZeroDivisionError" in caplog.text


def test_visitors_share_no_results(folder, passes):
    content = photo_bytes(4)
    upload = [("mine.png", content, "image/png")]
    first, second = open_page(), open_page()
    assert len(passes) == 1  # results of samples are shared
    run(first.file_uploader(key="upload").set_value(upload))
    assert "mine.png" not in get_text(run(second)) + json.dumps(slider(second))
    run(second.file_uploader(key="upload").set_value(upload))
    assert len(passes) == 3  # those of uploads are not
    assert first.session_state.owner != second.session_state.owner


def test_nothing_is_written_to_disk(folder, offered):
    workplace = Path.cwd()
    before = sorted(workplace.rglob("*"))
    at = open_page()
    uploads = [("mine.png", photo_bytes(5), "image/png")]
    run(at.file_uploader(key="upload").set_value(uploads))
    offered()
    assert sorted(workplace.rglob("*")) == before
