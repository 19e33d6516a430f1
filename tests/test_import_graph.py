"""Imports run downward only, and nothing heavy is loaded that is not used."""

import ast
import graphlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fast_style
from tests.commands import CHECKOUT, environment
from tests.conftest import STYLE

PACKAGE = Path(fast_style.__file__).parent
BOTTOM = {"errors", "architecture", "atomic", "grain"}
IMAGES = {"images"}

# What each module, or each file of a package, may import of ours. Packages stand for all that is
# in them. A new module goes in here.
MAY_IMPORT: dict[str, set[str]] = {
    "": set(),  # `fast_style` itself, for its version; it loads the others when they are used
    "errors": set(),
    "atomic": {"errors"},
    "architecture": {"errors"},
    "grain": {"errors"},
    "padding": set(),
    "winograd": set(),
    "networks": BOTTOM | {"padding"},
    "widening": BOTTOM,
    "vgg": BOTTOM | {"downloads", "winograd"},
    "perceptual": BOTTOM | {"option_fields", "vgg"},
    "color": BOTTOM,
    "tiling": BOTTOM,
    "resampling": BOTTOM,
    "strokes": BOTTOM | {"resampling"},
    "checkpoint": BOTTOM,
    **{name: BOTTOM | IMAGES for name in IMAGES},
    "onnx_writer": BOTTOM,
    "graph": BOTTOM | {"checkpoint", "onnx_writer"},
    "blending": BOTTOM | {"checkpoint", "color"},
    "catalogue": BOTTOM | {"blending", "checkpoint"},
    "banded_graph": BOTTOM | {"graph"},
    "engines": BOTTOM | {"checkpoint", "graph", "banded_graph", "networks"},
    "stage_graphs": BOTTOM | {"graph", "onnx_writer"},
    "sweep": BOTTOM | {"checkpoint", "engines", "graph", "stage_graphs"},
    "foreign": BOTTOM,
    "fingerprint": BOTTOM | {"checkpoint", "engines"},
    "export": BOTTOM
    | {"checkpoint", "engines", "fingerprint", "graph", "networks", "onnx_writer", ""},
    "downloads": {"errors", ""},
    "collection": BOTTOM | {"catalogue", "checkpoint", "downloads"},
    "stylizer": BOTTOM
    | IMAGES
    | {"blending"}
    | {"resampling", "strokes", "sweep", "engines", "tiling", "color", "catalogue", "checkpoint"},
    "remote": BOTTOM | IMAGES | {"blending", "checkpoint", "downloads", "strokes", "stylizer"},
    "pipeline": BOTTOM | IMAGES | {"engines", "gatys", "stylizer"},
    "bulk": BOTTOM
    | IMAGES
    | {"blending", "catalogue", "checkpoint", "engines", "fingerprint", "pipeline", "stylizer", ""},
    "sheet": BOTTOM | IMAGES | {"catalogue", "checkpoint", "stylizer"},
    "option_fields": {"errors"},
    "gatys": BOTTOM
    | IMAGES
    | {"option_fields", "perceptual", "vgg", "color", "engines", "stylizer", "catalogue"}
    | {"checkpoint"},
    "training": BOTTOM
    | IMAGES
    | {"option_fields"}
    | {"networks", "widening", "perceptual", "catalogue", "checkpoint", "fingerprint", ""},
    "jobs": BOTTOM | IMAGES | {"option_fields", "blending", "stylizer", "gatys"},
    "service": BOTTOM
    | IMAGES
    | {"option_fields", "strokes", "blending", "catalogue", "checkpoint", "stylizer"}
    | {"engines", "jobs", "gatys", ""},
    "demo": {""},  # public names only
    "cli": BOTTOM
    | IMAGES
    | {"gatys"}
    | {"engines", "catalogue", "checkpoint", "stylizer", "training", ""}
    | {"foreign", "fingerprint", "downloads", "collection", "export"}
    | {"bulk", "pipeline"}
    | {"blending", "sheet", "jobs", "service"},
    "__main__": {"cli"},
}

HEAVY = ("torch", "pytorch_lightning", "streamlit", "openvino", "onnxruntime", "numpy", "PIL")


def unit(module: str) -> str:
    """The name in the table of a module: `fast_style.engines.torch` is in `engines`."""
    return module.partition(".")[2].partition(".")[0]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports_of(path: Path, *, type_checking: bool = True) -> set[str]:
    """Our own modules that a file imports, at its top or anywhere in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module_name(path) if path.name == "__init__.py" else module_name(path.parent / "x")
    package = package.removesuffix(".x")
    skipped: set[ast.AST] = set()
    if not type_checking:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(inner for part in node.body for inner in ast.walk(part))
    found = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.add(whole if base.startswith("fast_style") and is_module(whole) else base)
    return {name for name in found if name == "fast_style" or name.startswith("fast_style.")}


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_there_is_something_to_read():
    assert len(FILES) > 10
    assert "fast_style.errors" in imports_of(PACKAGE / "checkpoint.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downward_only(path):
    own = unit(module_name(path))
    assert own in MAY_IMPORT, f"{own} is new: say in MAY_IMPORT what it may import"
    seen = {unit(name) for name in imports_of(path)} - {own}
    assert seen <= MAY_IMPORT[own], f"{own} must not import {sorted(seen - MAY_IMPORT[own])}"


def test_training_and_stylizer_never_meet():
    above = {"training": set(), "stylizer": set()}
    for start, reached in above.items():
        pending = {start}
        while pending:
            name = pending.pop()
            reached.add(name)
            pending |= MAY_IMPORT[name] - reached
    assert "stylizer" not in above["training"]
    assert "training" not in above["stylizer"]
    assert "cli" not in above["training"] | above["stylizer"]


def test_no_circles():
    graph = {
        module_name(path): imports_of(path, type_checking=False) - {module_name(path)}
        for path in FILES
    }
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the modules


def test_the_package_itself_imports_nothing_of_ours():
    assert imports_of(PACKAGE / "__init__.py", type_checking=False) <= {"fast_style.errors"}


def loaded_after(code: str, folder: Path) -> set[str]:
    """The heavy packages that are loaded in a fresh process after this code."""
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
    assert {name for name in loaded if name.startswith("fast_style")} == {"fast_style"}


def test_help_and_mistakes_are_cheap(tmp_path):
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


def test_what_cannot_be_trained_on_is_told_before_torch_is_loaded(tmp_path, astronaut):
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


def test_what_cannot_be_optimized_is_told_before_torch_is_loaded(workplace, astronaut):
    shutil.copy(astronaut, workplace / "photo.jpg")
    loaded = loaded_after(
        "from fast_style.cli.main import main\n"
        "for photo, painting in ('no.jpg', 'photo.jpg'), ('photo.jpg', 'no.jpg'):\n"
        "    try: main(['optimize', photo, '--style-image', painting, '-o', 'out.png'])\n"
        "    except SystemExit as end: assert end.code == 1, end.code",
        workplace,
    )
    assert "torch" not in loaded


def test_scripts_of_the_checkout_import_only_the_command_line():
    for name in ("stylize.py", "train.py"):
        path = CHECKOUT / name
        if path.is_file():
            tree = ast.parse(path.read_text(encoding="utf-8"))
            modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
            assert all((module or "").startswith("fast_style.cli") for module in modules)
