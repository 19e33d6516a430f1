"""Folders of small photos for `fast-style bulk`, its runs, and their outputs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fast_style.images import encode_image, read_image
from fast_style.images.provenance import Provenance
from fast_style.inference.stylizer import Stylizer
from fast_style.models.model_file import save_model
from fast_style.options import OutputOptions, StyleOptions
from fast_style.styles.mixing import mixture_name
from fast_style.styles.registry import find_parts, identify_parts
from tests.commands import invoke
from tests.conftest import SMALLEST, make_card, make_weights

MANIFEST = ".fast-style-bulk"


def make_photos(folder: Path, count: int, source: Path, side: int = 48) -> list[Path]:
    """Cut small photos out of a large one, into two folders and a subfolder; seeded."""
    random = np.random.default_rng(0)
    paths = []
    with Image.open(source) as opened:
        whole = opened.convert("RGB")
    for number in range(count):
        left, top = random.integers(0, whole.width - side, 2)
        path = folder / ("a", "b", "b/c")[number % 3] / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.crop((left, top, left + side, top + side - number % 7)).save(path, quality=90)
        paths.append(path)
    return paths


def outputs(folder: Path) -> dict[str, bytes]:
    """Return the relative names and the contents of all files of an output except the manifest."""
    found = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {n: path.read_bytes() for n, path in names.items() if not n.startswith(MANIFEST)}


def expected(model: str | Path, photo: Path, **options: Any) -> bytes:
    """Return the bytes that the library writes for a photo, in the format of the photo."""
    look = StyleOptions(**options)
    stylized = Stylizer(model).stylize_photo(read_image(photo), look)
    parts = find_parts(model)
    name, identity = mixture_name([path.stem for path, _ in parts]), identify_parts(parts)
    made = Provenance.of_options(name, identity, look, OutputOptions()).of_source(str(photo))
    return encode_image(stylized, format=stylized.format or "PNG", history=made.to_text())[0]


def records(folder: Path) -> list[dict[str, Any]]:
    """Return the complete lines of an output's manifest."""
    found = []
    for part in sorted((folder / MANIFEST / "parts").glob("*.jsonl")):
        data = part.read_bytes()
        found += [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
    return found


def times_done(folder: Path) -> Counter[str]:
    """Count how often each output is recorded as done."""
    return Counter(record["target"] for record in records(folder) if "target" in record)


@pytest.fixture
def photos(workplace: Path, astronaut: Path) -> list[Path]:
    """Create nine small photos in the folder `photos`."""
    return make_photos(workplace / "photos", 9, astronaut)


@pytest.fixture
def second_style(workplace: Path) -> Path:
    """Create another style, `sunflowers`, in the folder where names are looked up."""
    folder = workplace / "saved_models"
    folder.mkdir()
    path = folder / "sunflowers.safetensors"
    save_model(path, make_card("sunflowers"), make_weights(SMALLEST, seed=1))
    return path


def bulk(*args: object, code: int = 0) -> Any:
    """Run without Ray, in this process, and return the summary."""
    result = invoke("bulk", *args, "--runner", "local", "--json")
    assert result.code == code, result.err
    return result.json
