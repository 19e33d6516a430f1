"""Other projects' checkpoints: what comes out is what each project's own network gives."""

import collections
import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fast_style.cli.import_ import LAYOUT_NAMES
from fast_style.engines import create_engine
from fast_style.engines.onnx.graph import INPUT, OUTPUT, build_graph
from fast_style.errors import ForeignCheckpointError, MissingExtraError, UsageError
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import load_model
from fast_style.options import EngineOptions
from fast_style.styles.fingerprint import photo_like
from fast_style.styles.importing import (
    LAYOUTS,
    convert_checkpoint,
    read_state_dict,
    recognise_layout,
)
from tests.commands import CHECKOUT, command, failure, invoke
from tests.foreign_networks import make_network, project_picture

SHARED = CHECKOUT.parent / "shared" / "foreign"
LIMIT = 0.05  # levels of 255


def our_picture(path: Path, pixels: np.ndarray, engine: str = "onnxruntime") -> np.ndarray:
    """What the model file gives in float32 on 0-255, clamped and not rounded."""
    model = load_model(path)
    graph = build_graph(model.card.network, model.weights, float_output=True)
    run = create_engine(
        model, EngineOptions(engine=engine, device="cpu", precision="fp32")
    ).load_graph(graph)
    return run({INPUT: pixels[None]}, [OUTPUT])[OUTPUT][0].clip(0, 255)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the projects' checkpoints are not here")
@pytest.mark.parametrize("name", ["pytorch_examples", "rrmina", "gordicaleksa"])
def test_imported_model_equals_the_project_s_network(workplace, monkeypatch, name):
    monkeypatch.setenv("FAST_STYLE_MODELS", str(workplace / "own"))
    result = invoke("import", SHARED / f"{name}.pth", "--name", name)
    path = workplace / "own" / f"{name}.safetensors"
    assert (result.code, result.out) == (0, f"{path}\n")
    assert LAYOUTS[name.replace("_", "-")].project in result.err
    pixels = np.asarray(Image.open(SHARED / "input.png").convert("RGB"))
    height, width = pixels.shape[:2]
    expected = np.load(SHARED / f"{name}_expected.npy")[:height, :width]
    for engine in ("onnxruntime", "openvino"):
        assert np.abs(our_picture(path, pixels, engine) - expected).max() < LIMIT


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
@pytest.mark.parametrize(("width", "blocks"), [(3, 0), (8, 2), (5, 11)])
def test_any_width_and_number_of_blocks_is_imported(workplace, layout, width, blocks):
    network = make_network(layout, width, blocks)
    torch.save(network.state_dict(), workplace / "net.pth")
    models = workplace / "models"
    result = invoke("import", "net.pth", "--name", "new", "--models", models, "-q")
    assert (result.code, result.err) == (0, "")
    path = models / "new.safetensors"
    config = load_model(path).card.network
    assert (config.width, config.residual_blocks) == (width, blocks)
    pixels = photo_like(61, 46)
    expected = project_picture(network, pixels)
    assert expected.std() > 5
    assert np.abs(our_picture(path, pixels) - expected).max() < LIMIT


@pytest.mark.parametrize("tanh", [150.0, 127.5])
def test_variant_with_tanh_is_imported(workplace, monkeypatch, tanh):
    network = make_network("rrmina", 6, 2, tanh=tanh)
    torch.save(network.state_dict(), workplace / "net.pth")
    more = () if tanh == 150 else ("--tanh-multiplier", tanh)
    monkeypatch.setenv("FAST_STYLE_MODELS", str(workplace))
    assert invoke("import", "net.pth", "--name", "dark", "--tanh", *more).code == 0
    model = load_model(workplace / "dark.safetensors")
    assert model.card.network == NetworkConfig(6, 2, "transposed", tanh)
    assert model.card.format_version == 2
    pixels = photo_like(40, 53)
    expected = project_picture(network, pixels)
    assert expected.std() > 5
    for name in ("onnxruntime", "openvino"):
        found = our_picture(workplace / "dark.safetensors", pixels, name)
        assert np.abs(found - expected).max() < LIMIT
    # What every engine gives, in whole levels.
    for name in ("onnxruntime", "openvino", "torch"):
        engine = create_engine(model, EngineOptions(engine=name, device="cpu", precision="fp32"))
        found = engine.predict(pixels[None])[0]
        assert np.abs(found - expected).max() < 0.5 + LIMIT
    # Imported without the flag, it is another picture.
    assert invoke("import", "net.pth", "--name", "bright").code == 0
    found = our_picture(workplace / "bright.safetensors", pixels)
    assert np.abs(found - expected).max() > 10


