"""The wheel: built, installed outside the checkout, and used there."""

import email
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

from tests.commands import environment

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "tests" / "data" / "astronaut.jpg"


def run(command: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    variables = environment()
    variables.pop("PYTHONPATH", None)
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, *arguments], cwd)


def base_requirements(wheel: Path) -> list[Distribution]:
    """What the wheel needs without any extra, and what that needs, as installed here."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(archive.read(name))
    waiting, found = list(about.get_all("Requires-Dist", [])), dict[str, Distribution]()
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name not in found:
            found[requirement.name] = distribution(requirement.name)
            waiting += found[requirement.name].requires or []
    return list(found.values())


def link(needed: Distribution, site: Path) -> None:
    """Bring an installed distribution into another environment: nothing is fetched."""
    for file in needed.files or ():
        top = file.parts[0]
        if top not in ("..", "__pycache__") and not (site / top).exists():
            (site / top).symlink_to(Path(str(needed.locate_file(top))))


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    built = call("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "fast_style/weights/vgg16_relu4_3_fp16.safetensors" in names
    assert "fast_style/saved_models/starry-night.safetensors" in names
    assert "fast_style/weights/base-standard.safetensors" in names
    assert "fast_style/weights/base-tiny.safetensors" in names
    assert "fast_style/weights/predictor.safetensors" in names
    assert sum(name.startswith("fast_style/training/photos/") for name in names) > 50
    assert "fast_style/py.typed" in names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
    assert wheel.stat().st_size < 60e6

    home = tmp_path / "empty"
    venv.create(home, symlinks=True, with_pip=False)
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    install = ("-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index")
    installed = call(*install, "--no-cache-dir", str(wheel), cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    where = run([python, "-c", "import fast_style; print(fast_style.__file__)"], tmp_path)
    site = Path(where.stdout.strip()).parents[1]
    assert site.is_relative_to(home)
    for needed in base_requirements(wheel):
        link(needed, site)
    assert run([python, "-c", "import torch"], tmp_path).returncode == 1

    command = python.with_name("fast-style" + python.suffix)
    stylize = [command, "stylize", PHOTO, "--style", "starry-night"]
    result = run([*stylize, "--size", "128", "-o", "out.png"], tmp_path)
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (128, 128)
    listed = run([command, "styles"], tmp_path)
    assert "starry-night" in listed.stdout
    training = ["--style-image", PHOTO, "--photos", PHOTO.parent, "--name", "x"]
    refused = run([command, "train", *training], tmp_path)
    assert refused.returncode == 1
    assert 'pip install "fast-style[train]"' in refused.stderr
    assert "Traceback" not in refused.stderr
