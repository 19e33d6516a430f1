"""Training for steadiness: the term itself, and what a small run learns from it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fast_style.images import read_image
from fast_style.models.model_file import load_model
from fast_style.models.network import StyleNetwork
from fast_style.training.steadiness import steadiness_loss
from tests.test_training import make_config, quiet_train
from tests.training_photos import ASTRONAUT


def photo(side: int = 96) -> Tensor:
    pixels = torch.from_numpy(read_image(ASTRONAUT).pixels)
    return pixels[:side, 40 : 40 + side].permute(2, 0, 1)[None].float() / 255


def mean_loss(network, pictures: Tensor, seeds: range) -> float:
    with torch.no_grad():
        stylized = network(pictures)
        losses = [
            steadiness_loss(network, pictures, stylized, torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
    return float(torch.stack(losses).mean())


def test_what_only_changes_colours_is_steady() -> None:
    pictures = photo()
    losses = []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        losses.append(
            float(steadiness_loss(lambda one: 1 - one, pictures, 1 - pictures, generator))
        )
    assert sum(loss < 1e-9 for loss in losses) > 8  # shifts by whole pixels
    assert max(losses) < 9.5  # noise alone has 3 levels


def test_what_depends_on_the_place_is_not_steady() -> None:
    places = torch.arange(96.0).expand(1, 3, 96, 96) % 4 / 4
    assert mean_loss(lambda one: (one + places) / 2, photo(), range(10)) > 500


def test_the_motion_is_that_of_the_generator() -> None:
    losses = [
        mean_loss(lambda one: one.square(), photo(), range(seed, seed + 1)) for seed in (3, 3)
    ]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_small_run_becomes_steadier_and_its_card_says_so(tmp_path: Path) -> None:
    measured = {}
    for weight in (0.0, 1000.0):
        config = make_config(
            tmp_path, name=f"w{weight:.0f}", steady=weight, steps=25, preview_every=0,
            checkpoint_every=25, init="scratch", batch_size=1,
        )  # fmt: skip
        model = load_model(quiet_train(config).model_path)
        assert model.card.training["steady"] == weight
        network = StyleNetwork(model.card.network)
        network.load_state_dict({k: torch.from_numpy(v) for k, v in model.weights.items()})
        measured[weight] = mean_loss(network.eval(), photo(64), range(20))
    assert measured[1000.0] < 0.7 * measured[0.0]


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_the_weight_is_checked(tmp_path: Path, weight: float) -> None:
    with pytest.raises(Exception, match="steady is"):
        make_config(tmp_path, steady=weight)