def test_strips_apply_the_tanh(workplace):
    from fast_style import Stylizer

    network = make_network("rrmina", 3, 1, tanh=150.0)
    torch.save(network.state_dict(), workplace / "net.pth")
    assert invoke("import", "net.pth", "--name", "n", "--tanh", "--models", "m").code == 0
    photo = photo_like(128, 96)
    stylizer = Stylizer(Path("m/n.safetensors"), precision="fp32", tile=64)
    found = np.asarray(stylizer.stylize(photo)).astype(float)
    assert np.abs(found - project_picture(network, photo)).max() < 1.5


def write_old_format(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def test_all_forms_of_a_checkpoint_give_the_same_model(workplace):
    network = make_network("pytorch-examples", 4, 1)
    state = network.state_dict()
    _, expected = convert_checkpoint(read_state_dict_of(state, "plain.pth"))
    stale = {**state, "in1.running_mean": torch.ones(4), "res1.in2.running_var": torch.ones(16)}
    stale["in1.num_batches_tracked"] = torch.tensor(7)
    write_old_format(stale, "old.pth")
    assert Path("old.pth").read_bytes()[:2] == b"\x80\x02"
    forms = {
        "old": read_state_dict("old.pth"),
        "wrapped": read_state_dict_of({"epoch": 3, "state_dict": state, "optimizer": {}}),
        "parallel": read_state_dict_of({f"module.{key}": value for key, value in state.items()}),
        "ordered": read_state_dict_of(collections.OrderedDict(state)),
        "parameters": read_state_dict_of(dict(network.named_parameters())),
    }
    for name, form in forms.items():
        assert recognise_layout(form).name == "pytorch-examples", name
        config, weights = convert_checkpoint(form)
        assert config == NetworkConfig(4, 1)
        for key, values in weights.items():
            np.testing.assert_array_equal(values, expected[key])
    halves = read_state_dict_of({key: value.half() for key, value in state.items()})
    np.testing.assert_allclose(
        convert_checkpoint(halves)[1]["output.weight"], expected["output.weight"], 1e-3
    )


def read_state_dict_of(state, path="form.pth"):
    torch.save(state, path)
    return read_state_dict(path)


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_pickle_with_more_than_tensors_is_refused_unread(workplace):
    network = make_network("rrmina", 2, 1)
    state = network.state_dict()
    for save in (torch.save, write_old_format):
        save({**state, "extra": RunsCode()}, "evil.pth")
        message = failure("import", "evil.pth", "--name", "evil")
        assert f"asks for '{os.system.__module__}.system'" in message
        assert "could run any code" in message
        save(network, "whole.pth")
        message = failure("import", "whole.pth", "--name", "evil")
        assert "asks for 'tests.foreign_networks.Rrmina'" in message
        assert "torch.save(model.state_dict(), ...)" in message
    for protocol in range(6):
        Path("evil.pth").write_bytes(pickle.dumps(RunsCode(), protocol))
        with pytest.raises(ForeignCheckpointError, match=r"asks for|is not a checkpoint"):
            read_state_dict("evil.pth")
    assert not Path("ran").exists()


def test_unknown_layout_is_refused(workplace):
    torch.save({f"layer{i}.weight": torch.ones(2) for i in range(7)}, "other.pth")
    message = failure("import", "other.pth", "--name", "other")
    assert "first keys are layer0.weight, layer1.weight, layer2.weight, layer3.weight" in message
    for layout in LAYOUTS.values():
        assert f"{layout.name} ({layout.project})" in message
    message = failure("import", "other.pth", "--name", "other", "--layout", "rrmina")
    assert "has no ConvBlock.0.conv_layer.weight, as the layout rrmina has" in message
    assert "layer0.weight" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in2.weight": torch.ones(5)}, r"in2.weight has shape \(5,\); .* it has \(8,\)"),
        ({"in2.weight": None}, "has no in2.weight"),
        ({"conv1.conv2d.weight": torch.ones(4)}, "expected that of a convolution"),
        ({"conv1.conv2d.weight": torch.ones(600, 3, 9, 9)}, "the checkpoint's network is not ours"),
        ({"deconv3.conv2d.bias": torch.full((3,), torch.nan)}, "not finite"),
        ({"deconv3.conv2d.bias": torch.full((3,), torch.inf)}, "not finite"),
        ({"more.weight": torch.ones(2)}, "unknown keys more.weight"),
        ({"res3.in1.weight": torch.ones(2)}, "unknown keys res3.in1.weight"),
    ],
)
def test_checkpoint_that_does_not_fit_its_layout_is_refused(workplace, change, message):
    state = make_network("pytorch-examples", 4, 1).state_dict()
    state = {key: value for key, value in (state | change).items() if value is not None}
    with pytest.raises(ForeignCheckpointError, match=message):
        convert_checkpoint(read_state_dict_of(state))


