"""`fast-style stylize` on valid input: its outputs and messages."""

import io
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from fast_style.inference import renderer as renderer_module
from fast_style.inference.pipeline import pillow_format
from fast_style.options import DeviceChoice, EngineChoice, OutputFormat, PrecisionChoice
from tests.commands import failure, invoke
from tests.conftest import STYLE


class Inverting:
    """A fast engine; the real ones are used in test_cli_commands.py."""

    name, device, precision = "inverting", "cpu", "fp32"

    def predict(self, images):
        return 255 - images


@pytest.fixture(autouse=True)
def cwd(workplace, monkeypatch) -> Path:
    monkeypatch.setattr(renderer_module, "create_engine", lambda model, options: Inverting())
    monkeypatch.setattr("fast_style.engines.unused_gpu", lambda: None)
    return workplace


@pytest.fixture
def photo(cwd, astronaut) -> Path:
    return Path(shutil.copy(astronaut, cwd / "photo.jpg"))


def picture(path, size=(12, 8), mode="RGB", color=(10, 100, 200)) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)
    return path


def opened(path) -> Image.Image:
    """Read a picture and close its file."""
    with Image.open(path) as image:
        image.load()
    return image


def stylize(*args, **options):
    return invoke("stylize", *args, "--style", STYLE, **options)


def wrong(*args, **options) -> str:
    return failure("stylize", *args, "--style", STYLE, code=2, **options)


class TestOnePhoto:
    def test_output_file(self, photo):
        result = stylize(photo.name, "-o", "out.png")
        assert result.code == 0
        assert result.out == ""
        assert result.lines == [result.err.rstrip()]
        assert result.err.startswith("photo.jpg -> out.png (256x256, ")
        with Image.open("out.png") as out, Image.open(photo) as content:
            assert out.format == "PNG"
            np.testing.assert_array_equal(np.asarray(out), 255 - np.asarray(content))

    def test_default_output_is_beside_the_photo(self, photo, cwd):
        assert stylize(photo).code == 0
        assert (cwd / f"photo-{STYLE}.jpg").is_file()

    def test_style_from_a_file(self, photo, cwd, model_file):
        result = invoke("stylize", photo, "--style", model_file)
        assert result.code == 0
        assert (cwd / f"photo-{STYLE}.jpg").is_file()

    def test_output_folder(self, photo):
        Path("there").mkdir()
        assert stylize(photo, "-o", "there").code == 0
        assert Path("there/photo.jpg").is_file()
        assert stylize(photo, "-o", "new/deep/").code == 0
        assert Path("new/deep/photo.jpg").is_file()

    def test_missing_output_folder_is_created(self, photo):
        assert stylize(photo, "-o", "new/out.jpg").code == 0
        assert Path("new/out.jpg").is_file()

    def test_existing_output_is_overwritten(self, photo):
        Path("out.jpg").write_text("old")
        assert stylize(photo, "-o", "out.jpg").code == 0
        assert opened("out.jpg").size == (256, 256)

    def test_size_strength_and_colour(self, photo):
        assert stylize(photo, "-o", "a.png", "--size", "100", "--strength", "0").code == 0
        assert stylize(photo, "-o", "b.png", "--size", "100", "--preserve-color").code == 0
        with Image.open("a.png") as unchanged, Image.open("b.png") as other:
            assert unchanged.size == other.size == (100, 100)
            chroma = [np.asarray(image.convert("YCbCr"))[..., 1:] for image in (unchanged, other)]
        difference = np.abs(chroma[0].astype(int) - chroma[1])
        assert np.median(difference) <= 2  # clipping changes a few

    def test_format_and_quality(self, photo):
        assert stylize(photo, "-o", "high.webp", "--quality", "95").code == 0
        assert stylize(photo, "-o", "low.webp", "--quality", "5").code == 0
        assert Path("low.webp").stat().st_size < Path("high.webp").stat().st_size / 4
        assert stylize(photo, "--format", "PNG").code == 0
        assert opened(f"photo-{STYLE}.png").format == "PNG"
        assert stylize(photo, "-o", "nosuffix", "--format", "jpg").code == 0
        assert opened("nosuffix").format == "JPEG"

    def test_suffixes_are_kept_if_writable(self, cwd):
        for name in ("A.JPG", "b.jpeg", "c.gif", "d.bmp"):
            picture(name)
        assert stylize(".", "-o", "out").code == 0
        assert {path.name for path in Path("out").iterdir()} == {
            "A.JPG",
            "b.jpeg",
            "c.png",
            "d.bmp",
        }

    @pytest.mark.parametrize("size", [(1, 1), (3, 2000)])
    def test_odd_sizes(self, size):
        picture("odd.png", size)
        assert stylize("odd.png", "-o", "out.png").code == 0
        assert opened("out.png").size == size

    def test_quiet_prints_nothing(self, photo):
        assert stylize(photo, "-o", "out.jpg", "-q").err == ""

    def test_control_characters_in_names_are_escaped(self, cwd):
        picture("a\x1b[31m\n[bold]b.png")
        result = stylize("a\x1b[31m\n[bold]b.png", "-o", "out.png")
        assert result.code == 0
        assert "\x1b" not in result.err
        assert len(result.lines) == 1


