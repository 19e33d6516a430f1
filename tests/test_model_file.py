"""The model file: what goes in comes out, and nothing else gets in."""

import dataclasses
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

from fast_style.errors import ModelFileError, NewerFormatError, UsageError
from fast_style.models.card import FORMAT_VERSION, ModelCard
from fast_style.models.config import SIZES, NetworkConfig, parameter_shapes, size_name
from fast_style.models.model_file import load_model, model_from_bytes, read_card, save_model

CONFIG = NetworkConfig(2, 1)


def random_weights(config: NetworkConfig, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in parameter_shapes(config).items()
    }


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    path = tmp_path / "waves.safetensors"
    save_model(path, ModelCard("waves", CONFIG, title="Waves"), random_weights(CONFIG))
    return path


def rewrite(path: Path, **changes: Any) -> None:
    """Put other values into a model file's card, without the checks of `save_model`."""
    card = ModelCard("waves", CONFIG).to_dict() | changes
    save_file(load_file(path), path, {"fast_style": json.dumps(card)})


@pytest.mark.parametrize(
    "config",
    [*SIZES.values(), NetworkConfig(3, 0, "transposed"), NetworkConfig(2, 1, "nearest", 150.0)],
)
def test_weights_are_saved_and_loaded_for_every_network(
    tmp_path: Path, config: NetworkConfig
) -> None:
    path, weights = tmp_path / "folder" / "model.safetensors", random_weights(config)
    save_model(path, ModelCard("model", config), weights)
    model = load_model(path)
    assert model.card.network == config
    assert list(model.weights) == list(parameter_shapes(config))
    for name, weight in weights.items():
        assert model.weights[name].dtype == np.float32
        np.testing.assert_array_equal(model.weights[name], weight.astype(np.float16))


def test_model_from_bytes_equals_load_model(model_path: Path) -> None:
    model, same = load_model(model_path), model_from_bytes(model_path.read_bytes())
    assert model.card == same.card
    for name, weight in model.weights.items():
        assert same.weights[name].dtype == np.float32
        np.testing.assert_array_equal(weight, same.weights[name])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_changed_bytes_are_refused_or_load(data: st.DataObject) -> None:
    content = bytearray(save({"a": np.zeros(3, np.float32)}, {"fast_style": "{}"}))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    with pytest.raises(ModelFileError, match=r"^waves"):
        model_from_bytes(bytes(content), "waves")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(),
    st.text(),
    st.dictionaries(st.text(), json_values, max_size=4),
    st.none() | st.binary(max_size=200),
)
def test_card_is_saved_and_loaded(
    tmp_path_factory: pytest.TempPathFactory,
    title: str,
    artist: str,
    training: dict[str, Any],
    thumbnail: bytes | None,
) -> None:
    path = tmp_path_factory.mktemp("card") / "model.safetensors"
    card = ModelCard(
        "model", CONFIG, title=title, artist=artist, training=training, thumbnail=thumbnail
    )
    save_model(path, card, random_weights(CONFIG))
    assert read_card(path) == card
    assert load_model(path).card == card


def test_large_thumbnail_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 8192 fit"):
        ModelCard("model", CONFIG, thumbnail=bytes(8193))


def test_weights_that_do_not_fit_are_not_saved(tmp_path: Path) -> None:
    path, card, weights = tmp_path / "model.safetensors", ModelCard("m", CONFIG), {}
    for change, message in (
        (
            {"output.bias": np.zeros(4, np.float32)},
            r"output.bias has shape \(4,\); expected \(3,\)",
        ),
        ({"output.bias": np.full(3, 1e6, np.float32)}, "values that float16 cannot"),
        ({"output.bias": np.full(3, np.nan, np.float32)}, "values that float16 cannot"),
        ({"more": np.zeros(3, np.float32)}, "unknown: more"),
    ):
        weights = random_weights(CONFIG) | change
        with pytest.raises(ModelFileError, match=message):
            save_model(path, card, weights)
    del weights["more"], weights["output.bias"]
    with pytest.raises(ModelFileError, match=r"missing: output\.bias"):
        save_model(path, card, weights)
    assert not list(tmp_path.iterdir())


def test_folder_at_the_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.mkdir()
    with pytest.raises(ModelFileError, match=r"cannot be written to .*it is a folder"):
        save_model(path, ModelCard("m", CONFIG), random_weights(CONFIG))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


