"""The torch network against the same network written plainly, in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from fast_style.errors import UsageError
from fast_style.models.config import (
    SIZES,
    NetworkConfig,
    norm_layers,
    parameter_count,
    parameter_shapes,
    size_name,
)
from fast_style.models.network import StyleNetwork, output_convolution, pad, upsample_convolution


def random_network(config: NetworkConfig, seed: int = 0) -> StyleNetwork:
    """A float64 network in which every parameter matters, biases before norms included."""
    generator = torch.Generator().manual_seed(seed)
    network = StyleNetwork(config).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(1 + 0.3 * noise if "norm.weight" in name else 0.2 * noise)
    return network


def plain_forward(weights: dict[str, Tensor], config: NetworkConfig, images: Tensor) -> Tensor:
    """The network of pytorch/examples, layer by layer, with no rewrite, biases applied."""

    def norm(name: str, features: Tensor) -> Tensor:
        mean = features.mean((2, 3), keepdim=True)
        variance = ((features - mean) ** 2).mean((2, 3), keepdim=True)
        scale, shift = weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"]
        normalized = (features - mean) / (variance + 1e-5).sqrt()
        return normalized * scale[:, None, None] + shift[:, None, None]

    def convolution(name: str, features: Tensor, stride: int = 1) -> Tensor:
        weight, bias = weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"]
        pad = weight.shape[-1] // 2
        padded = functional.pad(features, (pad, pad, pad, pad), mode="reflect")
        return norm(name, functional.conv2d(padded, weight, bias, stride))

    def upsampling(name: str, features: Tensor) -> Tensor:
        if config.upsampling == "nearest":
            return convolution(name, functional.interpolate(features, scale_factor=2))
        weight, bias = weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"]
        return norm(name, functional.conv_transpose2d(features, weight, bias, 2, 1, 1))

    height, width = images.shape[2:]
    features = 255 * images
    if height < 5:
        features = torch.cat([features, features[:, :, -1:].expand(-1, -1, 5 - height, -1)], 2)
    if width < 5:
        features = torch.cat([features, features[..., -1:].expand(-1, -1, -1, 5 - width)], 3)
    for i, stride in enumerate((1, 2, 2)):
        features = convolution(f"encoder.{i}", features, stride).clamp(min=0)
    for i in range(config.residual_blocks):
        inner = convolution(f"trunk.{i}.first", features).clamp(min=0)
        features = features + convolution(f"trunk.{i}.second", inner)
    for i in range(2):
        features = upsampling(f"decoder.{i}", features).clamp(min=0)
    padded = functional.pad(features, (4, 4, 4, 4), mode="reflect")
    output = functional.conv2d(padded, weights["output.weight"], weights["output.bias"])
    return output[:, :, :height, :width] / 255


def test_full_is_the_network_of_pytorch_examples() -> None:
    assert parameter_count(SIZES["full"]) == 1_679_235


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_those_of_the_architecture(size: str) -> None:
    network = StyleNetwork(SIZES[size])
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert list(shapes.items()) == list(parameter_shapes(SIZES[size]).items())
    assert sum(p.numel() for p in network.parameters()) == parameter_count(SIZES[size])
    assert size_name(SIZES[size]) == size


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
@pytest.mark.parametrize("shape", [(1, 40), (3, 2), (4, 5), (5, 5), (6, 7), (33, 22), (64, 48)])
def test_forward_equals_the_plain_network(upsampling: str, shape: tuple[int, int]) -> None:
    config = NetworkConfig(4, 2, upsampling)  # type: ignore[arg-type]
    network = random_network(config)
    images = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        expected = plain_forward(network.state_dict(), config, images)
        found = network(images)
    assert found.shape == images.shape
    # A flat picture (1x1) is left out: its variance is pure rounding, which norms then amplify.
    assert (found - expected).abs().max() < 1e-9 * expected.abs().max().clamp(min=1)


def test_gradients_equal_those_of_the_plain_network() -> None:
    config = NetworkConfig(4, 1)
    network = random_network(config)
    images = torch.rand(1, 3, 20, 24, dtype=torch.float64)
    network(images).square().sum().backward()
    weights = {k: v.detach().clone().requires_grad_() for k, v in network.state_dict().items()}
    plain_forward(weights, config, images).square().sum().backward()
    for name, parameter in network.named_parameters():
        if name.endswith("conv.bias"):
            assert parameter.grad is None
            continue
        expected = weights[name].grad
        assert parameter.grad is not None
        assert expected is not None
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-8, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 2))
def test_output_has_the_size_of_the_input(height: int, width: int, batch: int) -> None:
    torch.manual_seed(0)
    network = StyleNetwork(NetworkConfig(2, 1))
    with torch.no_grad():
        output = network(torch.rand(batch, 3, height, width))
    assert output.shape == (batch, 3, height, width)
    assert output.isfinite().all()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 4), st.integers(1, 4))
def test_upsample_convolution_is_exact(height: int, width: int, n_in: int, n_out: int) -> None:
    generator = torch.Generator().manual_seed(height * 100 + width)
    features = torch.randn(2, n_in, height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(n_out, n_in, 3, 3, generator=generator, dtype=torch.float64)
    large = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = functional.conv2d(functional.pad(large, (1, 1, 1, 1), mode="reflect"), weight)
    torch.testing.assert_close(upsample_convolution(features, weight), expected, rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 9), st.integers(3, 9), st.integers(1, 4))
def test_output_convolution_is_exact(half_height: int, half_width: int, n_in: int) -> None:
    generator = torch.Generator().manual_seed(half_height * 100 + half_width)
    shape = (1, n_in, 2 * half_height, 2 * half_width)
    features = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, n_in, 9, 9, generator=generator, dtype=torch.float64)
    bias = torch.randn(3, generator=generator, dtype=torch.float64)
    padded = functional.pad(features, (4, 4, 4, 4), mode="reflect")
    expected = functional.conv2d(padded, weight, bias)
    torch.testing.assert_close(
        output_convolution(features, weight, bias), expected, rtol=0, atol=1e-12
    )


class TestWrap:
    @pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
    @pytest.mark.parametrize("roll", [(4, 0), (0, 8), (-12, 16)])
    def test_rolled_pictures_give_rolled_output(self, upsampling, roll):
        network = random_network(NetworkConfig(4, 2, upsampling))
        images = torch.rand(2, 3, 32, 40, dtype=torch.float64)
        with torch.no_grad():
            expected = network(images, wrap=True).roll(roll, (2, 3))
            rolled = network(images.roll(roll, (2, 3)), wrap=True)
            torch.testing.assert_close(rolled, expected, rtol=0, atol=1e-9)
            reflected = network(images.roll(roll, (2, 3)))
        assert (reflected - expected).abs().max() > 1e-3  # and reflection has one

    @pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
    def test_wrapping_changes_only_pixels_near_the_border(self, upsampling):
        network = random_network(NetworkConfig(4, 0, upsampling))
        images = torch.rand(1, 3, 64, 64, dtype=torch.float64)
        network.fix_statistics(network.measure_statistics(images))
        with torch.no_grad():
            plain, wrapped = network(images), network(images, wrap=True)
        middle = (..., slice(24, 40), slice(24, 40))
        torch.testing.assert_close(wrapped[middle], plain[middle], rtol=0, atol=1e-9)
        assert (wrapped - plain).abs().max() > 1e-3


def test_norm_with_given_statistics_scales_and_shifts() -> None:
    network = random_network(NetworkConfig(2, 0))
    norm = network.norms()["encoder.0.norm"]
    rng = np.random.default_rng(0)
    features, mean = rng.normal(size=(2, 2, 5, 6)), rng.normal(size=(2, 2))
    variance = rng.uniform(0.1, 2, size=(2, 2))
    norm.given = (torch.from_numpy(mean), torch.from_numpy(variance))
    scale, shift = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    expected = np.empty_like(features)
    for image in range(2):
        for channel in range(2):
            centred = features[image, channel] - mean[image, channel]
            normalized = centred / np.sqrt(variance[image, channel] + 1e-5)
            expected[image, channel] = normalized * scale[channel] + shift[channel]
    found = norm(torch.from_numpy(features)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("with_gradient", [True, False])
def test_norm_takes_scale_and_shift_for_each_picture(with_gradient: bool) -> None:
    network = random_network(NetworkConfig(2, 0))
    norm = network.norms()["encoder.0.norm"]
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3, 2, 5, 6))
    scale, shift = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    norm.affine = (torch.from_numpy(scale), torch.from_numpy(shift))
    centred = features - features.mean(axis=(2, 3), keepdims=True)
    normalized = centred / np.sqrt(features.var(axis=(2, 3), keepdims=True) + 1e-5)
    expected = normalized * scale[:, :, None, None] + shift[:, :, None, None]
    with torch.set_grad_enabled(with_gradient):
        found = norm(torch.from_numpy(features)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_fixing_measured_statistics_keeps_the_picture() -> None:
    config = NetworkConfig(4, 1)
    network = random_network(config)
    images = torch.rand(2, 3, 40, 32, dtype=torch.float64)
    statistics = network.measure_statistics(images)
    assert list(statistics) == list(norm_layers(config))
    with torch.no_grad():
        live = network(images)
        network.fix_statistics(statistics)
        given_back = network(images)
        # With its statistics fixed the network is local: far from the cut, a part is the whole.
        part = network(images[:, :, :, :24])
        network.fix_statistics(None)
        again = network(images)
    assert (live - given_back).abs().max() < 1e-5 * live.abs().max()
    assert torch.equal(live, again)
    assert (part[..., :1] - live[..., :1]).abs().max() < 1e-4 * live.abs().max()


def test_statistics_that_do_not_fit_are_refused() -> None:
    network = StyleNetwork(NetworkConfig(2, 0))
    statistics = network.measure_statistics(torch.rand(1, 3, 8, 8))
    with pytest.raises(UsageError, match=r"encoder\.1\.norm are missing"):
        network.fix_statistics({k: v for k, v in statistics.items() if k != "encoder.1.norm"})
    statistics["encoder.0.norm"] = (torch.zeros(1, 3), torch.ones(1, 3))
    with pytest.raises(UsageError, match=r"expected mean and variance of shape \(B, 2\)"):
        network.fix_statistics(statistics)


def test_untrained_network_gives_mid_grey_pictures() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        output = StyleNetwork()(torch.rand(1, 3, 64, 64))
    assert 0.4 < output.mean() < 0.6
    assert 0.01 < output.std() < 0.2


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (1, 3, 0, 8)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"\(B, 3, H, W\)"):
        StyleNetwork(NetworkConfig(2, 0))(torch.zeros(shape))


@pytest.mark.parametrize(
    "values",
    [{"width": 0}, {"width": 1.5}, {"width": True}, {"residual_blocks": -1}, {"upsampling": "x"}],
)
def test_bad_configurations_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"NetworkConfig.{next(iter(values))}"):
        NetworkConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 3, 4, 7), (2, 2, 5, 5), (1, 4, 9, 6)])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("channels_last", [False, True])
def test_circular_padding_is_torchs_and_keeps_the_memory_format(
    shape: tuple[int, ...], count: int, channels_last: bool
) -> None:
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    features = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)
    features.requires_grad_()
    padded = pad(features, count, "circular")
    expected = functional.pad(features, (count,) * 4, mode="circular")
    assert padded.is_contiguous(memory_format=layout)
    torch.testing.assert_close(padded, expected, rtol=0, atol=0)
    weights = torch.randn_like(padded)
    (found,) = torch.autograd.grad((padded * weights).sum(), features)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), features)
    torch.testing.assert_close(found, wanted)
    assert torch.autograd.gradcheck(lambda x: pad(x, count, "circular"), features)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_other_padding_modes_are_torchs(mode: str) -> None:
    features = torch.randn(1, 2, 6, 5, dtype=torch.float64)
    expected = functional.pad(features, (2,) * 4, mode=mode)
    torch.testing.assert_close(
        pad(features, 2, mode),  # type: ignore[arg-type]
        expected,
        rtol=0,
        atol=0,
    )
