"""`fast-style export`: what is written is what the library is, in other programs' hands."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from fast_style import Stylizer
from fast_style.cli.export import FORMAT_NAMES
from fast_style.engines import create_engine
from fast_style.engines.onnx.graph import INPUT, OUTPUT
from fast_style.engines.onnx.writer import OPSET
from fast_style.errors import ExportError, UsageError
from fast_style.images.grain import add_grain
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import StyleModel, load_model, save_model
from fast_style.models.network import StyleNetwork
from fast_style.options import EngineOptions
from fast_style.styles.exporting import FORMATS, ExportOptions, build_onnx, export_model
from fast_style.styles.fingerprint import photo_like
from tests.commands import CHECKOUT, command, failure, invoke
from tests.conftest import SMALLEST, STYLE, make_card, make_weights

# One style of each size; the others differ in their weights only.
SHIPPED = [
    CHECKOUT / "saved_models" / f"{name}.safetensors"
    for name in ("starry-night", "starry-night-full", "starry-night-tiny")
]
SIZES = [(5, 5), (40, 64), (61, 46)]
GRAIN = 9


@pytest.fixture
def grainy(workplace, model_file, monkeypatch) -> StyleModel:
    """A style `waves` with grain, whose network ends in a tanh and so uses every part."""
    config = NetworkConfig(3, 1, "transposed", 140.0)
    weights = make_weights(config)
    weights["output.weight"] /= 60
    weights["output.bias"][:] = (0.5, 0.7, 0.9)
    monkeypatch.setenv("FAST_STYLE_MODELS", str(workplace / "own"))
    path = workplace / "own" / "waves.safetensors"
    save_model(path, make_card("waves", config, grain=GRAIN), weights)
    return load_model(path)


def by_torch(model: StyleModel, pixels: np.ndarray) -> np.ndarray:
    """The library's picture in float32, on [0, 1], by the torch network alone."""
    network = StyleNetwork(model.card.network)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in model.weights.items()})
    planes = add_grain(pixels, model.card.grain).transpose(2, 0, 1)[None].astype(np.float32)
    with torch.no_grad():
        stylized = network.eval()(torch.from_numpy(planes / 255)).clamp(0, 1)
    return stylized[0].permute(1, 2, 0).numpy()


def planes(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)


def by_onnxruntime(content: bytes, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {INPUT: image})[0]


def by_openvino(content: bytes, image: np.ndarray) -> np.ndarray:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return compiled({INPUT: image})[OUTPUT]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_export_of_shipped_styles_equals_the_library(workplace, astronaut, path):
    result = invoke("export", path, "--to", "onnx", "-o", "style.onnx")
    assert result.code == 0, result.err
    pixels = np.asarray(Image.open(astronaut).crop((10, 20, 253, 255)))
    expected = by_torch(load_model(path), pixels)
    content = Path("style.onnx").read_bytes()
    for run in (by_onnxruntime, by_openvino):
        found = run(content, planes(pixels))[0].transpose(1, 2, 0)
        assert np.abs(found - expected).max() < 2e-3
    # And the library's whole way, in levels.
    stylized = np.asarray(Stylizer(path, precision="fp32").stylize(pixels))
    assert np.abs(stylized / 255 - expected).max() < 2e-3 + 0.5 / 255


@pytest.mark.parametrize("run", [by_onnxruntime, by_openvino])
def test_onnx_accepts_any_size_and_batch(grainy, run):
    content = build_onnx(grainy, ExportOptions())
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
    for height, width in SIZES:
        first, second = photo_like(height, width), photo_like(height, width, seed=1)
        batch = np.concatenate([planes(first), planes(second)])
        found = run(content, batch).transpose(0, 2, 3, 1)
        for picture, pixels in zip(found, (first, second), strict=True):
            assert np.abs(picture - by_torch(grainy, pixels)).max() < 1e-4


@pytest.mark.parametrize("size", [None, (61, 46), (40, 64)])
@pytest.mark.parametrize("run", [by_onnxruntime, by_openvino])
def test_pictures_as_uint8(grainy, run, size):
    pixels = photo_like(*(size or (61, 46)))
    expected = by_torch(grainy, pixels) * 255
    content = build_onnx(grainy, ExportOptions(uint8=True, size=size))
    found = run(content, pixels[None])[0]
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() < 0.51
    alpha = photo_like(*pixels.shape[:2], seed=2)[..., :1]
    content = build_onnx(grainy, ExportOptions(uint8=True, rgba=True, size=size))
    with_alpha = run(content, np.concatenate([pixels, alpha], axis=2)[None])[0]
    np.testing.assert_array_equal(with_alpha[..., :3], found)
    np.testing.assert_array_equal(with_alpha[..., 3:], alpha)


