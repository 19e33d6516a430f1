"""Caches on disk, by that of compiled models, and the packages that the CPU engine imports."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from fast_style.engines import create_engine
from fast_style.engines.openvino_engine import COMPILED
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import StyleModel
from fast_style.options import EngineOptions
from tests.commands import environment
from tests.conftest import make_card, make_weights

CONFIG = NetworkConfig(width=8, residual_blocks=2)


def make_model(seed=0):
    return StyleModel(make_card(config=CONFIG), make_weights(CONFIG, seed))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Give each test an empty cache of compiled models."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fast-style" / "compiled"


@pytest.fixture(scope="module")
def photo(astronaut):
    with Image.open(astronaut) as image:
        return np.asarray(image.convert("RGB").resize((203, 150)))[None]


class TestCache:
    def test_stored_content_is_loaded(self, own_cache):
        assert COMPILED.load("key") is None
        COMPILED.store("key", b"compiled")
        assert COMPILED.load("key") == b"compiled"
        assert [path.name for path in own_cache.iterdir()] == ["key.blob"]

    @pytest.mark.parametrize("keep", [0, 5, 39])
    def test_damaged_files_are_not_loaded(self, own_cache, keep):
        COMPILED.store("key", b"compiled")
        file = own_cache / "key.blob"
        content = file.read_bytes()
        file.write_bytes(content[:keep])
        assert COMPILED.load("key") is None
        file.write_bytes(content[:-1] + b"?")
        assert COMPILED.load("key") is None

    def test_least_recently_used_files_are_deleted(self, own_cache, monkeypatch):
        monkeypatch.setattr(COMPILED, "limit", 3)
        for age, key in enumerate("abc"):
            COMPILED.store(key, b"")
            os.utime(own_cache / f"{key}.blob", (age, age))
        assert COMPILED.load("a") == b""  # used: now the youngest
        COMPILED.store("d", b"")
        assert {path.stem for path in own_cache.iterdir()} == {"a", "c", "d"}

    def test_relative_paths_are_ignored(self, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", "here")
        assert COMPILED.folder.is_absolute()

    def test_a_model_is_compiled_once(self, own_cache, monkeypatch, photo):
        first = create_engine(make_model(), EngineOptions(engine="openvino")).predict(photo)
        (file,) = own_cache.iterdir()
        before = file.stat()
        second = create_engine(make_model(), EngineOptions(engine="openvino")).predict(photo)
        np.testing.assert_array_equal(first, second)
        (after,) = own_cache.iterdir()
        assert (after.stat().st_ino, after.stat().st_size) == (before.st_ino, before.st_size)

    def test_other_weights_are_another_model(self, own_cache, photo):
        pictures = [
            create_engine(make_model(seed=seed), EngineOptions(engine="openvino")).predict(photo)
            for seed in (0, 1, 0)
        ]
        assert len(list(own_cache.iterdir())) == 2
        assert (pictures[0] != pictures[1]).mean() > 0.5
        np.testing.assert_array_equal(pictures[0], pictures[2])

    @pytest.mark.parametrize("damage", ["short", "noise", "empty", "other"])
    def test_a_damaged_file_is_replaced(self, own_cache, photo, damage):
        expected = create_engine(make_model(), EngineOptions(engine="openvino")).predict(photo)
        (file,) = own_cache.iterdir()
        content = file.read_bytes()
        if damage == "other":  # sound to us, but nothing OpenVINO knows
            COMPILED.store(file.stem, b"not a model" * 100)
        else:
            noise = np.random.default_rng(0).bytes(len(content))
            file.write_bytes({"short": content[:1000], "noise": noise, "empty": b""}[damage])
        found = create_engine(make_model(), EngineOptions(engine="openvino")).predict(photo)
        np.testing.assert_array_equal(found, expected)
        assert abs(file.stat().st_size - len(content)) < 1000
        assert COMPILED.load(file.stem) is not None

    def test_a_folder_that_cannot_be_made(self, monkeypatch, tmp_path, photo):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert (
            create_engine(make_model(), EngineOptions(engine="openvino")).predict(photo).shape
            == photo.shape
        )

    def test_two_processes_at_once(self, own_cache, model_file):
        script = (
            "import sys, numpy as np\n"
            "from fast_style.models.model_file import load_model\n"
            "from fast_style.engines import create_engine\n"
            "from fast_style.options import EngineOptions\n"
            f"model = load_model({str(model_file)!r})\n"
            "sys.stdin.readline()\n"
            "engine = create_engine(model, EngineOptions(engine='openvino'))\n"
            "picture = engine.predict(np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3))\n"
            "print(picture.tobytes().hex())\n"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", script],
                env=environment() | {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        time.sleep(0.5)
        answers = [process.communicate("go\n", timeout=60)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0]
        assert answers[0] == answers[1] != ""
        (file,) = own_cache.iterdir()  # and no temporary file
        assert COMPILED.load(file.stem) is not None


def test_the_cpu_engine_loads_no_other_and_reports_to_nobody(model_file, tmp_path):
    script = (
        "import sys, numpy as np\n"
        "from fast_style.models.model_file import load_model\n"
        "from fast_style.engines import create_engine, unused_gpu\n"
        "from fast_style.options import EngineOptions\n"
        f"engine = create_engine(load_model({str(model_file)!r}), EngineOptions(device='cpu'))\n"
        "engine.freeze(engine.measure(np.zeros((1, 8, 8, 3), np.uint8))[0])\n"
        "assert engine.name == 'openvino'\n"
        "unused_gpu()\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
        "from openvino import convert_model\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=environment() | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "openvino" in loaded
    others = {"torch", "onnxruntime", "onnx", "openvino_telemetry", "urllib3", "requests", "PIL"}
    assert loaded.isdisjoint(others)
