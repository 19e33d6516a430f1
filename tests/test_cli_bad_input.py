"""Bad input to `fast-style`: each has its message and exit code, and the others are stylized."""

import json
import os
import pickle
import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from fast_style.inference import renderer as renderer_module
from fast_style.models.card import METADATA_KEY
from fast_style.models.config import parameter_shapes
from tests.commands import failure, invoke
from tests.conftest import SMALLEST, STYLE, make_card, make_weights


class Inverting:
    name, device, precision = "inverting", "cpu", "fp32"

    def predict(self, images):
        return 255 - images


@pytest.fixture(autouse=True)
def cwd(workplace, monkeypatch) -> Path:
    monkeypatch.setattr(renderer_module, "create_engine", lambda model, options: Inverting())
    monkeypatch.setattr("fast_style.engines.unused_gpu", lambda: None)
    return workplace


def header_bomb() -> bytes:
    """Create a PNG of a few bytes that claims 3600 megapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 300)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def bad(cwd, astronaut) -> dict[str, str]:
    """Create bad pictures in the folder `bad`, each with a word that its message must contain."""
    folder = cwd / "bad"
    folder.mkdir()
    photo = astronaut.read_bytes()
    (folder / "empty.jpg").touch()
    (folder / "truncated.jpg").write_bytes(photo[: len(photo) // 2])
    (folder / "header_only.jpg").write_bytes(photo[:30])
    (folder / "text.jpg").write_text("Dear diary, this is no picture.\n")
    (folder / "bomb.png").write_bytes(header_bomb())
    assert (folder / "bomb.png").stat().st_size < 500
    values = np.ones((8, 8), np.float32)
    values[2, 3] = np.nan
    Image.fromarray(values).save(folder / "nan.tif")
    (folder / "link.jpg").symlink_to(folder / "nowhere.jpg")
    return {
        "empty.jpg": "empty",
        "truncated.jpg": "cut",
        "header_only.jpg": "",
        "text.jpg": "text",
        "bomb.png": "--max-megapixels",
        "nan.tif": "NaN",
        "link.jpg": "does not exist",
    }


class TestPictures:
    def test_each_bad_picture_has_its_error(self, bad):
        for name, about in bad.items():
            text = failure("stylize", f"bad/{name}", "-s", STYLE, "-o", "out.png")
            assert f"bad/{name}" in text
            assert about in text, text
            assert "bug" not in text
            assert not Path("out.png").exists()

    def test_a_bad_picture_does_not_stop_the_others(self, bad, astronaut):
        shutil.copy(astronaut, "bad/good.jpg")
        result = invoke("stylize", "bad", "-s", STYLE, "-o", "out", "--json")
        assert result.code == 3
        assert [path.name for path in Path("out").iterdir()] == ["good.jpg"]
        rows = {Path(row["input"]).name: row for row in result.json["images"]}
        assert set(rows) == {*bad, "good.jpg"}
        assert "error" not in rows["good.jpg"]
        for name in bad:
            assert name in rows[name]["error"]
            assert sum(f"bad/{name}" in line for line in result.lines) == 1
        assert result.lines[-1] == f"1 stylized, {len(bad)} failed"

    def test_exit_code_1_if_all_fail(self, bad):
        assert invoke("stylize", "bad", "-s", STYLE, "-o", "out", "-q").code == 1
        assert not Path("out").exists()

    def test_quiet_prints_errors(self, bad):
        result = invoke("stylize", "bad", "-s", STYLE, "-o", "out", "--quiet")
        assert len(result.lines) == len(bad)

    def test_max_megapixels_is_applied(self, astronaut):
        args = ["stylize", astronaut, "-s", STYLE, "-o", "out.png", "--max-megapixels"]
        assert "megapixel" in failure(*args, "0.01").lower()
        assert invoke(*args, "0.1").code == 0

    def test_unexpected_exception_is_reported_as_a_bug(self, astronaut, monkeypatch):
        def fail(*args, **options):
            raise KeyError("frobnicator\nsecond line")

        monkeypatch.setattr("fast_style.cli.file_pipeline.read_image", fail)
        args = ["stylize", astronaut, "-s", STYLE, "-o", "out.png"]
        text = failure(*args)
        assert "this is a bug: KeyError" in text
        assert "--debug" in text
        assert astronaut.name in text
        result = invoke(*args, "--debug")
        assert result.code == 1
        assert "Traceback" in result.err
        assert "in fail" in result.err

    def test_out_of_memory_suggests_a_smaller_size(self, astronaut, monkeypatch):
        def fail(self, images):
            raise MemoryError

        monkeypatch.setattr(Inverting, "predict", fail)
        assert "--size 128" in failure("stylize", astronaut, "-s", STYLE, "-o", "out.png")


class TestFolders:
    def test_empty_folder_is_an_error(self):
        Path("in").mkdir()
        text = failure("stylize", "in", "-s", STYLE)
        assert text.startswith("in: there are no pictures in the folder")
        assert "--recursive" in text
        assert "--recursive" not in failure("stylize", "in", "-r", "-s", STYLE)

    def test_empty_folder_does_not_stop_other_inputs(self, astronaut):
        Path("in").mkdir()
        Path("in/notes.txt").write_text("x")
        result = invoke("stylize", "in", astronaut, "-s", STYLE, "-o", "out")
        assert result.code == 3
        assert Path("out/astronaut.jpg").is_file()

    def test_unreadable_folder_is_reported(self, astronaut, monkeypatch):
        # The superuser may read everything, so that permissions alone would test nothing.
        Path("in/locked").mkdir(parents=True)
        shutil.copy(astronaut, "in/a.jpg")
        scandir = os.scandir

        def refuse(path="."):
            if os.path.basename(path) == "locked":
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        text = failure("stylize", "in/locked", "-s", STYLE)
        assert text == "in/locked: the folder cannot be read: Permission denied"
        result = invoke("stylize", "in", "-r", "-s", STYLE, "-o", "out")
        assert result.code == 3
        assert "in/locked: the folder cannot be read" in result.err
        assert Path("out/a.jpg").is_file()

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_pipes_in_folders_are_skipped(self, astronaut):
        Path("in").mkdir()
        os.mkfifo("in/pipe.jpg")
        assert "no pictures" in failure("stylize", "in", "-s", STYLE)


class TestOutputs:
    def test_output_folder_that_is_a_file(self, astronaut):
        Path("file").touch()
        text = failure("stylize", astronaut, "-s", STYLE, "-o", "file/out.jpg")
        assert "the folder file for the output could not be made" in text

    def test_output_file_that_is_a_folder(self, astronaut):
        Path("out/astronaut.jpg").mkdir(parents=True)
        text = failure("stylize", astronaut, "-s", STYLE, "-o", "out")
        assert "could not be written" in text
        assert [path.name for path in Path("out").iterdir()] == ["astronaut.jpg"]

    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
    )
    def test_output_folder_without_write_permission(self, astronaut):
        Path("out").mkdir(mode=0o500)
        assert "ermission" in failure("stylize", astronaut, "-s", STYLE, "-o", "out/a.jpg")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    def test_full_disk(self, astronaut):
        text = failure("stylize", astronaut, "-s", STYLE, "-o", "/dev/full", "--format", "png")
        assert "No space left" in text

    def test_picture_too_wide_for_the_format(self):
        Image.new("1", (17000, 1)).save("wide.png")
        text = failure("stylize", "wide.png", "-s", STYLE, "-o", "wide.webp")
        assert text.startswith("wide.png: ")
        assert "16383" in text


def write_model(path: Path, *, weights=None, card=None) -> Path:
    """Write a model file that `save_model` would refuse to write."""
    if weights is None:
        weights = make_weights(SMALLEST)
    metadata = {METADATA_KEY: json.dumps(make_card().to_dict() | (card or {}))}
    halves = {name: value.astype(np.float16) for name, value in weights.items()}
    save_file(halves, path, metadata=metadata)
    return path


class TestModels:
    @pytest.fixture
    def bad_models(self, cwd, model_file) -> dict[str, str]:
        Path("pickled.pth").write_bytes(pickle.dumps({"weight": [1.0]}))
        Path("zipped.pt").write_bytes(b"PK\x03\x04" + bytes(100))
        sound = model_file.read_bytes()
        Path("short.safetensors").write_bytes(sound[: len(sound) // 2])
        Path("start.safetensors").write_bytes(sound[:5])
        Path("empty.safetensors").touch()
        write_model(Path("newer.safetensors"), card={"format_version": 99})
        write_model(Path("width.safetensors"), card={"network": {"width": "16"}})
        name = next(iter(parameter_shapes(SMALLEST)))
        reshaped = make_weights(SMALLEST)
        reshaped[name] = reshaped[name][:1]
        write_model(Path("shape.safetensors"), weights=reshaped)
        spoilt = make_weights(SMALLEST)
        spoilt[name][0] = np.nan
        write_model(Path("nan.safetensors"), weights=spoilt)
        Path("folder.safetensors").mkdir()
        return {
            "pickled.pth": "pickle",
            "zipped.pt": "pickle",
            "short.safetensors": "cut short",
            "start.safetensors": "safetensors",
            "empty.safetensors": "safetensors",
            "newer.safetensors": "upgrade",
            "width.safetensors": "network",
            "shape.safetensors": "shape",
            "nan.safetensors": "finite",
            "./folder.safetensors": "folder",
        }

    def test_bad_model_files_are_refused(self, bad_models, astronaut):
        for path, about in bad_models.items():
            for args in (["stylize", astronaut, "-o", "out.png", "-s", path], ["info", path]):
                text = failure(*args)
                assert re.search(about, text), text
                assert Path(path).name in text
        assert not Path("out.png").exists()

    def test_missing_model_is_reported(self, astronaut):
        text = failure("stylize", astronaut, "-s", "wheat-feild", "-o", "out.png")
        assert f"did you mean {STYLE}?" in text
        assert "no model file" in failure("info", "no/where.safetensors")
