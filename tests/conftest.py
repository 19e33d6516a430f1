"""Fixtures that many tests share: a seeded tiny model, a real photo, a place of one's own."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fast_style.models.card import ModelCard
from fast_style.models.config import NetworkConfig, parameter_shapes
from fast_style.models.model_file import StyleModel, load_model, save_model

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: its threads would wait for each other, busily, on shared cores.
    os.environ["OMP_NUM_THREADS"] = "1"

SMALLEST = NetworkConfig(width=2, residual_blocks=1)
STYLE = "wheat-field"


def make_weights(config: NetworkConfig, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random weights that give a picture with all its values inside the range."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in parameter_shapes(config).items():
        if name.endswith("norm.weight"):
            values = random.uniform(0.5, 1.5, shape)
        elif name == "output.bias":
            values = np.full(shape, 127.5)
        elif len(shape) == 1:
            values = random.normal(0, 0.1, shape)
        else:
            values = random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape)
            values *= 30 if name == "output.weight" else 1
        weights[name] = values.astype(np.float32)
    return weights


def make_card(name: str = STYLE, config: NetworkConfig = SMALLEST, **more: object) -> ModelCard:
    values: Mapping[str, object] = {
        "title": "Wheat Field with Cypresses",
        "artist": "Vincent van Gogh",
        "year": "1889",
        "licence": "public domain",
    }
    return ModelCard(name=name, network=config, **{**values, **more})


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the engines compile away from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """A photo of 512x512 pixels."""
    return Path(__file__).parent / "data" / "astronaut.jpg"


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model file with the smallest network; not to be changed."""
    path = tmp_path_factory.mktemp("models") / f"{STYLE}.safetensors"
    save_model(path, make_card(), make_weights(SMALLEST))
    return path


@pytest.fixture(scope="session")
def model(model_file: Path) -> StyleModel:
    return load_model(model_file)


@pytest.fixture
def workplace(tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, where the style `wheat-field` can be had by its name."""
    monkeypatch.setenv("FAST_STYLE_MODELS", str(model_file.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that none is left over for the end."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)
