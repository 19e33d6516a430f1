"""Forms of checkpoints: prefixes, safetensors, Git LFS pointers, runs that are not finished."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from fast_style.errors import ForeignCheckpointError, ModelFileError, UnreadableImageError
from fast_style.images import read_image
from fast_style.models.model_file import load_model
from fast_style.storage.git_lfs import LFS_DESCRIPTION, LFS_SIGNATURE
from fast_style.styles.importing import convert_checkpoint, read_state_dict
from fast_style.styles.registry import load_file
from tests.commands import failure, invoke
from tests.foreign_networks import make_network
from tests.training_photos import make_painting, make_photos

POINTER = LFS_SIGNATURE + b"v1\noid sha256:" + b"0" * 64 + b"\nsize 6500000\n"


@pytest.fixture(scope="module")
def state():
    return make_network("pytorch-examples", 4, 1).state_dict()


@pytest.fixture(scope="module")
def expected(state):
    arrays = {key: value.numpy() for key, value in state.items()}
    return convert_checkpoint(arrays)[1]


def same(form, expected, tolerance=0.0):
    weights = convert_checkpoint(form)[1]
    assert weights.keys() == expected.keys()
    for key, values in weights.items():
        np.testing.assert_allclose(values, expected[key], tolerance, tolerance)


class TestPrefixes:
    @pytest.mark.parametrize(
        "prefix",
        [
            "module.",
            "_orig_mod.",
            "net.",
            "model.",
            "_orig_mod.module.",
            "generator.net._orig_mod.",
        ],
    )
    def test_are_stripped(self, workplace, state, expected, prefix):
        torch.save({f"{prefix}{key}": value for key, value in state.items()}, "form.pth")
        same(read_state_dict("form.pth"), expected)

    def test_other_networks_beside_it_are_left_out(self, workplace, state, expected):
        whole = {f"transformer.{key}": value for key, value in state.items()}
        whole |= {"vgg.features.0.weight": torch.zeros(64, 3, 3, 3), "step": torch.tensor(3)}
        torch.save({"state_dict": whole, "epoch": 2}, "lightning.ckpt")
        same(read_state_dict("lightning.ckpt"), expected)
        result = invoke("import", "lightning.ckpt", "--name", "new", "--models", ".", "-q")
        assert result.code == 0, result.err

    def test_keys_of_unknown_layouts_are_shown_as_they_are(self, workplace):
        torch.save({"net.a.weight": torch.zeros(1), "net.b.weight": torch.zeros(1)}, "x.pth")
        assert "its first keys are net.a.weight, net.b" in failure("import", "x.pth", "--name", "n")


class TestSafetensors:
    @pytest.mark.parametrize(
        ("kind", "tolerance"),
        [(torch.float32, 0), (torch.float64, 0), (torch.float16, 2e-3), (torch.bfloat16, 1e-2)],
    )
    def test_state_dicts(self, workplace, state, expected, kind, tolerance):
        stored = {f"net.{key}": value.to(kind).contiguous() for key, value in state.items()}
        stored["net.in1.num_batches_tracked"] = torch.tensor(7)
        save_file(stored, "form.safetensors", metadata={"format": "pt"})
        same(read_state_dict("form.safetensors"), expected, tolerance)

    def test_command_needs_no_torch(self, workplace, state, monkeypatch):
        save_arrays({key: value.numpy() for key, value in state.items()}, "net.safetensors")
        monkeypatch.setitem(__import__("sys").modules, "torch", None)
        result = invoke("import", "net.safetensors", "--name", "new", "--models", "models")
        assert result.code == 0, result.err
        card = load_model("models/new.safetensors").card
        assert card.training["imported_from"]["file"] == "net.safetensors"

    def test_model_files_and_others_are_refused(self, workplace, model_file):
        text = failure("import", model_file, "--name", "n")
        assert "is a model file of Fast Style already: add it with fast-style models add" in text
        content = model_file.read_bytes()
        Path("cut.safetensors").write_bytes(content[:-9])
        assert "damaged safetensors file" in failure("import", "cut.safetensors", "--name", "n")
        save_arrays({"conv1": np.zeros(3, np.complex64)}, "complex.safetensors")
        text = failure("import", "complex.safetensors", "--name", "n")
        assert "conv1 holds C64; expected one of" in text
        assert "there is no file" in failure("import", "none.safetensors", "--name", "n")


@pytest.mark.parametrize(
    ("read", "name", "error"),
    [
        (load_file, "style.safetensors", ModelFileError),
        (load_file, "style.jpg", ModelFileError),
        (load_file, "last.ckpt", ModelFileError),
        (read_state_dict, "net.pth", ForeignCheckpointError),
        (read_state_dict, "net.safetensors", ForeignCheckpointError),
        (read_image, "photo.jpg", UnreadableImageError),
    ],
)
def test_git_lfs_pointer_is_named_as_one(workplace, read, name, error):
    path = workplace / name
    path.write_bytes(POINTER)
    with pytest.raises(error) as raised:
        read(path)
    assert LFS_DESCRIPTION in str(raised.value)


@pytest.fixture(scope="module", params=[1, 2], ids=["one painting", "two paintings"])
def run(request, tmp_path_factory):
    """Train two steps; the model that the run has written is what its checkpoint must give."""
    folder = tmp_path_factory.mktemp("run")
    make_photos(folder / "photos")
    (folder / "paintings").mkdir()
    painting = make_painting(folder / "paintings" / "a.png")
    source = painting
    if request.param == 2:
        shutil.copy(painting, folder / "paintings" / "b.png")
        source = folder / "paintings"
    options = ["--size", "tiny", "--steps", 2, "--batch-size", 2, "--crop-size", 32]
    options += ["--style-size", 32, "--workers", 0, "--style-layers", "relu1_2"]
    options += ["--content-layers", "relu1_2", "--preview-every", 0, "--accelerator", "cpu"]
    options += ["--precision", "fp32", "--init", "scratch", "--name", "mine", "--quiet"]
    options += ["--artist", "Somebody"]
    paths = ["--runs", folder / "runs", "--models", folder, "--photos", folder / "photos"]
    result = invoke("train", "--style-image", source, *paths, *options)
    assert result.code == 0, result.err
    return folder


class TestUnfinishedRuns:
    @pytest.mark.slow
    def test_checkpoint_is_a_style(self, run):
        found = load_file(run / "runs" / "mine" / "checkpoints" / "last.ckpt")
        finished = load_model(run / "mine.safetensors")
        assert found.card.network == finished.card.network
        assert (found.card.name, found.card.artist) == ("mine", "Somebody")
        assert found.card.grain == finished.card.grain
        assert found.card.training["steps_taken"] == 2
        for name, values in finished.weights.items():  # those are stored as float16
            np.testing.assert_allclose(found.weights[name], values, rtol=1e-3, atol=1e-6)

    @pytest.mark.slow
    def test_commands_take_it(self, run, tmp_path, astronaut):
        checkpoint = run / "runs" / "mine" / "checkpoints" / "last.ckpt"
        out = tmp_path / "out.png"
        result = invoke("stylize", astronaut, "--size", 64, "-s", checkpoint, "-o", out)
        assert result.code == 0, result.err
        assert out.is_file()
        result = invoke("import", checkpoint, "--name", "kept", "--models", tmp_path)
        assert result.code == 0, result.err
        assert "last.ckpt is a checkpoint of fast-style train: tiny" in result.err
        assert load_model(tmp_path / "kept.safetensors").card.artist == "Somebody"

    def test_other_checkpoints_are_refused(self, workplace, astronaut, state):
        torch.save({"state_dict": {}, "epoch": 1}, "other.ckpt")
        with pytest.raises(ModelFileError, match="is no checkpoint of fast-style train: import"):
            load_file(workplace / "other.ckpt")
        about = {"config": {"predictor": True}}
        torch.save({"state_dict": {}, "fast_style": about}, "predictor.ckpt")
        with pytest.raises(ModelFileError, match="of a predictor's run, and no style"):
            load_file(workplace / "predictor.ckpt")
        torch.save(state, "net.pth")
        text = failure("stylize", astronaut, "-s", "net.pth", "-o", "x.png")
        assert "fast-style import makes one" in text
