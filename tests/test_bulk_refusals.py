"""What `fast-style bulk` refuses, and which runner it chooses."""

import os
import sys
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile

from fast_style.bulk.manifest import Manifest, open_output
from fast_style.models.model_file import save_model
from fast_style.storage import hardware
from tests.bulk_folders import MANIFEST, bulk, outputs, photos, second_style
from tests.commands import failure, invoke
from tests.conftest import SMALLEST, STYLE, make_card, make_weights

__all__ = ["photos", "second_style"]

posix = pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")


class TestRefusals:
    @pytest.mark.parametrize(
        ("option", "word"),
        [
            (("--size", 32), "size"),
            (("--strength", 0.5), "strength"),
            (("--preserve-color",), "preserve color"),
            (("--stroke-size", 2), "stroke size"),
            (("--format", "png"), "format"),
            (("--quality", 50), "quality"),
            (("-s", "sunflowers"), "style"),
        ],
    )
    def test_output_with_other_settings_is_refused(
        self, option, word, photos, workplace, second_style
    ):
        bulk("photos", "-o", "out", "-s", STYLE)
        before = outputs(workplace / "out")
        sentence = failure("bulk", "photos", "-o", "out", "-s", STYLE, *option, code=2)
        assert f"was started with {word} " in sentence
        assert "another output" in sentence
        assert outputs(workplace / "out") == before

    def test_output_of_another_input_or_style_is_refused(self, photos, workplace, second_style):
        bulk("photos/a", "-o", "out", "-s", "sunflowers")
        assert "input" in failure("bulk", "photos/b", "-o", "out", "-s", "sunflowers", code=2)
        save_model(second_style, make_card("sunflowers"), make_weights(SMALLEST, seed=2))
        assert "style" in failure("bulk", "photos/a", "-o", "out", "-s", "sunflowers", code=2)

    def test_damaged_settings_are_refused(self, photos, workplace):
        bulk("photos", "-o", "out", "-s", STYLE)
        (workplace / "out" / MANIFEST / "settings.json").write_text("{")
        assert "damaged" in failure("bulk", "photos", "-o", "out", "-s", STYLE, code=2)

    def test_invalid_inputs_are_refused(self, photos, workplace):
        def wrong(*args):
            return failure("bulk", *args, "-o", "out", code=2)

        assert "there is no folder" in wrong("none", "-s", STYLE)
        assert "no pictures" in wrong("photos/*.png", "-s", STYLE)
        assert "single file" in wrong("photos/a/0000.jpg", "-s", STYLE)
        assert "--style" in wrong("photos")
        assert "need a list" in wrong("photos", "-s", STYLE, "--name-column", "x")
        assert "fsspec knows" in wrong("nothing://x", "-s", STYLE)
        Path("list.csv").write_text("path,name,s\nphotos/a/0000.jpg,../x,\n")
        assert "no column image" in wrong("list.csv", "-s", STYLE, "--column", "image")
        assert "without .." in wrong("list.csv", "-s", STYLE, "--name-column", "name")
        for name in (r"..\\x", ".Fast-Style-Bulk/done.jpg", "/x", "C:/x"):
            Path("list.csv").write_text(f"path,name,s\nphotos/a/0000.jpg,{name},\n")
            assert "not below" in wrong("list.csv", "-s", STYLE, "--name-column", "name")
        assert "without a style" in wrong("list.csv", "--style-column", "s")
        Path("list.csv").write_text('path\nphotos/a/0000.jpg\n""\n')
        assert "row 2" in wrong("list.csv", "-s", STYLE)
        Path("list.parquet").write_text("no")
        message = failure("bulk", "list.parquet", "-o", "out", "-s", STYLE)
        assert "list.parquet cannot be read" in message
        assert not (workplace / "out").exists() or not outputs(workplace / "out")

    def test_no_input_is_overwritten(self, photos, workplace):
        before = {path: path.read_bytes() for path in photos}
        assert "is the input" in failure("bulk", "photos", "-o", "photos", "-s", STYLE, code=2)
        (workplace / "photos" / "b" / "b").mkdir()
        photos[1].rename(workplace / "photos" / "b" / "b" / "same.jpg")
        photos[4].rename(workplace / "photos" / "b" / "same.jpg")
        sentence = failure("bulk", "photos/b", "-o", "photos", "-s", STYLE, code=2)
        assert "would be overwritten" in sentence
        assert photos[0].read_bytes() == before[photos[0]]

    def test_runner_options_that_conflict_are_refused(self, photos, monkeypatch):
        two = ("bulk", "photos", "-o", "out", "-s", STYLE, "--runner", "local", "--actors", 2)
        assert "--runner local" in failure(*two, code=2)
        ray_in_memory = ("bulk", "photos", "-o", "memory://x", "-s", STYLE, "--runner", "ray")
        assert "in this process only" in failure(*ray_in_memory, code=2)
        monkeypatch.setattr("fast_style.bulk.runner.installed", lambda name: False)
        sentence = failure("bulk", "photos", "-o", "out", "-s", STYLE, "--runner", "ray")
        assert 'pip install "fast-style[bulk]"' in sentence

    def test_missing_packages_name_the_extra(self, photos, monkeypatch):
        monkeypatch.setitem(sys.modules, "fsspec", None)
        sentence = failure("bulk", "s3://bucket/in", "-o", "out", "-s", STYLE)
        assert 'pip install "fast-style[bulk]"' in sentence
        Path("list.parquet").write_bytes(b"PAR1")
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        sentence = failure("bulk", "list.parquet", "-o", "out", "-s", STYLE)
        assert 'pip install "fast-style[bulk]"' in sentence
        assert bulk("photos", "-o", "out", "-s", STYLE)["done"] == 9

    @posix
    def test_output_is_locked(self, photos, workplace):
        with Manifest(open_output(str(workplace / "out"))).locked():
            assert "is writing to" in failure("bulk", "photos", "-o", "out", "-s", STYLE)
        assert bulk("photos", "-o", "out", "-s", STYLE)["done"] == 9


