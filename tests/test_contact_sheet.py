"""The contact sheet: its layout, its contents, and the command."""

import io
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

import fast_style
from fast_style.errors import StyleNotFoundError, UnreadableImageError, UsageError
from fast_style.images import Photo, read_image, resize_to
from fast_style.inference import contact_sheet as sheet_module
from fast_style.inference.contact_sheet import common_height, contact_sheet, drawable, lay_out, wrap
from fast_style.inference.stylizer import Stylizer
from fast_style.models.model_file import save_model
from fast_style.styles import registry
from tests.commands import failure, invoke
from tests.conftest import SMALLEST, make_card, make_weights

SIZE = 96


def painting(color: tuple[int, int, int]) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 40), color).save(content, "WEBP", lossless=True)
    return content.getvalue()


@pytest.fixture
def models_folder(tmp_path, monkeypatch) -> Path:
    """A folder of two styles: `cafe` with a red painting and `wave` without a painting."""
    folder = tmp_path / "models"
    cards = {
        "cafe": make_card("cafe", title="Café de nuit", thumbnail=painting((250, 0, 0))),
        "wave": make_card("wave", title="", artist="", year=""),
    }
    for seed, (name, card) in enumerate(cards.items()):
        save_model(folder / f"{name}.safetensors", card, make_weights(SMALLEST, seed))
    monkeypatch.setenv("FAST_STYLE_MODELS", str(folder))
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "package" / "styles" / "registry.py"))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def photos(models_folder, astronaut) -> list[Path]:
    with Image.open(astronaut) as image:
        image.crop((60, 20, 360, 220)).save("wide.png")
        image.crop((100, 0, 300, 300)).save("high.jpg")
    return [Path("wide.png"), Path("high.jpg")]


def box(image: Image.Image, cell: tuple[int, int, int, int]) -> np.ndarray:
    left, top, width, height = cell
    return np.asarray(image.crop((left, top, left + width, top + height)))


sides = st.integers(1, 400)


class TestLayout:
    @given(
        st.lists(st.tuples(sides, sides), min_size=1, max_size=5),
        st.integers(1, 23),
        st.none() | st.integers(1, 30),
    )
    def test_cells_are_on_the_sheet_and_do_not_overlap(self, photos, styles, columns):
        layout = lay_out(photos, styles, 400, columns)
        cells = [layout.cell(s, i) for s in range(styles) for i in range(len(photos) + 1)]
        cells += [
            layout.cell(None, i, column)
            for column in range(layout.columns)
            for i in range(1, len(photos) + 1)
        ]
        width, height = layout.size
        for left, top, wide, high in cells:
            assert left >= 0
            assert top >= 0
            assert left + wide <= width
            assert top + high <= height
        for i, (_, _, wide, high) in enumerate(cells[: len(photos) + 1]):
            if i:
                assert wide >= photos[i - 1][0]
                assert high >= photos[i - 1][1]
        for (x, y, w, h), (x2, y2, w2, h2) in combinations(cells[:60], 2):
            assert x + w < x2 or x2 + w2 < x or y + h < y2 or y2 + h2 < y

    def test_number_of_columns(self):
        many = lay_out([(384, 256)], 10, 384)
        assert many.columns == 3
        assert 1 < many.size[0] / many.size[1] < 2
        assert lay_out([(384, 256)] * 4, 4, 384).columns == 1
        assert lay_out([(384, 256)], 10, 384, 4).columns == 4
        assert (
            lay_out([(384, 256)], 10, 384, 7).columns == 5
        )  # two rows: seven would be partly bare
        assert lay_out([(384, 256)], 2, 384, 99).columns == 2

    def test_invalid_layouts_are_refused(self):
        for photos, styles, columns, says in (
            ([], 1, None, "at least one photo"),
            ([(9, 9)], 0, None, "at least one photo and one style"),
            ([(9, 9)], 1, 0, "columns is 0; expected 1 or more"),
            ([(2048, 2048)] * 9, 30, None, "smaller ones .--size 1024"),
        ):
            with pytest.raises(UsageError, match=says):
                lay_out(photos, styles, 2048, columns)

    def test_photos_get_the_height_of_the_flattest(self):
        assert common_height([(300, 300), (300, 200), (300, 180)], 300) == 180
        assert common_height([(300, 20), (200, 300)], 300) == 150