class TestFolders:
    def test_subfolders_are_skipped_by_default(self, cwd):
        picture("in/a.jpg")
        picture("in/deep/b.jpg")
        assert stylize("in", "-o", "out").code == 0
        assert sorted(p.name for p in Path("out").rglob("*")) == ["a.jpg"]

    def test_recursive_keeps_the_structure(self, cwd):
        for name in ("in/a.jpg", "in/deep/b.jpg", "in/deep/er/a.jpg", "in/.hidden/c.jpg"):
            picture(name)
        picture("in/._a.jpg")
        Path("in/notes.txt").write_text("no picture, and not taken for one")
        result = stylize("in", "-r")
        assert result.code == 0
        assert result.lines[-1] == "3 stylized"
        out = Path(f"in-{STYLE}")
        found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
        assert found == {"a.jpg", "deep/b.jpg", "deep/er/a.jpg"}

    def test_default_output_of_the_current_folder(self, cwd, monkeypatch):
        picture("in/a.jpg")
        monkeypatch.chdir("in")
        assert stylize(".").code == 0
        assert (cwd / f"in-{STYLE}" / "a.jpg").is_file()
        assert sorted(path.name for path in (cwd / "in").iterdir()) == ["a.jpg"]

    def test_output_folder_inside_the_input_is_skipped(self, cwd):
        picture("in/a.jpg")
        for _ in range(2):
            result = stylize("in", "-r", "-o", "in/out")
            assert result.code == 0
            assert "1" not in result.lines[-1].split("->")[0]
        assert len(list(Path("in").rglob("*.jpg"))) == 2

    def test_files_and_folders_can_be_mixed(self, cwd):
        picture("in/a.jpg")
        picture("b.jpg")
        assert stylize("in", "b.jpg", "-o", "out").code == 0
        assert sorted(path.name for path in Path("out").iterdir()) == ["a.jpg", "b.jpg"]

    def test_duplicate_inputs_are_stylized_once(self, cwd):
        picture("in/a.jpg")
        result = stylize("in", "in/a.jpg", "./in/a.jpg", "-o", "out")
        assert result.code == 0
        assert len(result.lines) == 1


class TestStreams:
    def test_stdin_to_stdout(self, photo):
        result = stylize("-", input=photo.read_bytes())
        assert result.code == 0
        assert result.err == ""
        with Image.open(io.BytesIO(result.out_bytes)) as out:
            assert (out.format, out.size) == ("JPEG", (256, 256))

    def test_stdout_with_a_format(self, photo):
        result = stylize(photo, "-o", "-", "--format", "webp")
        with Image.open(io.BytesIO(result.out_bytes)) as out:
            assert out.format == "WEBP"

    def test_stdin_to_a_file(self, photo):
        assert stylize("-", "-o", "out.png", input=photo.read_bytes()).code == 0
        assert opened("out.png").size == (256, 256)

    def test_unwritable_format_becomes_png(self, cwd):
        data = picture("a.gif").read_bytes()
        result = stylize("-", input=data)
        assert opened(io.BytesIO(result.out_bytes)).format == "PNG"

    def test_stdin_that_is_not_a_picture(self):
        text = failure("stylize", "-", "--style", STYLE, input=b"rubbish")
        assert text.startswith("standard input ")

    def test_invalid_uses_of_streams_are_refused(self, photo):
        assert "--json" in wrong("-", "--json", input=b"")
        assert "one picture" in wrong("-", photo, "-o", "out", input=b"")
        assert "one picture" in wrong(photo.parent, "-o", "-")
        assert "folder" in wrong("-", "-o", "new/", input=b"")
        assert "no suffix" in wrong("-", "-o", "out", input=b"")


class TestJson:
    def test_json_has_a_row_for_each_picture(self, photo):
        Path("bad.jpg").write_bytes(b"")
        result = stylize(photo.name, "bad.jpg", "-o", "out", "--json", "--quiet")
        assert result.code == 3
        document = result.json
        assert document["engine"] == "inverting"
        assert (document["device"], document["precision"]) == ("cpu", "fp32")
        assert document["style"].endswith(f"{STYLE}.safetensors")
        good, bad = document["images"]
        assert good["input"] == "photo.jpg"
        assert good["output"] == str(Path("out/photo.jpg"))
        assert (good["width"], good["height"], good["notes"]) == (256, 256, [])
        assert good["seconds"] > 0
        assert set(bad) == {"input", "error"}
        assert "empty" in bad["error"]