def test_batch_normalization_is_refused(workplace):
    state = make_network("rrmina", 2, 1).state_dict()
    state["ConvBlock.0.norm_layer.num_batches_tracked"] = torch.tensor(9)
    with pytest.raises(ForeignCheckpointError, match="has batch normalization"):
        convert_checkpoint(read_state_dict_of(state))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--tanh-multiplier", "100"], "needs --tanh"),
        (["--tanh", "--tanh-multiplier", "0"], "expected more than 0"),
        (["--tanh", "--tanh-multiplier", "1e9"], "expected a number from 0 to 1000"),
        (["--tanh"], "no network of the layout gordicaleksa ends in a tanh"),
        (["--name", "../up"], "expected letters, digits"),
    ],
)
def test_invalid_options_are_refused(workplace, args, message):
    torch.save(make_network("gordicaleksa", 2, 0).state_dict(), "net.pth")
    assert message in failure("import", "net.pth", "--name", "n", *args, code=2)


def test_existing_name_is_refused(workplace):
    torch.save(make_network("gordicaleksa", 2, 0).state_dict(), "net.pth")
    assert invoke("import", "net.pth", "--name", "n", "--models", "m").code == 0
    before = Path("m/n.safetensors").read_bytes()
    message = failure("import", "net.pth", "--name", "n", "--models", "m")
    assert "exists" in message
    assert "--overwrite" in message
    more = ("--overwrite", "--float16", "--title", "Waves")
    assert invoke("import", "net.pth", "--name", "n", "--models", "m", *more).code == 0
    assert len(Path("m/n.safetensors").read_bytes()) < len(before)
    card = load_model("m/n.safetensors").card
    assert card.title == "Waves"
    assert card.training["imported_from"]["file"] == "net.pth"


def test_other_files_are_refused(workplace, astronaut):
    assert "there is no file nothing.pth" in failure("import", "nothing.pth", "--name", "n")
    assert "there is no file" in failure("import", workplace, "--name", "n")
    message = failure("import", astronaut, "--name", "n")
    assert "is not a checkpoint written by torch.save" in message
    with zipfile.ZipFile("some.pth", "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert "is a zip archive but no checkpoint" in failure("import", "some.pth", "--name", "n")
    with zipfile.ZipFile("bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    assert "is compressed" in failure("import", "bomb.pth", "--name", "n")
    torch.save([1, 2], "list.pth")
    assert "holds no state_dict" in failure("import", "list.pth", "--name", "n")
    torch.save(make_network("rrmina", 2, 0).state_dict(), "net.pth")
    content = Path("net.pth").read_bytes()
    for kept in (0.3, 0.9, 0.999):
        Path("cut.pth").write_bytes(content[: int(kept * len(content))])
        assert "damaged" in failure("import", "cut.pth", "--name", "n")


def test_torchscript_program_is_refused(workplace):
    buffer = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), buffer)
    Path("program.pt").write_bytes(buffer.getvalue())
    assert "is a TorchScript program" in failure("import", "program.pt", "--name", "n")


def test_repeating_views_are_refused(workplace):
    state = make_network("rrmina", 2, 0).state_dict()
    state["more"] = torch.zeros(1).expand(1 << 16, 1 << 16)
    with pytest.raises(ForeignCheckpointError, match=r"claims \d+ bytes of values"):
        read_state_dict_of(state)


def test_missing_torch_is_named(workplace, monkeypatch):
    torch.save(make_network("rrmina", 2, 0).state_dict(), "net.pth")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r'pip install "fast-style\[torch\]"'):
        read_state_dict("net.pth")


def test_command_offers_all_layouts():
    assert tuple(LAYOUTS) == LAYOUT_NAMES
    with pytest.raises(UsageError, match="ends in a tanh"):
        convert_checkpoint({}, LAYOUTS["pytorch-examples"], tanh=150.0)


def test_import_command(workplace):
    torch.save(make_network("rrmina", 2, 1).state_dict(), "net.pth")
    done = command("import", "net.pth", "--name", "waves", "--models", "models", cwd=workplace)
    assert isinstance(done, subprocess.CompletedProcess)
    assert (done.returncode, done.stdout) == (0, f"models{os.sep}waves.safetensors\n"), done.stderr