class TestText:
    def test_wrap_breaks_and_cuts_lines(self):
        def fits(text: str) -> bool:
            return len(text) <= 10

        assert wrap("Woman\n with a Hat", 2, fits) == ["Woman with", "a Hat"]
        assert wrap("one two three four five six", 2, fits) == ["one two", "three f..."]
        assert wrap("incomprehensibilities and", 2, fits) == ["incompr...", "and"]
        assert wrap("", 2, fits) == [""]

    @given(st.text(max_size=60), st.integers(4, 20), st.integers(1, 3))
    def test_wrapped_lines_always_fit(self, text, width, most):
        lines = wrap(text, most, lambda line: len(line) <= width)
        assert 1 <= len(lines) <= most
        assert all(len(line) <= width for line in lines)

    def test_missing_letters_lose_their_accents(self):
        font = ImageFont.load_default(20)
        assert drawable("The Night Café, Zoë", font) == "The Night Cafe, Zoe"
        assert drawable("神奈川沖浪裏 Wave", font) == "Wave"
        assert drawable("Plain: (A-Z) 1889", font) == "Plain: (A-Z) 1889"


class TestSheet:
    def test_photos_are_above_and_styles_in_rows(self, photos):
        image = contact_sheet(photos, ["cafe", "wave"], size=SIZE, columns=1)
        small = []
        for path in photos:
            photo = read_image(path, at_least=SIZE)
            scale = min(SIZE / photo.width, 64 / photo.height)
            small.append(
                resize_to(photo.pixels, round(photo.height * scale), round(photo.width * scale))
            )
        layout = lay_out([p.shape[1::-1] for p in small], 2, SIZE, 1)
        assert image.size == layout.size
        assert image.mode == "RGB"
        for style, name in ((None, None), (0, "cafe"), (1, "wave")):
            for i, pixels in enumerate(small, 1):
                expected = pixels
                if name:
                    expected = Stylizer(name).stylize_photo(Photo(pixels)).pixels
                found = box(image, layout.cell(style, i))
                height = (found.shape[0] - pixels.shape[0]) // 2
                middle = found[height : height + pixels.shape[0]].astype(int)
                assert np.abs(middle - expected).mean() < 3

    def test_paintings_and_captions(self, photos):
        image = contact_sheet(photos[:1], size=SIZE, columns=1)
        layout = lay_out([(96, 64)], 2, SIZE, 1)
        cafe, wave = (box(image, layout.cell(i, 0)).astype(int) for i in (0, 1))
        red = (cafe[..., 0] > 200) & (cafe[..., 1] < 60)
        assert red.sum() > 300
        rows, columns = np.nonzero(red)
        assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == pytest.approx(64 / 40, rel=0.08)
        assert (cafe[rows.max() + 1 :].max(axis=2) < 100).any()  # ink below it
        assert not ((wave[..., 0] > 200) & (wave[..., 1] < 60)).any()
        assert (wave.max(axis=2) < 100).any()  # a style without a title has its name

    def test_transparent_photos_show_the_paper(self, photos):
        with Image.open("wide.png") as opened:
            image = opened.convert("RGBA")
        image.putalpha(0)
        page = contact_sheet([image], ["wave"], size=SIZE)
        layout = lay_out([(96, 64)], 1, SIZE)
        assert (box(page, layout.cell(0, 1)) == page.getpixel((0, 0))).all()

    def test_unusable_photos_and_styles_are_left_out(self, photos, models_folder):
        (models_folder / "broken.safetensors").write_bytes(b"no model")
        errors, styles = [], []
        page = contact_sheet(
            [photos[0], "absent.jpg"],
            size=SIZE,
            on_problem=errors.append,
            on_style=lambda *state: styles.append(state),
        )
        assert styles == [("cafe", 1, 2), ("wave", 2, 2)]
        assert ["absent.jpg" in str(e) or "broken" in str(e) for e in errors] == [True, True]
        assert page.size == contact_sheet(photos[:1], ["cafe", "wave"], size=SIZE).size
        with pytest.raises(UnreadableImageError, match="absent"):
            contact_sheet(["absent.jpg"], ["wave"])
        with pytest.raises(StyleNotFoundError, match="wavy"):
            contact_sheet(photos, ["wavy"])
        with pytest.raises(UsageError, match="no photos to show"):
            contact_sheet(["absent.jpg"], ["wave"], on_problem=errors.append)
        with pytest.raises(UsageError, match="no styles to show"):
            contact_sheet(photos, ["wavy"], on_problem=errors.append)

    def test_unreadable_painting_is_left_out(self, photos, models_folder):
        card = make_card("odd", thumbnail=b"no picture")
        save_model(models_folder / "odd.safetensors", card, make_weights(SMALLEST))
        assert contact_sheet(photos, ["odd"], size=SIZE).size

    @pytest.mark.parametrize("size", [63, 2049, 96.0, True])
    def test_invalid_sizes_are_refused(self, photos, size):
        with pytest.raises(UsageError, match="size is"):
            contact_sheet(photos, size=size)

    def test_one_style_is_loaded_at_a_time(self, photos, monkeypatch):
        alive = []

        class Counted(Stylizer):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                alive.append(self)

        def only_one(self, photo, options=None):
            assert self is alive[-1]
            return Stylizer.stylize_photo(self, photo, options)

        monkeypatch.setattr(Counted, "stylize_photo", only_one, raising=False)
        monkeypatch.setattr(sheet_module, "Stylizer", Counted)
        contact_sheet(photos, size=SIZE)
        assert len(alive) == 2

    def test_contact_sheet_is_public(self):
        assert fast_style.contact_sheet is contact_sheet