class TestNotes:
    def test_note_on_transparency_is_printed_once(self, cwd):
        for name in "abc":
            picture(f"in/{name}.png", mode="RGBA", color=(1, 2, 3, 100))
        result = stylize("in", "-o", "out", "--format", "jpeg")
        notes = [line for line in result.lines if "note:" in line]
        assert len(notes) == 1
        assert "white" in notes[0]
        assert "a.png" in notes[0]
        quiet = stylize("in", "-o", "out", "--format", "jpeg", "--quiet", "--json")
        assert quiet.err == ""
        assert all(row["notes"] for row in quiet.json["images"])

    def test_note_on_animations(self, cwd):
        frames = [Image.new("RGB", (8, 8), (i * 80, 0, 0)) for i in range(3)]
        frames[0].save("a.gif", save_all=True, append_images=frames[1:])
        result = stylize("a.gif", "--first-frame")
        assert "3 frames" in result.lines[0]

    def test_note_on_an_unused_gpu(self, photo, monkeypatch):
        monkeypatch.setattr("fast_style.engines.unused_gpu", lambda: "there is a GPU")
        assert "note: there is a GPU" in stylize(photo).lines[0]
        assert "GPU" not in stylize(photo, "--device", "cpu").err


class TestRefusedBeforeAnyWork:
    @pytest.fixture(autouse=True)
    def no_work(self, monkeypatch):
        def fail(*args, **options):
            raise AssertionError("the style was loaded")

        monkeypatch.setattr(renderer_module, "create_engine", fail)

    def test_input_is_not_overwritten(self, photo, cwd):
        before = photo.read_bytes()
        (cwd / "link.jpg").symlink_to(photo)
        (cwd / "folder").symlink_to(cwd)
        for output in ("photo.jpg", "link.jpg", "folder/photo.jpg", "."):
            assert "overwritten" in wrong(photo, "-o", output)
        assert photo.read_bytes() == before

    def test_another_input_is_not_overwritten(self):
        picture("a.png")
        picture(f"a-{STYLE}.png")
        assert f"a-{STYLE}.png would be overwritten" in wrong("a.png", f"a-{STYLE}.png")

    def test_folder_is_not_written_into_itself(self):
        picture("in/a.jpg")
        assert "in/a.jpg would be overwritten" in wrong("in", "-o", "in")

    def test_several_pictures_need_a_folder(self):
        picture("a.jpg")
        picture("b.jpg")
        assert "several pictures need a folder" in wrong("a.jpg", "b.jpg", "-o", "out.jpg")
        assert "several pictures need a folder" in wrong("a.jpg", "b.jpg", "-o", "a.jpg")

    @pytest.mark.parametrize(
        ("args", "about"),
        [
            (["-o", "out.xyz"], ".xyz"),
            (["-o", "out.gif"], ".gif"),
            (["-o", "out"], "no suffix"),
            (["-o", "out.png", "--format", "jpeg"], "--format"),
            (["-o", ""], "empty"),
            (["--strength", "2"], "--strength"),
            (["--strength", "nan"], "--strength"),
            (["--size", "0"], "--size"),
            (["--size", "large"], "--size"),
            (["--quality", "101"], "--quality"),
            (["--max-megapixels", "0"], "--max-megapixels"),
            (["--max-megapixels", "nan"], "--max-megapixels"),
            (["--engine", "steam"], "--engine"),
            (["--device", "abacus"], "--device"),
            (["--precision", "int1"], "--precision"),
            (["--format", "doc"], "--format"),
            (["--frobnicate"], "--frobnicate"),
        ],
    )
    def test_invalid_options_are_refused(self, photo, args, about):
        assert about in wrong(photo, *args)

    def test_missing_arguments_are_reported(self, photo):
        assert "--style" in failure("stylize", photo, code=2)
        assert "INPUT" in failure("stylize", "--style", STYLE, code=2)
        assert "empty" in wrong("")


def test_choices_match_the_engines():
    from fast_style.engines import base

    for choices, known in (
        (EngineChoice, base.ENGINES),
        (DeviceChoice, base.DEVICES),
        (PrecisionChoice, base.PRECISIONS),
    ):
        assert get_args(choices) == ("auto", *known)


def test_every_writable_format_is_a_choice():
    from fast_style.images import WRITABLE_SUFFIXES, format_from_suffix

    written = {format_from_suffix(f"x{suffix}") for suffix in WRITABLE_SUFFIXES}
    names = [name for name in get_args(OutputFormat) if f".{name}" in WRITABLE_SUFFIXES]
    assert written == {pillow_format(name) for name in names}
    assert written >= {"JPEG", "PNG", "WEBP", "TIFF", "BMP"}


class TestTile:
    def test_strips_give_the_same_picture(self, model_file, astronaut, tmp_path):
        for tile in ("off", "100"):
            options = ("--style", model_file, "--tile", tile, "-o", tmp_path / f"{tile}.png")
            result = invoke("stylize", astronaut, *options)
            assert result.code == 0, result.err
        whole, strips = (np.asarray(Image.open(tmp_path / f"{n}.png"), int) for n in ("off", 100))
        assert np.abs(whole - strips).max() <= 1

    @pytest.mark.parametrize("tile", ["on", "-5", "1.5", "3"])
    def test_invalid_tiles_are_refused(self, model_file, astronaut, tmp_path, tile):
        out = tmp_path / "out.png"
        result = invoke("stylize", astronaut, "--style", model_file, "--tile", tile, "-o", out)
        assert result.code == 2
        assert "auto, off or a" in result.err
        assert not out.exists()
