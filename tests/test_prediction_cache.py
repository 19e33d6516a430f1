"""What makes a predicted style quick to load: compiled graphs on disk, filled with its values."""

import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image

from fast_style.engines import openvino_engine
from fast_style.engines.norm_template import fill, mark, shares_template
from fast_style.engines.onnx.graph import build_graph
from fast_style.engines.onnx.predictor_graph import GRAPH_VERSION, build_predictor_graph
from fast_style.engines.openvino_engine import COMPILED, OpenVINOEngine
from fast_style.models.predictor import STYLE_CHANNELS, STYLE_LAYERS, load_predictor
from fast_style.models.vgg_weights import load_vgg_weights
from fast_style.storage.background import BackgroundCall
from fast_style.styles import prediction
from fast_style.styles.prediction import predict_style


@pytest.fixture
def painting(tmp_path):
    noise = np.random.default_rng(11).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path = tmp_path / "painting.png"
    Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """The graphs that are compiled and not read from an empty cache, by their sizes in bytes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    core, sizes = openvino_engine._core(), []

    class Core:
        def __getattr__(self, name):
            return getattr(core, name)

        def read_model(self, graph):
            sizes.append(len(graph))
            return core.read_model(graph)

    monkeypatch.setattr(openvino_engine, "_core", Core)
    return sizes


def test_one_compiled_network_serves_all_predicted_styles(painting, compiled):
    batch = np.random.default_rng(0).integers(0, 256, (1, 40, 56, 3), dtype=np.uint8)
    first = predict_style(painting)
    Image.open(painting).rotate(90).save(painting)
    second = predict_style(painting)
    compiled.clear()
    expected = [OpenVINOEngine(model, cache=False).predict(batch) for model in (first, second)]
    assert len(compiled) == 2
    filled = [OpenVINOEngine(model).predict(batch) for model in (first, second)]
    assert len(compiled) == 3  # the template
    for one, other in zip(filled, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (filled[0] != filled[1]).any()


def test_a_template_without_its_markers_is_not_filled(painting, compiled):
    model = predict_style(painting)
    network, marked = model.card.network, mark(model.card.network, model.weights)
    graph = build_graph(network, marked)
    assert fill(graph, network, marked, model.weights) == build_graph(network, model.weights)
    assert fill(graph + graph, network, marked, model.weights) is None
    assert fill(b"something else", network, marked, model.weights) is None


def test_a_damaged_template_is_no_error(painting):
    batch = np.zeros((1, 32, 32, 3), np.uint8)
    model = predict_style(painting)
    expected = OpenVINOEngine(model).predict(batch)
    for file in COMPILED.folder.iterdir():
        COMPILED.store(file.stem, b"not a network")
    np.testing.assert_array_equal(OpenVINOEngine(model).predict(batch), expected)


def test_trained_styles_have_no_template(painting):
    model = predict_style(painting)
    assert shares_template(model)
    trained = {"started_from": dict(model.card.training)}
    card = dataclasses.replace(model.card, training=trained)
    assert not shares_template(dataclasses.replace(model, card=card))


def test_the_graph_of_the_predictor_is_compiled_once(painting, compiled):
    prediction._load_graph.cache_clear()
    try:
        first = predict_style(painting, cache=False)
        assert len(compiled) == 1
        prediction._load_graph.cache_clear()  # as in another process
        second = predict_style(painting, cache=False)
        assert len(compiled) == 1
    finally:
        prediction._load_graph.cache_clear()
    for name, weights in first.weights.items():
        np.testing.assert_array_equal(second.weights[name], weights)


def test_a_changed_graph_has_a_new_version():
    """If this fails, raise GRAPH_VERSION and put the new hash here: graphs are cached compiled."""
    constants = {"descriptor.center": np.zeros(2760, np.float32)}
    for layer, channels in zip(STYLE_LAYERS, STYLE_CHANNELS, strict=True):
        constants[f"descriptor.projection_{layer}"] = np.zeros((channels, 20), np.float32)
    predictor = dataclasses.replace(load_predictor(), constants=constants)
    vgg = {name: np.zeros_like(weights) for name, weights in load_vgg_weights().items()}
    digest = hashlib.sha256(build_predictor_graph(predictor, vgg)).hexdigest()
    assert (GRAPH_VERSION, digest[:16]) == (2, "dc2228e7e24e97f5")


def test_a_call_in_the_background_returns_or_raises():
    assert BackgroundCall(lambda: 3).result() == 3
    failing = BackgroundCall(lambda: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing.result()


def test_the_cache_goes_by_the_content_of_the_file(painting, monkeypatch):
    first = predict_style(painting)
    monkeypatch.setattr(prediction, "read_image", lambda *_, **__: 1 / 0)  # not decoded again
    again = predict_style(painting)
    np.testing.assert_array_equal(again.weights["output.bias"], first.weights["output.bias"])
    with pytest.raises(ZeroDivisionError):
        predict_style(painting, style_size=200)  # another size is another style
