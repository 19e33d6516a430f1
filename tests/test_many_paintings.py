"""Several paintings in one network: conditional norms, folding them, training runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fast_style.errors import FastStyleError, TrainingDataError, UsageError
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import load_model
from fast_style.models.network import StyleNetwork
from fast_style.models.widening import widen
from fast_style.training.conditional_norm import (
    PaintingNorms,
    fold_norm_parameters,
    set_norm_parameters,
)
from fast_style.training.inputs import read_paintings
from fast_style.training.trainer import train
from tests.test_training import make_config
from tests.training_photos import make_painting


def make_norms() -> tuple[StyleNetwork, PaintingNorms]:
    torch.manual_seed(0)
    network = StyleNetwork(NetworkConfig(2, 1))
    norms = PaintingNorms(network, ["a", "b", "c"])
    with torch.no_grad():
        for parameter in norms.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return network, norms


def make_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    make_painting(folder / "waves.png")
    with Image.open(folder / "waves.png") as painting:
        painting.convert("RGB").rotate(90).point(lambda level: 255 - level).save(
            folder / "night.png"
        )
    return folder


def test_folded_network_equals_the_conditional_one() -> None:
    network, norms = make_norms()
    images = torch.rand(3, 3, 20, 24)
    set_norm_parameters(network, norms(torch.tensor([2, 0, 1])))
    with torch.no_grad():
        together = network(images)
        for place, painting in enumerate((2, 0, 1)):
            fold_norm_parameters(network, norms(torch.tensor([painting])))
            torch.testing.assert_close(network(images[place : place + 1])[0], together[place])


def test_scales_and_shifts_may_come_from_any_source() -> None:
    """Each picture of a batch can have its own, with gradients to what computed them."""
    network, _ = make_norms()
    images = torch.rand(2, 3, 20, 24)
    own = [(norm.weight, norm.bias) for norm in network.norms().values()]
    factor = torch.tensor([[1.0], [2.0]], requires_grad=True)
    set_norm_parameters(network, [(factor * scale, factor * shift) for scale, shift in own])
    pictures = network(images)
    pictures.square().mean().backward()
    assert factor.grad is not None
    assert (factor.grad != 0).all()
    set_norm_parameters(network, None)
    plain = network(images)
    torch.testing.assert_close(pictures[0], plain[0])
    assert not torch.allclose(pictures[1], plain[1], atol=1e-3)


def test_mean_of_all_paintings() -> None:
    network, norms = make_norms()
    fold_norm_parameters(network, norms.mean())
    for norm, scale in zip(network.norms().values(), norms.scales, strict=True):
        assert norm.affine is None
        expected = scale.detach().numpy().mean(axis=0)
        np.testing.assert_allclose(norm.weight.detach().numpy(), expected, rtol=1e-6)


def test_gradients_reach_only_the_paintings_of_the_batch() -> None:
    network, norms = make_norms()
    set_norm_parameters(network, norms(torch.tensor([1, 1])))
    network(torch.rand(2, 3, 20, 24)).square().mean().backward()
    for scale in norms.scales:
        assert scale.grad is not None
        assert scale.grad[1].abs().max() > 0
        assert scale.grad[[0, 2]].abs().max() == 0
    assert all(norm.weight.grad is None for norm in network.norms().values())


def test_run_on_a_folder_writes_the_mean_and_every_painting(tmp_path: Path) -> None:
    config = make_config(tmp_path, style_image=make_folder(tmp_path / "paintings"), steps=6)
    result = train(config, quiet=True)
    assert result.model_path is not None
    start = load_model(result.model_path)
    factors = start.card.training["paintings"]
    assert list(factors) == ["night", "waves"]
    assert factors["night"] != factors["waves"]
    parts = {
        name: load_model(config.run_folder / "styles" / f"{name}.safetensors") for name in factors
    }
    assert parts["night"].card.training["style_factor"] == factors["night"]
    assert parts["night"].card.thumbnail != parts["waves"].card.thumbnail
    for key, mean in start.weights.items():
        night, waves = parts["night"].weights[key], parts["waves"].weights[key]
        if ".norm." in key:
            np.testing.assert_allclose((night + waves) / 2, mean, rtol=2e-3, atol=2e-3)
        else:
            np.testing.assert_array_equal(night, waves)
    norms = [key for key in start.weights if ".norm." in key]
    assert any((parts["night"].weights[k] != parts["waves"].weights[k]).any() for k in norms)
    # The mean can be the start of a run with one painting.
    second = make_config(tmp_path, name="second", steps=1, init=str(result.model_path))
    assert train(second, quiet=True).steps == 1


@pytest.mark.parametrize("size", ["tiny", "standard"])
def test_each_painting_starts_from_its_own_model(tmp_path: Path, size: str) -> None:
    options: dict[str, Any] = {"style_image": make_folder(tmp_path / "paintings"), "steps": 1}
    first = make_config(tmp_path, **(options | {"steps": 3}), learning_rate=0.01)
    train(first, quiet=True)
    styles = first.run_folder / "styles"
    again = make_config(
        tmp_path, **options, name="again", size=size, init=str(styles), learning_rate=1e-9
    )
    train(again, quiet=True)
    for name in ("night", "waves"):
        start = load_model(styles / f"{name}.safetensors")
        expected = widen(start.weights, start.card.network, again.network, again.seed)
        found = load_model(again.run_folder / "styles" / f"{name}.safetensors")
        for key, weight in found.weights.items():
            np.testing.assert_allclose(weight, expected[key], atol=1e-6, rtol=1e-3)


def test_models_of_several_runs_are_rejected_as_start(tmp_path: Path) -> None:
    paintings = make_folder(tmp_path / "paintings")
    (tmp_path / "mixed").mkdir()
    for name, seed in (("night", 1), ("waves", 2)):
        config = make_config(tmp_path, name=name, steps=1, seed=seed, init="scratch")
        train(config, quiet=True)
        config.model_path.rename(tmp_path / "mixed" / config.model_path.name)
    config = make_config(
        tmp_path, name="third", style_image=paintings, init=str(tmp_path / "mixed")
    )
    with pytest.raises(UsageError, match="its models are of several runs"):
        train(config, quiet=True)
    (tmp_path / "mixed" / "waves.safetensors").unlink()
    with pytest.raises(FastStyleError, match=r"waves\.safetensors"):
        train(config, quiet=True)


def test_run_with_several_paintings_resumes_exactly(tmp_path: Path) -> None:
    paintings = make_folder(tmp_path / "paintings")
    options = {"name": "halves", "style_image": paintings, "schedule": "constant"}
    whole = make_config(tmp_path, **(options | {"name": "whole"}), steps=4)
    train(whole, quiet=True)
    train(make_config(tmp_path, **options, steps=2), quiet=True)
    again = make_config(tmp_path, **options, steps=4, resume=True)
    train(again, quiet=True)
    expected = load_model(whole.model_path).weights
    for name, weight in load_model(again.model_path).weights.items():
        np.testing.assert_allclose(weight, expected[name], rtol=1e-3, atol=1e-6)


def test_folder_without_paintings_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingDataError, match="there are no paintings in"):
        read_paintings(tmp_path / "empty")
