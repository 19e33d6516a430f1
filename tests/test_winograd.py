"""Winograd's convolution is the direct one, forwards and backwards, and the VGG takes it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fast_style.models import vgg as vgg_module
from fast_style.models import winograd
from fast_style.models.vgg import Vgg
from fast_style.models.winograd import convolve_and_rectify, transform_kernel


def directly(features, weight, bias):
    return functional.conv2d(features.double(), weight.double(), bias.double(), padding=1).relu()


def check(batch, channels, filters, height, width, *, channels_last):
    torch.manual_seed(batch + channels + filters + height + width)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    features = torch.randn(batch, channels, height, width).contiguous(memory_format=layout)
    features.requires_grad_()
    weight = torch.randn(filters, channels, 3, 3) / (9 * channels) ** 0.5
    bias = torch.randn(filters)
    found = convolve_and_rectify(features, transform_kernel(weight), bias)
    expected = directly(features, weight, bias)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)

    # The gradient of what was found: where a value is within rounding of 0, the two disagree.
    passed = torch.randn(found.shape) * (found > 0)
    (gradient,) = torch.autograd.grad(found, features, passed)
    (wanted,) = torch.autograd.grad(
        functional.conv2d(features.double(), weight.double(), padding=1), features, passed.double()
    )
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 9),
    filters=st.integers(1, 9),
    height=st.integers(1, 21),
    width=st.integers(1, 21),
    channels_last=st.booleans(),
)
def test_equals_conv2d_for_any_shape(batch, channels, filters, height, width, channels_last):
    check(batch, channels, filters, height, width, channels_last=channels_last)


@pytest.mark.parametrize("tiles", [1, 7, 1000])
def test_equals_conv2d_for_any_number_of_tiles_in_a_block(tiles, monkeypatch):
    monkeypatch.setattr(winograd, "_TILES", tiles)
    check(2, 16, 24, 30, 27, channels_last=True)


def test_equals_conv2d_at_the_width_of_a_vgg():
    check(1, 256, 512, 20, 24, channels_last=True)


def test_kernel_with_one_weight_shifts_the_input():
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 0, 2] = 1  # up and to the right
    features = torch.arange(1.0, 31).view(1, 1, 5, 6)
    found = convolve_and_rectify(features, transform_kernel(weight), torch.zeros(1))
    expected = functional.pad(features, (0, 1, 1, 0))[:, :, :5, 1:]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_vgg_uses_it_for_wide_layers_in_float32_only(monkeypatch):
    seen = []

    def spy(features, kernel, bias):
        seen.append(tuple(kernel.shape))
        return convolve_and_rectify(features, kernel, bias)

    monkeypatch.setattr(vgg_module, "convolve_and_rectify", spy)
    network = Vgg("bundled", ["relu3_2"])
    picture = torch.rand(1, 3, 40, 36, generator=torch.Generator().manual_seed(0))
    (found,) = network(picture, ["relu3_2"]).values()
    assert seen == [(36, 128, 256), (36, 256, 256)]

    with torch.autocast("cpu", torch.bfloat16):
        (rounded,) = network(picture, ["relu3_2"]).values()
    assert rounded.dtype == torch.bfloat16
    (exact,) = network.double()(picture.double(), ["relu3_2"]).values()
    assert len(seen) == 2
    scale = float(exact.abs().max())
    assert float((found.double() - exact).abs().max()) < 1e-5 * scale
    assert float((rounded.double() - exact).abs().max()) < 3e-2 * scale


def test_vgg_first_used_in_inference_mode_gives_gradients():
    network = Vgg("bundled", ["relu3_1"])
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        network(picture, ["relu3_1"])
    picture.requires_grad_()
    network(picture, ["relu3_1"])["relu3_1"].sum().backward()
    assert float(picture.grad.abs().sum()) > 0
