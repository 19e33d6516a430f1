"""`fast-style verify` finds damaged and changed files, and accepts valid ones."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fast_style.engines import create_engine
from fast_style.errors import ModelFileError
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import StyleModel, load_model, save_model
from fast_style.options import EngineOptions
from fast_style.styles.fingerprint import (
    TOLERANCES,
    add_fingerprint,
    compare_fingerprint,
    photo_like,
    take_fingerprint,
    weights_sha256,
)
from tests.commands import CHECKOUT, failure, invoke
from tests.conftest import SMALLEST, make_card, make_weights
from tests.test_import_graph import HEAVY, loaded_after

SHIPPED = sorted((CHECKOUT / "saved_models").glob("*.safetensors"))


@pytest.fixture
def own(workplace, monkeypatch) -> Path:
    """Create the user's folder with a valid style `waves` that has a fingerprint."""
    folder = workplace / "own"
    folder.mkdir()
    monkeypatch.setenv("FAST_STYLE_MODELS", str(folder))
    path = folder / "waves.safetensors"
    save_model(path, make_card("waves", grain=4), make_weights(SMALLEST))
    add_fingerprint(path)
    return folder


def rewrite(path: Path, *, card: dict | None = None, weights: dict | None = None) -> None:
    """Change a file without updating its fingerprint."""
    about = load_model(path).card.to_dict() | (card or {})
    save_file(load_file(path) | (weights or {}), path, {"fast_style": json.dumps(about)})


def test_valid_file_passes(own):
    result = invoke("verify", "waves")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("waves: header, 30 tensors and their values are sound, ")
    assert "the weights are the same, and so is the picture" in result.out
    (entry,) = invoke("verify", own / "waves.safetensors", "--json").json
    assert entry["sound"] is True
    assert entry["difference"] <= entry["tolerance"] == TOLERANCES["fp32"]
    assert entry["sha256"] == weights_sha256(load_model(own / "waves.safetensors").weights)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_every_engine_computes_the_picture(own, engine):
    assert invoke("verify", "waves", "--engine", engine).code == 0


def test_all_styles_are_verified_by_default_and_shipped_ones_pass(own):
    save_model(own / "old.safetensors", make_card("old"), make_weights(SMALLEST))
    result = invoke("verify", "--json")
    assert result.code == 0, result.err
    entries = {entry["style"]: entry for entry in result.json}
    shipped = {path.stem for path in SHIPPED}
    assert {"old", "waves", *shipped} <= set(entries)
    assert shipped
    assert all(entries[name]["sound"] and entries[name]["fingerprint"] for name in shipped)
    assert entries["old"]["fingerprint"] is False
    assert "it has no fingerprint" in invoke("verify", "old").out


def test_adding_a_fingerprint_keeps_the_weights(own):
    path = own / "old.safetensors"
    save_model(path, make_card("old"), make_weights(SMALLEST))
    before = load_file(path)
    assert "so is the picture" in invoke("verify", "old", "--add-fingerprint").out
    after = load_file(path)
    assert {name: value.tobytes() for name, value in before.items()} == {
        name: value.tobytes() for name, value in after.items()
    }
    content = path.read_bytes()
    invoke("verify", "old", "--add-fingerprint")
    assert path.read_bytes() == content


def test_float32_files_keep_their_weights(own):
    path = own / "exact.safetensors"
    weights = make_weights(SMALLEST)
    save_model(path, make_card("exact"), weights, float32=True)
    add_fingerprint(path)
    for name, values in load_file(path).items():
        np.testing.assert_array_equal(values, weights[name])
    assert invoke("verify", "exact").code == 0


def test_changed_weight_is_found(own):
    path = own / "waves.safetensors"
    shift = load_file(path)["decoder.1.norm.bias"]
    shift[0] = np.nextafter(shift[0], np.float16(9))
    rewrite(path, weights={"decoder.1.norm.bias": shift})
    assert "its weights have changed" in failure("verify", "waves")


def test_changed_grain_is_found(own):
    path = own / "waves.safetensors"
    rewrite(path, card={"grain": 60})
    assert "its picture differs by" in failure("verify", "waves")


