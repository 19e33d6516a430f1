"""`stylize --skip-existing`, and the note in each picture that it compares."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from fast_style.images import WRITABLE_SUFFIXES, format_from_suffix, keeps_exif, read_image
from fast_style.images.exif import list_tags
from fast_style.images.provenance import read_provenance
from fast_style.models.model_file import save_model
from tests.commands import invoke
from tests.conftest import SMALLEST, STYLE, make_card, make_weights
from tests.fast_engine import inverting_engine

__all__ = ["inverting_engine"]

OTHER = "sunflowers"


@pytest.fixture(autouse=True)
def cwd(workplace: Path) -> Path:
    (workplace / "saved_models").mkdir()
    path = workplace / "saved_models" / f"{OTHER}.safetensors"
    save_model(path, make_card(OTHER), make_weights(SMALLEST, seed=1))
    for name in ("a", "b"):
        picture(f"in/{name}.jpg")
    return workplace


def picture(path, color=(10, 100, 200), exif=None) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), color).save(path, **({} if exif is None else {"exif": exif}))
    os.utime(path, (1_600_000_000, 1_600_000_000))  # older than every output
    return path


def stylize(*args, style=STYLE):
    result = invoke("stylize", "in", "-o", "out", "-s", style, *args)
    assert result.code == 0, result.err
    return result


def again(*args, style=STYLE):
    """Stylize with --skip-existing; return numbers of pictures by what became of them."""
    rows = stylize("--skip-existing", "--json", *args, style=style).json["images"]
    return [row.get("redone", "skipped" if "skipped" in row else "new") for row in rows]


class TestSkipping:
    def test_finished_pictures_are_skipped(self):
        stylize()
        before = Path("out/a.jpg").stat().st_mtime_ns
        picture("in/c.jpg")
        result = stylize("--skip-existing")
        assert result.lines[-1] == "1 stylized, 2 skipped"
        assert "made again" not in result.err
        assert Path("out/a.jpg").stat().st_mtime_ns == before
        assert again() == ["skipped", "skipped", "skipped"]

    def test_another_style_is_made_again(self):
        stylize()
        result = stylize("--skip-existing", style=OTHER)
        assert result.lines[0] == (
            "fast-style: note: outputs that are made again: 2 of another style"
        )
        assert again(style=OTHER) == ["skipped", "skipped"]
        assert again() == ["of another style"] * 2

    def test_a_file_of_the_same_name_with_other_weights_is_another_style(self):
        stylize(style=OTHER)
        save_model(
            f"saved_models/{OTHER}.safetensors", make_card(OTHER), make_weights(SMALLEST, seed=2)
        )
        assert again(style=OTHER) == ["of another style"] * 2

    @pytest.mark.parametrize(
        "options",
        [
            ("--strength", 0.5),
            ("--size", 10),
            ("--preserve-color",),
            ("--quality", 80),
            ("--strip", "location"),
        ],
    )
    def test_other_options_are_made_again(self, options):
        stylize()
        assert again(*options) == ["made with other options"] * 2
        assert again(*options) == ["skipped"] * 2

    def test_shares_of_a_mixture_count(self):
        stylize(style=f"{STYLE}:0.5,{OTHER}:0.5")
        assert again(style=f"{STYLE}:0.5,{OTHER}:0.5") == ["skipped"] * 2
        assert again(style=f"{STYLE}:0.6,{OTHER}:0.4") == ["of another style"] * 2

    def test_options_of_speed_do_not_count(self):
        stylize()
        assert again("--workers", 1, "--tile", 64, "--max-megapixels", 10) == ["skipped"] * 2

    def test_empty_old_damaged_and_foreign_files(self):
        for name in ("c", "d"):
            picture(f"in/{name}.jpg")
        stylize()
        Path("out/a.jpg").write_bytes(b"")
        os.utime("out/b.jpg", (1_500_000_000, 1_500_000_000))
        Path("out/c.jpg").write_bytes(b"not a picture")
        picture("out/d.jpg")
        os.utime("out/d.jpg")
        result = stylize("--skip-existing", "--json")
        assert [row["redone"] for row in result.json["images"]] == [
            "empty",
            "older than the photo",
            "damaged",
            "without a note of how it was made",
        ]
        assert result.lines[0] == (
            "fast-style: note: outputs that are made again: 1 empty, 1 older than the photo, "
            "1 damaged, 1 without a note of how it was made"
        )
        assert again() == ["skipped"] * 4

    def test_another_photo_of_that_name_is_made_again(self):
        stylize()
        Image.effect_noise((40, 30), 90).convert("RGB").save("in/b.jpg")
        os.utime("in/b.jpg", (1_600_000_000, 1_600_000_000))
        assert again() == ["skipped", "of another photo"]

    def test_without_notes_dates_count(self):
        stylize("--no-note")
        assert again("--no-note") == ["skipped"] * 2
        assert again("--no-note", style=OTHER) == ["skipped"] * 2
        Path("out/a.jpg").write_bytes(b"")
        assert again("--no-note") == ["skipped", "empty"]  # skipped ones come first
        assert again() == ["without a note of how it was made"] * 2

    def test_formats_without_exif_go_by_date(self):
        stylize("--format", "bmp")
        assert again("--format", "bmp") == ["skipped"] * 2

    def test_outputs_of_bulk_are_finished_for_stylize(self):
        done = invoke("bulk", "in", "-o", "out", "-s", STYLE, "--strength", 0.5)
        assert done.code == 0, done.err
        assert again("--strength", 0.5) == ["skipped"] * 2
        assert again() == ["made with other options"] * 2


class TestNotes:
    @pytest.mark.parametrize("suffix", sorted(s for s in WRITABLE_SUFFIXES if keeps_exif(f"x{s}")))
    def test_every_format_with_exif_keeps_the_note(self, suffix):
        exif = Image.Exif()
        exif[0x010F] = "Maker"
        photo = picture("photo.jpg", exif=exif)
        out = f"out{suffix}"
        options = ("--strength", 0.5, "-o", out)
        assert invoke("stylize", photo, "-s", STYLE, *options).code == 0
        made = read_provenance(out)
        assert made.style == STYLE
        assert made.options == {"strength": 0.5}
        assert made.source_bytes == photo.stat().st_size
        written = read_image(out)
        assert written.format == format_from_suffix(out)
        assert list_tags(written.exif)[0x010F] == "Maker"

    def test_note_is_json_in_image_history(self):
        stylize()
        with Image.open("out/a.jpg") as image:
            text = image.getexif().get_ifd(0x8769)[0x9213]
        program, version, document = text.split(" ", 2)
        assert program == "fast-style"
        assert version[0].isdigit()
        assert json.loads(document)["style"] == STYLE
        assert len(text) < 250
        assert text.isascii()

    @pytest.mark.parametrize("option", [("--no-note",), ("--strip", "all")])
    def test_left_out(self, option):
        stylize(*option)
        assert read_provenance("out/a.jpg") is None
        with Image.open("out/a.jpg") as image:
            assert not image.getexif()

    def test_note_of_an_earlier_picture_is_not_copied(self):
        stylize("--strength", 0.5)
        assert invoke("stylize", "out/a.jpg", "-s", OTHER, "-o", "twice.jpg").code == 0
        assert read_provenance("twice.jpg").style == OTHER
        assert invoke("stylize", "out/a.jpg", "-s", OTHER, "-o", "x.jpg", "--no-note").code == 0
        assert read_provenance("x.jpg") is None

    @pytest.mark.parametrize(
        "text",
        [
            "by hand",
            "fast-style 1.0 {",
            "fast-style 1.0 []",
            "fast-style 1.0 " + "[" * 100_000,
            'fast-style 1.0 {"style":"x","identity":"y","options":7}',
            "fast-style",
        ],
    )
    def test_other_histories_are_no_notes(self, text):
        exif = Image.Exif()
        exif[0x8769] = {0x9213: text}
        picture("x.png", exif=exif)
        assert read_provenance("x.png") is None
