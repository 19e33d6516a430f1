"""The wheel: built, installed outside the checkout, and used there."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.commands import environment

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "tests" / "data" / "astronaut.jpg"


def call(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    variables = environment()
    variables.pop("PYTHONPATH", None)
    if path is not None:
        variables["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    built = call("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "fast_style/weights/vgg16_relu4_3_fp16.safetensors" in names
    assert "fast_style/saved_models/starry-night.safetensors" in names
    assert "fast_style/py.typed" in names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
    assert wheel.stat().st_size < 60e6

    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # An isolated start without the checkout: -P keeps the current folder off the path.
    where = call(
        "-P", "-c", "import fast_style; print(fast_style.__file__)", cwd=tmp_path, path=site
    )
    assert Path(where.stdout.strip()).is_relative_to(site)
    command = ["-P", "-m", "fast_style", "stylize", str(PHOTO), "--style", "starry-night"]
    result = call(*command, "--size", "128", "-o", "out.png", cwd=tmp_path, path=site)
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (128, 128)
