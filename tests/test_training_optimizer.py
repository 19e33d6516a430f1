"""Muon, compared with torch's Muon for matrices, torch's Adam for vectors, and an SVD."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fast_style.training.optimizer import Muon, orthogonalize


class TestOrthogonalize:
    @settings(deadline=None, max_examples=50)
    @given(
        rows=st.integers(1, 40),
        columns=st.integers(1, 40),
        scale=st.sampled_from([1e-6, 1.0, 1e6]),
        seed=st.integers(0, 2**31),
    )
    def test_keeps_singular_vectors_and_maps_values_to_about_one(
        self, rows: int, columns: int, scale: float, seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        rank = min(rows, columns)
        left, _ = torch.linalg.qr(torch.randn(rows, rank, generator=generator))
        right, _ = torch.linalg.qr(torch.randn(columns, rank, generator=generator))
        values = 0.05 + 0.95 * torch.rand(rank, generator=generator)
        found = orthogonalize((scale * left @ torch.diag(values) @ right.mT)[None])[0]
        inner = left.mT @ found @ right
        diagonal = inner.diagonal()
        assert diagonal.min() > 0.5
        assert diagonal.max() < 1.3
        assert (inner - torch.diag(diagonal)).abs().max() < 1e-3
        assert (found - left @ inner @ right.mT).abs().max() < 1e-3

    def test_zero_matrix_stays_zero_in_a_batch(self) -> None:
        matrices = torch.stack([torch.zeros(3, 5), torch.eye(3, 5)])
        found = orthogonalize(matrices)
        assert (found[0] == 0).all()
        assert found[1].abs().max() > 0.5


def descend(optimizer: torch.optim.Optimizer, parameter: Tensor, target: Tensor) -> None:
    """Take ten steps on a quadratic loss with various curvatures."""
    weights = torch.linspace(0.1, 3, parameter.numel()).view(parameter.shape)
    for _ in range(10):
        optimizer.zero_grad()
        (weights * (parameter - target) ** 2).sum().backward()
        optimizer.step()


class TestMuon:
    @pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
    def test_kernels_move_as_with_torchs_muon(self, shape: tuple[int, int]) -> None:
        torch.manual_seed(0)
        matrix = nn.Parameter(torch.randn(shape))
        target = torch.randn(shape)
        kernel = nn.Parameter(matrix.detach().clone().view(shape[0], -1, 2, 1))
        start = matrix.detach().clone()
        torchs = torch.optim.Muon(
            [matrix], lr=0.02, momentum=0.9, weight_decay=0, adjust_lr_fn="match_rms_adamw"
        )
        descend(torchs, matrix, target)
        descend(Muon([kernel], lr=0.02), kernel, target.view(kernel.shape))
        moved, expected = kernel.detach().view(shape) - start, matrix.detach() - start
        # torch's rounds are computed in bfloat16
        assert (moved - expected).norm() < 0.02 * expected.norm()

    def test_vectors_move_as_with_adam(self) -> None:
        torch.manual_seed(0)
        vector, target = nn.Parameter(torch.randn(7)), torch.randn(7)
        other = nn.Parameter(vector.detach().clone())
        descend(torch.optim.Adam([other], lr=0.05), other, target)
        descend(Muon([{"params": [vector], "lr": 0.05}], lr=9.0), vector, target)
        torch.testing.assert_close(vector, other, rtol=1e-5, atol=1e-6)

    def test_kernels_of_one_shape_do_not_affect_each_other(self) -> None:
        torch.manual_seed(0)
        kernels = [nn.Parameter(torch.randn(4, 3, 3, 3)) for _ in range(3)]
        targets = [torch.randn(4, 3, 3, 3) for _ in range(3)]
        alone = copy.deepcopy(kernels)
        for kernel, target in zip(alone, targets, strict=True):
            descend(Muon([kernel], lr=0.02), kernel, target)
        optimizer = Muon(kernels, lr=0.02)
        weights = torch.linspace(0.1, 3, kernels[0].numel()).view(4, 3, 3, 3)
        for _ in range(10):
            optimizer.zero_grad()
            for kernel, target in zip(kernels, targets, strict=True):
                (weights * (kernel - target) ** 2).sum().backward()
            optimizer.step()
        for kernel, expected in zip(kernels, alone, strict=True):
            torch.testing.assert_close(kernel, expected, rtol=1e-4, atol=1e-5)

    def test_parameters_without_gradient_do_not_move(self) -> None:
        still, moved = nn.Parameter(torch.ones(2, 2, 1, 1)), nn.Parameter(torch.ones(2, 2, 1, 1))
        optimizer = Muon([still, moved, nn.Parameter(torch.ones(3))], lr=0.1)
        moved.grad = torch.eye(2).view(2, 2, 1, 1)
        optimizer.step()
        assert (still == 1).all()
        assert (moved.flatten(1).diagonal() < 1).all()

    def test_saved_optimizer_resumes_exactly(self) -> None:
        torch.manual_seed(0)
        parameters = [nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(5))]
        optimizer = Muon(parameters, lr=0.02)
        for parameter in parameters:
            descend(optimizer, parameter, torch.zeros_like(parameter))
        copies = copy.deepcopy(parameters)
        restored = Muon(copies, lr=0.5)
        restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for one, other in zip(parameters, copies, strict=True):
            descend(optimizer, one, torch.ones_like(one))
            descend(restored, other, torch.ones_like(other))
        for one, other in zip(parameters, copies, strict=True):
            assert torch.equal(one, other)