class TestRefused:
    @staticmethod
    def check(path: Path, message: str, error: type[ModelFileError] = ModelFileError) -> None:
        for read in (load_model, read_card):
            with pytest.raises(error, match=message):
                read(path)
        if path.is_file():
            with pytest.raises(error, match=message):
                model_from_bytes(path.read_bytes(), str(path))

    def test_missing_folder_and_empty_file(self, tmp_path: Path) -> None:
        self.check(tmp_path / "nothing.safetensors", "there is no model file")
        self.check(tmp_path, "is a folder")
        (tmp_path / "empty").touch()
        self.check(tmp_path / "empty", "is not a safetensors file")

    def test_pickle(self, tmp_path: Path) -> None:
        path = tmp_path / "model.pth"
        path.write_bytes(pickle.dumps({"a": 1}, protocol=2))
        self.check(path, "is a pickled checkpoint")
        path.write_bytes(b"PK\x03\x04" + bytes(100))
        self.check(path, "is a pickled checkpoint")

    @pytest.mark.parametrize("kept", [9, 40, 0.5, 0.99])
    def test_truncated_file(self, model_path: Path, kept: float) -> None:
        content = model_path.read_bytes()
        model_path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
        self.check(model_path, "is cut short|is not a safetensors file")

    def test_header_of_absurd_size(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(struct.pack("<Q", 100 * 10**9) + b"{" * 100)
        self.check(path, "claims a header of 100000000000 bytes")
        path.write_bytes(struct.pack("<Q", 50 * 10**6) + b"{" * 100)
        self.check(path, "claims a header of 50000000 bytes")
        path.write_bytes(struct.pack("<Q", 60) + b"{" * 100)
        self.check(path, "is a damaged safetensors file")

    def test_overlapping_ranges(self, tmp_path: Path) -> None:
        header = {
            name: {
                "dtype": "F16",
                "shape": list(shape),
                "data_offsets": [0, 2 * int(np.prod(shape))],
            }
            for name, shape in parameter_shapes(CONFIG).items()
        }
        encoded = json.dumps(header).encode()
        path = tmp_path / "model.safetensors"
        path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + bytes(100_000))
        self.check(path, "is a damaged safetensors file")

    def test_safetensors_file_without_a_card(self, model_path: Path) -> None:
        save_file(load_file(model_path), model_path, {"format": "pt"})
        self.check(model_path, "has no 'fast_style' metadata")

    def test_newer_format(self, model_path: Path) -> None:
        rewrite(model_path, format_version=FORMAT_VERSION + 1)
        self.check(model_path, "pip install --upgrade fast-style", NewerFormatError)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"format_version": "1"}, "no format_version"),
            ({"format_version": True}, "no format_version"),
            ({"network": None}, "does not describe a network"),
            ({"network": {"width": 10**9}}, "cannot be built"),
            ({"network": {"depth": 3}}, "cannot be built"),
            ({"network": {"upsampling": ["nearest"]}}, "cannot be built"),
            ({"title": 3}, "title in its card is not text"),
            ({"training": []}, "training in its card is not a JSON object"),
            ({"thumbnail": "?"}, "thumbnail, grain or best_size in its card is not valid"),
            ({"grain": -1}, "thumbnail, grain or best_size in its card is not valid"),
            ({"grain": "8"}, "thumbnail, grain or best_size in its card is not valid"),
            ({"best_size": 50}, "thumbnail, grain or best_size in its card is not valid"),
            ({"best_size": 768.0}, "thumbnail, grain or best_size in its card is not valid"),
            ({"thumbnail": 7}, "thumbnail, grain or best_size in its card is not valid"),
        ],
    )
    def test_invalid_card(self, model_path: Path, changes: dict[str, Any], message: str) -> None:
        rewrite(model_path, **changes)
        self.check(model_path, message)

    def test_weights_of_another_network(self, model_path: Path) -> None:
        weights = load_file(model_path)
        metadata = {"fast_style": json.dumps(ModelCard("waves", CONFIG).to_dict())}
        save_file(weights | {"output.bias": np.zeros(4, np.float16)}, model_path, metadata)
        with pytest.raises(
            ModelFileError, match=r"output.bias has shape \(4,\); its network needs"
        ):
            load_model(model_path)
        save_file(weights | {"output.bias": np.zeros(3, np.int16)}, model_path, metadata)
        with pytest.raises(ModelFileError, match="holds I16; expected F16 or F32"):
            load_model(model_path)
        nan = np.full(3, np.nan, np.float16)
        save_file(weights | {"output.bias": nan}, model_path, metadata)
        with pytest.raises(ModelFileError, match="values that are not finite"):
            load_model(model_path)
        rewrite(model_path, network=dataclasses.replace(CONFIG, residual_blocks=2).to_dict())
        with pytest.raises(ModelFileError, match=r"missing: trunk\.1\.first"):
            load_model(model_path)


class TestTanh:
    """Networks that end in a tanh came later: only their files need a reader that knows it."""

    @staticmethod
    def written(path: Path, config: NetworkConfig) -> dict[str, Any]:
        save_model(path, ModelCard("m", config), random_weights(config))
        with safe_open(path, "numpy") as file:
            return json.loads(file.metadata()["fast_style"])

    def test_only_networks_with_tanh_have_format_2(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        card = self.written(path, CONFIG)
        assert card["format_version"] == 1
        assert "tanh" not in card["network"]
        card = self.written(path, NetworkConfig(2, 1, "nearest", 127.5))
        assert card["format_version"] == 2
        assert card["network"]["tanh"] == 127.5
        assert read_card(path).network.tanh == 127.5

    @pytest.mark.parametrize("value", [-1, 1001, float("nan"), float("inf"), True, "150", None])
    def test_out_of_range(self, value: Any) -> None:
        with pytest.raises(UsageError, match="expected a number from 0 to 1000"):
            NetworkConfig(tanh=value)

    def test_size_name_includes_it(self) -> None:
        assert size_name(NetworkConfig(32, 5, "nearest", 150.0)).endswith(", tanh 150")