@pytest.mark.parametrize("run", [by_onnxruntime, by_openvino])
def test_float16_is_close_and_smaller(grainy, run):
    half = build_onnx(grainy, ExportOptions(float16=True))
    onnx.checker.check_model(onnx.load_model_from_string(half), full_check=True)
    stored = onnx.load_model_from_string(half).graph.initializer
    kinds = {entry.name: entry.data_type for entry in stored}
    assert kinds["trunk.0.first.conv.weight"] == onnx.TensorProto.FLOAT16
    sizes = [len(build_onnx(grainy, ExportOptions(float16=f, grain=False))) for f in (True, False)]
    assert sizes[0] < 0.7 * sizes[1]
    pixels = photo_like(61, 46)
    found = run(half, planes(pixels))
    assert found.dtype == np.float32
    difference = np.abs(found[0].transpose(1, 2, 0) - by_torch(grainy, pixels)).max()
    assert 0 < difference < 2e-2


def test_metadata_and_shapes(grainy):
    size = (64, 48)
    stated = onnx.load_model_from_string(build_onnx(grainy, ExportOptions(size=size)))
    about = {entry.key: entry.value for entry in stated.metadata_props}
    assert about["name"] == "waves"
    assert about["artist"] == "Vincent van Gogh"
    assert about["licence"] == "public domain"
    assert about["input"] == "float32 sRGB, RGB, shape (1, 3, 64, 48), range [0, 1]"
    assert about["grain"] == f"{GRAIN} levels, added inside"
    assert about["opset"] == str(OPSET) == str(stated.opset_import[0].version)
    (entry,) = stated.graph.input
    assert [side.dim_value for side in entry.type.tensor_type.shape.dim] == [1, 3, 64, 48]
    free = onnx.load_model_from_string(build_onnx(grainy, ExportOptions(uint8=True)))
    sides = free.graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_param or side.dim_value for side in sides] == ["batch", "height", "width", 3]


def test_grain_is_included_or_left_out(grainy):
    pixels = photo_like(300, 270)  # more than the square of grain that repeats
    with_grain = build_onnx(grainy, ExportOptions(uint8=True))
    without = build_onnx(grainy, ExportOptions(uint8=True, grain=False))
    expected = by_onnxruntime(without, add_grain(pixels, GRAIN)[None])
    np.testing.assert_array_equal(by_onnxruntime(with_grain, pixels[None]), expected)
    assert not np.array_equal(by_onnxruntime(without, pixels[None]), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torchscript", "pt2"])
@pytest.mark.parametrize("more", [[], ["--uint8", "--rgba", "--float16"]])
def test_torch_programs_equal_the_library(grainy, kind, more):
    result = invoke("export", "waves", "--to", kind, "-o", "style.pt", *more, "--json")
    assert result.code == 0, result.err
    assert result.json["difference"] <= result.json["limit"]
    if kind == "torchscript":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *_, **__: None)
            extra = {"fast_style.txt": ""}
            program = torch.jit.load("style.pt", _extra_files=extra)
        assert b"name: waves" in extra["fast_style.txt"]
    else:
        program = torch.export.load("style.pt").module()
    for height, width in SIZES:
        pixels = photo_like(height, width)
        expected = by_torch(grainy, pixels)
        if more[:1] == ["--uint8"]:
            alpha = photo_like(height, width, seed=2)[..., :1]
            given = np.concatenate([pixels, alpha], axis=2)[None]
            found = program(torch.from_numpy(given))[0].numpy()
            np.testing.assert_array_equal(found[..., 3:], alpha)
            assert np.abs(found[..., :3] - expected * 255).max() < 5
        else:
            found = program(torch.from_numpy(planes(pixels)))[0].permute(1, 2, 0).numpy()
            assert np.abs(found - expected).max() < 1e-4


@pytest.mark.slow
def test_pt2_of_a_fixed_size(grainy):
    more = ("--fixed-size", "24x20", "--uint8")
    result = invoke("export", "waves", "--to", "pt2", "-o", "style.pt2", *more, "--json")
    assert result.code == 0, result.err
    assert result.json["shape"] == [1, 24, 20, 3]
    assert result.json["compared_on"] == [24, 20]


@pytest.mark.parametrize("more", [[], ["--float16"]])
def test_safetensors_export_is_a_model_file(grainy, more):
    result = invoke("export", "waves", "--to", "safetensors", "-o", "w.safetensors", *more)
    assert result.code == 0
    assert "largest difference from the library: 0.00e+00" in result.out
    model = load_model("w.safetensors")
    assert dataclasses.replace(model.card, fingerprint={}) == grainy.card
    assert "so is the picture" in invoke("verify", "w.safetensors").out
    for name, values in grainy.weights.items():
        np.testing.assert_array_equal(model.weights[name], values)