def test_choice_of_the_runner(monkeypatch):
    from fast_style.bulk import runner
    from fast_style.bulk.config import BulkConfig, BulkOptions
    from fast_style.bulk.listing import Listing

    def chosen(pictures, **options):
        config = BulkConfig(source="in", output="out", style=STYLE, bulk=BulkOptions(**options))
        return runner._choose_runner(config, pictures, "/out", Listing(["/in/a.jpg"]))

    monkeypatch.setattr(runner, "installed", lambda name: True)
    monkeypatch.setattr(runner, "gpu_count", lambda: 0)
    monkeypatch.setattr(runner, "usable_cores", lambda: 8)
    assert chosen(10**6) == "local"
    assert chosen(1, address="auto") == chosen(1, actors=2) == chosen(1, runner="ray") == "ray"
    monkeypatch.setattr(runner, "usable_cores", lambda: 32)
    assert [chosen(10**6), chosen(10)] == ["ray", "local"]
    monkeypatch.setattr(runner, "usable_cores", lambda: 8)
    monkeypatch.setattr(runner, "gpu_count", lambda: 4)
    assert chosen(10**6) == "ray"
    assert chosen(10**6, runner="local") == "local"
    monkeypatch.setattr(runner, "installed", lambda name: False)
    assert chosen(10**6) == "local"


def test_gpu_count_follows_cuda_visible_devices(monkeypatch):
    monkeypatch.setattr(hardware, "has_nvidia_gpu", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,5")
    assert hardware.gpu_count() == 3
    monkeypatch.setattr(hardware, "has_nvidia_gpu", lambda: False)
    assert hardware.gpu_count() == 0


def test_keys_that_lead_out_of_the_output_are_failures(workplace, astronaut):
    memory = fsspec.filesystem("memory")
    slips = ["in/../../../slip.jpg", "../slip.jpg", ".fast-style-bulk/slip.jpg"]
    memory.store.update(
        {
            f"/bulk-slip/{key}": MemoryFile(memory, key, astronaut.read_bytes())
            for key in ["good.jpg", *slips]
        }
    )
    try:
        result = invoke("bulk", "memory://bulk-slip", "-o", "deep/er/out", "-s", STYLE)
    finally:
        memory.store.clear()
    assert result.code == 3
    failures = (workplace / "deep/er/out" / MANIFEST / "failures.csv").read_text()
    assert failures.count("leads out of the output folder") == len(slips)
    assert [path.name for path in workplace.rglob("*.jpg")] == ["good.jpg"]