class TestCommand:
    def test_default_shows_all_styles(self, photos):
        result = invoke("sheet", *photos, "--size", SIZE)
        assert (result.code, result.out) == (0, "")
        assert result.lines[:2] == ["cafe (1 of 2)", "wave (2 of 2)"]
        with Image.open("sheet.jpg") as image:
            assert result.lines[2] == f"-> sheet.jpg ({image.width}x{image.height})"
            assert image.format == "JPEG"

    def test_chosen_styles_with_quiet(self, photos):
        options = ["-s", "wave", "--size", SIZE, "-o", "page.png", "--quiet"]
        result = invoke("sheet", photos[0], *options)
        assert (result.code, result.out, result.err) == (0, "", "")
        with Image.open("page.png") as image:
            assert image.size == lay_out([(96, 64)], 1, SIZE).size

    def test_exit_code_3_if_some_fail(self, photos):
        result = invoke("sheet", *photos, "no.jpg", "-s", "wave", "-s", "wav", "--size", SIZE, "-q")
        assert result.code == 3
        assert len(result.lines) == 2
        assert "no.jpg does not exist" in result.err
        assert "did you mean wave?" in result.err
        assert Path("sheet.jpg").is_file()

    def test_exit_code_1_if_all_fail(self, photos):
        assert "no.jpg does not exist" in failure("sheet", "no.jpg", "-q")
        assert "did you mean wave?" in failure("sheet", photos[0], "-s", "wav", "-q")
        assert not Path("sheet.jpg").exists()

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["-o", "wide.png"], "would be overwritten"),
            (["-o", "sheet.xyz"], ".xyz"),
            (["--size", "9999"], "--size"),
            (["--columns", "0"], "--columns"),
        ],
    )
    def test_invalid_options_are_refused(self, photos, options, says):
        before = photos[0].read_bytes()
        assert says in failure("sheet", photos[0], *options, code=2)
        assert photos[0].read_bytes() == before
        assert sorted(p.name for p in Path().iterdir()) == ["high.jpg", "models", "wide.png"]

    def test_no_styles_is_an_error(self, photos, models_folder):
        shutil.rmtree(models_folder)
        assert "no styles" in failure("sheet", photos[0], code=2)


def test_controls_of_the_look(models_folder, photos):
    plain = contact_sheet(photos[:1], ["cafe"], size=SIZE)
    options = fast_style.StyleOptions(strength=0)
    photo_only = np.asarray(contact_sheet(photos[:1], ["cafe"], size=SIZE, options=options))
    assert (photo_only != np.asarray(plain)).any()
    result = invoke(
        "sheet", photos[0], "-s", "cafe", "--size", SIZE, "--strength", 0, "-o", "x.png"
    )
    assert result.code == 0, result.err
    np.testing.assert_array_equal(read_image("x.png").pixels, photo_only)