def test_command_prints_the_difference(workplace, astronaut):
    result = invoke("export", STYLE, "--to", "onnx", "-o", "s.onnx", "--photo", astronaut)
    assert result.code == 0
    size = Path("s.onnx").stat().st_size
    assert result.err == f"fast-style: wrote s.onnx: onnx, opset {OPSET}, {size:,} bytes\n"
    assert result.out.startswith("largest difference from the library: ")
    assert "in onnxruntime, 256x256 pixels" in result.out
    document = invoke("export", STYLE, "--to", "onnx", "-o", "s.onnx", "--json").json
    assert document["opset"] == OPSET
    assert document["shape"] == ["batch", 3, "height", "width"]
    assert 0 <= document["difference"] < 2e-3
    # On a photo of its own, at the size that the file takes.
    fixed = ("--fixed-size", "33x60", "--photo", astronaut, "--json")
    document = invoke("export", STYLE, "--to", "onnx", "-o", "s.onnx", *fixed).json
    assert document["compared_on"] == [33, 60]
    assert [path.name for path in workplace.iterdir()] == ["s.onnx"]


def test_wrong_file_is_found_and_not_kept(grainy, monkeypatch):
    """A file that is not the style is found out, and what was there stays."""
    import fast_style.styles.exporting as export

    Path("s.onnx").write_bytes(b"before")
    weights = dict(grainy.weights) | {"output.bias": grainy.weights["output.bias"] + 1}
    other = build_onnx(StyleModel(grainy.card, weights), ExportOptions())
    monkeypatch.setattr(export, "build_onnx", lambda *_: other)
    message = failure("export", "waves", "--to", "onnx", "-o", "s.onnx")
    assert "s.onnx is not written: its picture differs by" in message
    assert Path("s.onnx").read_bytes() == b"before"
    assert sorted(path.name for path in Path().iterdir()) == ["own", "s.onnx"]


def test_openvino_runs_the_file_without_onnxruntime(grainy, monkeypatch):
    import fast_style.styles.exporting as export

    monkeypatch.setattr(export, "available_engines", lambda: ("openvino",))
    result = export_model(grainy, "s.onnx", ExportOptions())
    assert result.runner == "openvino"
    assert result.difference < 1e-4


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--fixed-size", "720"], "expected HEIGHTxWIDTH"),
        (["--fixed-size", "4x99"], "takes sides from 5"),
        (["--rgba"], "add --uint8"),
        (["--to", "safetensors", "--uint8"], "holds weights alone"),
        (["--to", "torchscript", "--fixed-size", "9x9"], "takes every size"),
    ],
)
def test_invalid_options_are_refused(workplace, args, message):
    given = ["export", STYLE, "--to", "onnx", "-o", "s", *args]
    assert message in failure(*given, code=2)


def test_path_that_cannot_be_written_is_refused(workplace):
    given = ["export", STYLE, "--to", "onnx", "-o"]
    assert "is not a folder" in failure(*given, "nowhere/s.onnx")
    Path("folder").mkdir()
    assert "cannot be written" in failure(*given, "folder")


def test_weights_too_large_for_float16_are_refused():
    weights = make_weights(SMALLEST)
    weights["trunk.0.first.conv.weight"][0] = 1e5
    model = StyleModel(make_card(), weights)
    for kind in ("onnx", "torchscript"):
        with pytest.raises(ExportError, match="float16 cannot"):
            export_model(model, "never", ExportOptions(kind, float16=True))


def test_command_offers_all_formats():
    assert FORMATS == FORMAT_NAMES
    with pytest.raises(UsageError, match="no such format"):
        ExportOptions("tflite")


def test_command_works_without_torch(workplace):
    done = command("export", STYLE, "--to", "onnx", "-o", "s.onnx", "--json", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["format"] == "onnx"
    engine = create_engine(
        load_model_of_style(), EngineOptions(engine="onnxruntime", precision="fp32")
    )
    pixels = photo_like(30, 41)
    found = by_onnxruntime(Path("s.onnx").read_bytes(), planes(pixels))[0].transpose(1, 2, 0)
    assert np.abs(found * 255 - engine.predict(pixels[None])[0]).max() < 0.51


def load_model_of_style() -> StyleModel:
    from fast_style import load_style

    return load_style(STYLE)


def test_mixture_of_one_base_is_exported_as_one_file(workplace, monkeypatch):
    monkeypatch.setenv("FAST_STYLE_MODELS", str(workplace / "own"))
    pair = []
    for seed, name in enumerate(("calm", "storm")):
        card = make_card(name, training={"started_from": {"name": "base"}})
        path = workplace / "own" / f"{name}.safetensors"
        save_model(path, card, make_weights(SMALLEST, seed))
        pair.append(load_model(path))
    result = invoke("export", "calm:0.75,storm:0.25", "--to", "safetensors", "-o", "m.safetensors")
    assert result.code == 0, result.err
    calm, storm = (model.weights["trunk.0.first.conv.weight"] for model in pair)
    found = load_model("m.safetensors").weights["trunk.0.first.conv.weight"]
    np.testing.assert_allclose(found, 0.75 * calm + 0.25 * storm, atol=1e-6)
    save_model(workplace / "own" / "far.safetensors", make_card("far"), make_weights(SMALLEST, 5))
    message = failure("export", "calm,far", "--to", "onnx", "-o", "m.onnx", code=2)
    assert "cannot be one network" in message
