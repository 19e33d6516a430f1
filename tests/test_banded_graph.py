"""The graph for one size of large picture: the same picture in less memory."""

import numpy as np
import pytest

from fast_style.engines import create_engine, openvino_engine
from fast_style.engines.onnx import banded_graph
from fast_style.engines.onnx.banded_graph import build_banded_graph
from fast_style.engines.onnx.graph import INPUT, OUTPUT, build_graph
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import StyleModel
from fast_style.options import EngineOptions
from tests.conftest import make_card, make_weights


@pytest.mark.parametrize("engine_name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(
    "config", [NetworkConfig(2, 1), NetworkConfig(3, 1, "transposed"), NetworkConfig(2, 0)], ids=str
)
@pytest.mark.parametrize("sides", [(201, 133), (300, 64), (97, 98), (18, 300), (5, 5), (403, 21)])
def test_banded_graph_equals_the_whole_graph(
    monkeypatch: pytest.MonkeyPatch,
    engine_name: str,
    config: NetworkConfig,
    sides: tuple[int, int],
) -> None:
    monkeypatch.setattr(banded_graph, "BAND_PIXELS", 1500)
    weights = make_weights(config)
    model = StyleModel(make_card(config=config), weights)
    engine = create_engine(model, EngineOptions(engine=engine_name, precision="fp32"))
    picture = np.random.default_rng(0).integers(0, 256, (1, *sides, 3)).astype(np.uint8)
    graphs = build_graph(config, weights), build_banded_graph(config, weights, *sides)
    whole, banded = (
        engine.load_graph(graph)({INPUT: picture}, [OUTPUT])[OUTPUT].astype(int) for graph in graphs
    )
    assert whole.shape == banded.shape == picture.shape
    assert np.abs(whole - banded).max() <= 1
    assert (whole != banded).mean() < 0.001


def test_openvino_uses_it_for_large_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    config = NetworkConfig(4, 1)
    model = StyleModel(make_card(config=config), make_weights(config))
    engine = create_engine(model, EngineOptions(engine="openvino", precision="fp32"))
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (1, 90, n, 3)).astype(np.uint8) for n in (120, 120, 131)]
    expected = [engine.predict(picture) for picture in pictures]
    built: list[tuple[int, int]] = []

    def watched(*arguments: object) -> bytes:
        built.append(arguments[2:])  # type: ignore[arg-type]
        return build_banded_graph(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(openvino_engine, "_LARGE_PIXELS", 90 * 120)
    monkeypatch.setattr(openvino_engine, "build_banded_graph", watched)
    for picture, wanted in zip(pictures, expected, strict=True):
        assert np.abs(engine.predict(picture).astype(int) - wanted).max() <= 1
    assert built == [(90, 120), (90, 131)]  # kept for the second picture of a size
