"""Heavy packages are only loaded where they are used; import-linter checks the layers."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.commands import CHECKOUT, environment
from tests.conftest import STYLE

HEAVY = ("torch", "pytorch_lightning", "streamlit", "openvino", "onnxruntime", "numpy", "PIL")


def loaded_after(code: str, folder: Path) -> set[str]:
    """Return the heavy packages that a new process has loaded after this code."""
    script = (
        f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.__stderr__)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_the_package_is_cheap(tmp_path):
    loaded = loaded_after("import fast_style; dir(fast_style); fast_style.__version__", tmp_path)
    assert loaded.isdisjoint(HEAVY)
    assert {name for name in loaded if name.startswith("fast_style")} == {
        "fast_style",
        "fast_style._version",
    }


def test_help_and_usage_errors_are_cheap(tmp_path):
    loaded = loaded_after(
        "from fast_style.cli.main import main\n"
        "for args in ['--help'], ['stylize', '--help'], ['stylise'], ['stylize', '--size', 'x']:\n"
        "    try: main(args)\n"
        "    except SystemExit: pass",
        tmp_path,
    )
    assert loaded.isdisjoint({*HEAVY, "rich", "safetensors"})


def test_stylize_on_the_cpu_engine_loads_no_torch(workplace, astronaut):
    shutil.copy(astronaut, workplace / "photo.jpg")
    loaded = loaded_after(
        "from fast_style.cli.main import main\n"
        f"try: main(['stylize', 'photo.jpg', '-s', '{STYLE}', '-o', 'out.png', '--size', '64',\n"
        "           '--engine', 'openvino'])\n"
        "except SystemExit as end: assert end.code == 0, end.code",
        workplace,
    )
    assert (workplace / "out.png").is_file()
    assert "openvino" in loaded
    heavy = {"torch", "torchvision", "pytorch_lightning", "streamlit", "onnxruntime", "rich"}
    assert loaded.isdisjoint(heavy)


def test_training_data_is_checked_before_torch_is_loaded(tmp_path, astronaut):
    (tmp_path / "photos").mkdir()
    shutil.copy(astronaut, tmp_path / "photos")
    (tmp_path / "saved_models").mkdir()
    (tmp_path / "saved_models" / "taken.safetensors").touch()
    loaded = loaded_after(
        "from fast_style.cli.main import main\n"
        "paths = ['--style-image', 'photos/astronaut.jpg', '--photos', 'photos', '--name', 'x']\n"
        "for change in (1, 'no.jpg'), (3, 'no'), (5, 'taken'):\n"
        "    args = [change[1] if i == change[0] else arg for i, arg in enumerate(paths)]\n"
        "    try: main(['train', *args])\n"
        "    except SystemExit as end: assert end.code == 1, end.code",
        tmp_path,
    )
    assert loaded.isdisjoint({"torch", "pytorch_lightning"})


def test_photo_is_checked_before_torch_is_loaded(workplace, astronaut):
    shutil.copy(astronaut, workplace / "photo.jpg")
    loaded = loaded_after(
        "from fast_style.cli.main import main\n"
        "for photo, painting in ('no.jpg', 'photo.jpg'), ('photo.jpg', 'no.jpg'):\n"
        "    try: main(['optimize', photo, '--style-image', painting, '-o', 'out.png'])\n"
        "    except SystemExit as end: assert end.code == 1, end.code",
        workplace,
    )
    assert "torch" not in loaded


def test_scripts_of_the_checkout_only_import_the_cli():
    for name in ("stylize.py", "train.py"):
        path = CHECKOUT / name
        if path.is_file():
            tree = ast.parse(path.read_text(encoding="utf-8"))
            modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
            assert all((module or "").startswith("fast_style.cli") for module in modules)
