"""A style predicted from a picture: compared with torch, kept on disk, used like any style."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from fast_style.errors import ModelFileError, UsageError
from fast_style.images import read_image, resize_long_side
from fast_style.inference.stylizer import Stylizer
from fast_style.models.model_file import is_picture, save_model
from fast_style.models.predictor import (
    BIAS_UNIT,
    STYLE_LAYERS,
    load_predictor,
    parameter_count,
)
from fast_style.models.vgg import Vgg
from fast_style.models.vgg_weights import load_vgg_weights
from fast_style.styles import prediction
from fast_style.styles.mixing import mix_models
from fast_style.styles.prediction import predict_style
from fast_style.styles.registry import load_parts
from tests.commands import failure, invoke


@pytest.fixture
def painting(tmp_path):
    """A picture with strokes: seeded noise, stretched, of 90x120 pixels."""
    noise = np.random.default_rng(3).integers(0, 256, (30, 12, 3), dtype=np.uint8)
    path = tmp_path / "painting.png"
    Image.fromarray(noise).resize((120, 90), Image.Resampling.BICUBIC).save(path)
    return path


def predict_in_torch(pixels):
    """The formulas of `models.predictor`, in float32, from the features of the torch VGG."""
    constants = {k: torch.from_numpy(v) for k, v in load_predictor().constants.items()}
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255
    with torch.no_grad():
        features = Vgg("bundled", STYLE_LAYERS)(image, STYLE_LAYERS)
    parts = []
    for layer in STYLE_LAYERS:
        columns = features[layer].flatten(2)[0].double()  # (C, H*W)
        moments = columns @ columns.T / columns.shape[1]
        projection = constants[f"descriptor.projection_{layer}"].double()
        low = (projection.T @ moments @ projection)[*torch.triu_indices(20, 20)]
        parts += [columns.mean(1).sqrt(), moments.diagonal().sqrt().sqrt()]
        parts += [low.sign() * low.abs().sqrt()]
    raw = torch.cat(parts)
    descriptor = (raw - constants["descriptor.center"]) / constants["descriptor.deviation"]

    def linear(name, value):
        weight, bias = (
            constants[f"predictor.{name}.{part}"].double() for part in ["weight", "bias"]
        )
        return weight @ value + bias

    hidden = functional.silu(linear("first", descriptor))
    hidden = hidden + functional.silu(linear("second", hidden))
    return (constants["predictor.start"] + linear("last", hidden)).numpy()


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_parameters_are_those_of_the_formulas(painting, engine, monkeypatch):
    from fast_style.engines import cpu_graph

    monkeypatch.setattr(cpu_graph, "installed", lambda name: name == engine)
    prediction._load_graph.cache_clear()
    try:
        model = predict_style(painting, cache=False)
    finally:
        prediction._load_graph.cache_clear()
    predictor = load_predictor()
    pixels = resize_long_side(read_image(painting).pixels, predictor.style_size, enlarge=True)
    expected = predictor.fold(predict_in_torch(pixels))
    # bfloat16, where OpenVINO computes in it, has 8 bits in each of VGG's ten layers.
    tolerance = 0.05 if engine == "openvino" else 0.002
    for name, weights in model.weights.items():
        scale = BIAS_UNIT if name == "output.bias" else max(1.0, np.abs(expected[name]).max())
        assert np.abs(weights - expected[name]).max() <= tolerance * scale, name


def test_a_prediction_is_a_plain_style(painting, astronaut):
    model = predict_style(painting)
    assert model.card.name == "painting"
    assert model.card.training["predicted"] is True
    photo = read_image(astronaut, at_least=64)
    picture = Stylizer(model).stylize_photo(photo).pixels
    assert picture.shape == photo.pixels.shape
    assert picture.std() > 10
    path = painting.with_suffix(".safetensors")
    save_model(path, model.card, model.weights)
    again = Stylizer(path).stylize_photo(photo).pixels
    assert np.abs(again.astype(int) - picture).mean() < 1  # float16 weights in the file


def test_the_second_time_the_cache_answers(painting, monkeypatch):
    first = predict_style(painting)
    monkeypatch.setattr(prediction, "_load_graph", lambda _: 1 / 0)
    moved = painting.with_name("moved.png")
    shutil.copy(painting, moved)
    second = predict_style(moved)
    for name, weights in first.weights.items():
        np.testing.assert_array_equal(second.weights[name], weights)
    Image.open(painting).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(moved)
    with pytest.raises(ZeroDivisionError):
        predict_style(moved)


def test_a_damaged_cache_is_no_error(painting):
    first = predict_style(painting)
    for file in prediction.PREDICTED.folder.iterdir():
        file.write_bytes(b"broken")
    again = predict_style(painting)
    np.testing.assert_array_equal(again.weights["output.bias"], first.weights["output.bias"])


@pytest.mark.parametrize("size", [(16, 16), (640, 30)])
def test_small_and_flat_pictures_are_styles(size, tmp_path, astronaut):
    Image.new("RGB", size, (200, 30, 60)).save(tmp_path / "flat.png")
    model = predict_style(tmp_path / "flat.png")
    assert all(np.isfinite(weights).all() for weights in model.weights.values())
    picture = Stylizer(model).stylize(astronaut, size=64)
    assert picture.size == (64, 64)


def test_what_is_transparent_does_not_count(painting):
    photo = read_image(painting).pixels
    pictures = []
    for hidden in (0, 255):
        rgba = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
        rgba[:, 60:] = (hidden, hidden, hidden, 0)
        pictures.append(predict_style(rgba, cache=False))
    for name, weights in pictures[0].weights.items():
        np.testing.assert_array_equal(pictures[1].weights[name], weights)


def test_unusable_pictures_get_a_sentence(tmp_path):
    Image.new("RGB", (4, 900)).save(tmp_path / "line.png")
    with pytest.raises(UsageError, match=r"line\.png is 4x900 pixels, too small for a style"):
        predict_style(tmp_path / "line.png")
    Image.new("RGBA", (40, 40), (9, 9, 9, 0)).save(tmp_path / "ghost.png")
    with pytest.raises(UsageError, match=r"ghost\.png is wholly transparent"):
        predict_style(tmp_path / "ghost.png")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ModelFileError, match="neither a model file nor a picture"):
        load_parts(tmp_path / "notes.txt")


def test_model_files_are_told_by_name_or_header(model_file, tmp_path, painting):
    renamed = tmp_path / "model.jpg"
    shutil.copy(model_file, renamed)
    assert not is_picture(renamed)
    assert not is_picture(tmp_path / "absent.safetensors")
    assert is_picture(painting)


def test_predicted_styles_mix_in_one_network(painting, tmp_path, astronaut):
    other = tmp_path / "other.png"
    Image.open(painting).rotate(90, expand=True).save(other)
    stylizer = Stylizer(f"{painting}:0.5,{other}:0.5")
    assert stylizer.mixed_by == "weights"
    a, b = predict_style(painting), predict_style(other)
    mean = (a.weights["encoder.0.norm.weight"] + b.weights["encoder.0.norm.weight"]) / 2
    mixed = mix_models(load_parts(f"{painting}:0.5,{other}:0.5"))
    np.testing.assert_allclose(mixed.weights["encoder.0.norm.weight"], mean, atol=1e-6)


def test_the_command_takes_a_picture_for_a_style(workplace, painting, astronaut):
    Image.open(astronaut).resize((96, 96)).save("photo.png")
    result = invoke("stylize", "photo.png", "--style", painting, "-o", "out.png", "--size", 64)
    assert result.code == 0, result.err
    expected = Stylizer(predict_style(painting)).stylize("photo.png", size=64)
    difference = np.abs(np.asarray(Image.open("out.png"), int) - np.asarray(expected, int))
    assert difference.max() <= 1
    sentence = failure("stylize", "photo.png", "--style", astronaut.with_name("absent.jpg"))
    assert "absent.jpg" in sentence
    assert failure("stylize", "photo.png", "--style", "absent.jpg").startswith(
        "there is no picture absent.jpg: check the path"
    )


def test_parameter_count_is_that_of_the_file():
    predictor = load_predictor()
    assert predictor.constants["predictor.start"].shape == (parameter_count(predictor.network),)
    assert set(load_vgg_weights()) >= {"features.0.weight", "features.21.bias"}


def test_a_picture_in_memory_is_a_style(painting, astronaut):
    path = Stylizer(painting).stylize(astronaut, size=48)
    for style in (Image.open(painting), np.asarray(Image.open(painting))):
        np.testing.assert_array_equal(Stylizer(style).stylize(astronaut, size=48), path)


def test_a_larger_style_size_gives_other_parameters_and_is_refused_for_models(
    workplace, painting, astronaut, model_file
):
    Image.open(astronaut).resize((96, 96)).save("photo.png")
    for size in (128, 256):
        arguments = ["stylize", "photo.png", "--style", painting, "--style-size", size]
        result = invoke(*arguments, "-o", f"{size}.png")
        assert result.code == 0, result.err
        expected = Stylizer(predict_style(painting, style_size=size)).stylize("photo.png")
        difference = np.abs(np.asarray(Image.open(f"{size}.png"), int) - np.asarray(expected, int))
        assert difference.max() <= 1
    assert (np.asarray(Image.open("128.png")) != np.asarray(Image.open("256.png"))).any()
    model = failure("stylize", "photo.png", "--style", model_file, "--style-size", 256, code=2)
    assert model.startswith("a style size is for a style that is a picture")
    with pytest.raises(UsageError, match="style_size is 4096; expected 2048 or less"):
        predict_style(painting, style_size=4096)