def test_changed_computation_is_found(own):
    """Imitate a release that computes the network differently, here with other statistics."""
    model = load_model(own / "waves.safetensors")
    engine = create_engine(
        model, EngineOptions(engine="onnxruntime", device="cpu", precision="fp32")
    )
    frozen = engine.freeze(engine.measure(photo_like(50, 50, seed=1)[None])[0])
    compared = compare_fingerprint(model, frozen)
    assert compared.same_weights
    assert not compared.same_picture


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"output.bias": np.full(3, np.nan, np.float16)}, "not finite"),
        ({"output.bias": np.zeros(4, np.float16)}, "has shape (4,)"),
        ({"more": np.zeros(4, np.float16)}, "unknown: more"),
    ],
)
def test_invalid_weights_are_found(own, weights, message):
    rewrite(own / "waves.safetensors", weights=weights)
    assert message in failure("verify", "waves")


def test_exit_code_3_if_some_fail(own):
    shutil.copy(own / "waves.safetensors", own / "cut.safetensors")
    content = (own / "cut.safetensors").read_bytes()
    (own / "cut.safetensors").write_bytes(content[:-10])
    result = invoke("verify", "waves", "cut", "nowhere")
    assert result.code == 3
    assert result.out.startswith("waves: ")
    assert [line.split(": ")[1] for line in result.lines] == ["cut", "nowhere"]
    assert "cut short" in result.lines[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "newer release"),
        ({"version": "1"}, "is not valid"),
        ({"sha256": 5}, "is not valid"),
        ({"picture": [0.0] * 191}, "is not valid"),
        ({"picture": ["0"] * 192}, "is not valid"),
        ({"picture": [float("nan")] * 192}, "is nan; expected a finite number"),
        ({"picture": [300] * 192}, "is not valid"),
    ],
)
def test_invalid_fingerprints_are_refused(own, change, message):
    path = own / "waves.safetensors"
    card = load_model(path).card
    rewrite(path, card={"fingerprint": {**card.fingerprint, **change}})
    assert message in failure("verify", "waves")


def test_fingerprint_that_is_not_an_object_is_refused(own):
    rewrite(own / "waves.safetensors", card={"fingerprint": [1]})
    with pytest.raises(ModelFileError, match="fingerprint in its card is not a JSON object"):
        load_model(own / "waves.safetensors")


def test_fingerprint_picture_is_reproducible():
    picture = photo_like()
    assert (picture.shape, picture.dtype) == ((96, 128, 3), np.uint8)
    # Sums written down once: a generator that changed would change every fingerprint.
    assert [int(channel.sum()) for channel in picture.transpose(2, 0, 1)] == SUMS
    assert photo_like(1, 1).shape == (1, 1, 3)
    assert not np.array_equal(photo_like(seed=1), picture)


SUMS = [1060420, 1538811, 1294957]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_stay_within_their_tolerance(precision):
    from fast_style.engines.torch_engine import TorchEngine

    config = NetworkConfig(8, 5)
    model = StyleModel(make_card(config=config), make_weights(config))
    card = dataclasses.replace(model.card, fingerprint=take_fingerprint(model))
    engine = TorchEngine(model, "cpu", "fp32")
    engine._precision = precision  # emulated where the processor lacks it
    compared = compare_fingerprint(StyleModel(card, model.weights), engine)
    assert compared.tolerance == TOLERANCES[precision]
    assert 0 < compared.difference < compared.tolerance / 2


def test_training_writes_a_fingerprint(tmp_path):
    from fast_style.training.trainer import train
    from tests.test_training import make_config

    result = train(make_config(tmp_path, steps=1), quiet=True)
    (entry,) = invoke("verify", result.model_path, "--json").json
    assert entry["fingerprint"] is True
    assert entry["sound"] is True


def test_help_imports_nothing_heavy(tmp_path):
    calls = [["import"], ["export"], ["verify"], ["models", "add"]]
    loaded = loaded_after(
        "from fast_style.cli.main import main\n"
        f"for args in {calls}:\n"
        "    try: main([*args, '--help'])\n"
        "    except SystemExit: pass",
        tmp_path,
    )
    assert loaded.isdisjoint({*HEAVY, "rich", "safetensors", "urllib3"})
