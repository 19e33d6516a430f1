"""The wide network gives the narrow one's picture, and its copies part in training."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_style.errors import UsageError
from fast_style.models.config import NetworkConfig, parameter_shapes
from fast_style.models.network import StyleNetwork
from fast_style.models.widening import can_widen, widen


def weights_of(network):
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


def drawn_network(config, seed):
    torch.manual_seed(seed)
    network = StyleNetwork(config)
    with torch.no_grad():
        for norm in network.norms().values():
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
    return network


def network_of(weights, config):
    network = StyleNetwork(config)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return network


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 4), st.sampled_from(["nearest", "transposed"]), st.integers(0)
)
def test_widened_network_gives_the_same_picture(width, factor, upsampling, seed):
    narrow = NetworkConfig(width=width, residual_blocks=2, upsampling=upsampling)
    wide = NetworkConfig(width=width * factor, residual_blocks=2, upsampling=upsampling)
    network = drawn_network(narrow, seed % 1000)
    widened = widen(weights_of(network), narrow, wide, seed)
    assert {name: value.shape for name, value in widened.items()} == parameter_shapes(wide)
    images = torch.rand(2, 3, 36, 28, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, seen = (
            network.double()(images.double()),
            network_of(widened, wide).double()(images.double()),
        )
    assert (expected - seen).abs().max() < 1e-4


def test_copies_get_different_gradients():
    narrow, wide = (
        NetworkConfig(width=2, residual_blocks=1),
        NetworkConfig(width=4, residual_blocks=1),
    )
    network = network_of(widen(weights_of(drawn_network(narrow, 0)), narrow, wide), wide)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    network(images).square().sum().backward()
    gradient = network.get_parameter("trunk.0.first.conv.weight").grad.numpy()
    assert not np.allclose(gradient[0::2], gradient[1::2], rtol=0.05)


def test_only_whole_multiples_of_the_width_are_accepted():
    narrow = NetworkConfig(width=4)
    assert can_widen(narrow, narrow)
    assert can_widen(narrow, NetworkConfig(width=12))
    for wide in (
        NetworkConfig(width=6),
        NetworkConfig(width=2),
        NetworkConfig(width=8, upsampling="transposed"),
        NetworkConfig(width=8, residual_blocks=4),
    ):
        assert not can_widen(narrow, wide)
        with pytest.raises(UsageError, match="whole factor"):
            widen({}, narrow, wide)
