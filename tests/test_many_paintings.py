"""Several paintings in one network: conditional norms, their folding, runs that train them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fast_style.architecture import NetworkConfig
from fast_style.checkpoint import load_model
from fast_style.errors import TrainingDataError
from fast_style.networks import StyleNetwork
from fast_style.training.paintings import read_paintings
from fast_style.training.run import train
from fast_style.training.style_bank import StyleBank
from tests.test_training import make_config
from tests.training_photos import make_painting


def make_bank() -> tuple[StyleNetwork, StyleBank]:
    torch.manual_seed(0)
    network = StyleNetwork(NetworkConfig(2, 1))
    bank = StyleBank(network, ["a", "b", "c"])
    with torch.no_grad():
        for parameter in bank.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return network, bank


def make_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    make_painting(folder / "waves.png")
    with Image.open(folder / "waves.png") as painting:
        painting.convert("RGB").rotate(90).point(lambda level: 255 - level).save(
            folder / "night.png"
        )
    return folder


def test_folded_networks_give_what_the_chosen_paintings_give() -> None:
    network, bank = make_bank()
    images = torch.rand(3, 3, 20, 24)
    bank.choose(torch.tensor([2, 0, 1]))
    with torch.no_grad():
        together = network(images)
        for place, painting in enumerate((2, 0, 1)):
            bank.fold(painting)
            torch.testing.assert_close(network(images[place : place + 1])[0], together[place])


def test_the_mean_is_folded_where_no_painting_is_named() -> None:
    network, bank = make_bank()
    bank.fold(None)
    for norm, scale in zip(network.norms().values(), bank.scales, strict=True):
        assert norm.affine is None
        expected = scale.detach().numpy().mean(axis=0)
        np.testing.assert_allclose(norm.weight.detach().numpy(), expected, rtol=1e-6)


def test_gradients_reach_the_chosen_paintings_alone() -> None:
    network, bank = make_bank()
    bank.choose(torch.tensor([1, 1]))
    network(torch.rand(2, 3, 20, 24)).square().mean().backward()
    for scale in bank.scales:
        assert scale.grad is not None
        assert scale.grad[1].abs().max() > 0
        assert scale.grad[[0, 2]].abs().max() == 0
    assert all(norm.weight.grad is None for norm in network.norms().values())


def test_a_run_on_a_folder_gives_a_start_and_every_painting(tmp_path: Path) -> None:
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
    # And it is a start for a painting of its own.
    second = make_config(tmp_path, name="second", steps=1, init=str(result.model_path))
    assert train(second, quiet=True).steps == 1


def test_such_a_run_resumes_exactly(tmp_path: Path) -> None:
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


def test_a_folder_without_paintings(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingDataError, match="there is no painting in"):
        read_paintings(tmp_path / "empty")
