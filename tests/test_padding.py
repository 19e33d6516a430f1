"""Padding is torch's own, forwards and backwards, and keeps the memory format."""

import pytest
import torch
from torch.nn import functional

from fast_style.models.padding import pad


@pytest.mark.parametrize("shape", [(1, 3, 4, 7), (2, 2, 5, 5), (1, 4, 9, 6)])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("channels_last", [False, True])
def test_circular_padding(shape, count, channels_last):
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
def test_other_modes_are_torchs(mode):
    features = torch.randn(1, 2, 6, 5, dtype=torch.float64)
    expected = functional.pad(features, (2,) * 4, mode=mode)
    torch.testing.assert_close(pad(features, 2, mode), expected, rtol=0, atol=0)
