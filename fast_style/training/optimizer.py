"""The optimizer: Muon for the convolutions, Adam for the vectors."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_MOMENTUM = 0.9
_BETAS = 0.9, 0.999
_EPSILON = 1e-8

# Keller Jordan's quintic: five rounds map every singular value in (0, 1] to about 0.7 to 1.2.
_QUINTIC = 3.4445, -4.7750, 2.0315
_ROUNDS = 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """Map all singular values to about 1 and keep the singular vectors, by Newton-Schulz.

    Args:
        matrices: shape (N, R, C), of any scale; a zero matrix stays zero.

    Returns:
        Matrices of the same shape.
    """
    a, b, c = _QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-12)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Steepest descent under the spectral norm, with momentum (Jordan et al. 2024, "Muon").

    A convolution's gradient, as a matrix with a row per output channel, is dominated by a few
    singular directions. Adam's step follows these; Muon's step is equally long in all directions.
    Its size matches Adam's: a root mean square of about 0.2 times the rate (Liu et al. 2025, "Muon
    is scalable for LLM training", section 2.2). Parameters with fewer than four dimensions are
    updated by Adam (Kingma and Ba 2015).

    Measured on *Udnie* from the base, 600 steps, loss on 14 other photos: 2.58e5 with Adam at the
    better of two rates, 2.34e5 with Muon; 2.40e5 with Adam and twice the steps. On two cores, Muon
    takes 7 ms of a step for `standard` and 48 ms for `full`; Adam takes 1 and 2 ms.
    """

    def __init__(self, parameters: Iterable[Any], lr: float) -> None:
        """Create the optimizer.

        Args:
            parameters: parameters, or groups of them, which may have their own `lr`, and
                Adam's `betas` and `weight_decay`.
            lr: the learning rate of the others.
        """
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Take one step; parameters without a gradient are not changed."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            kernels: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim == 4:
                    kernels.setdefault(parameter.shape, []).append(parameter)
                else:
                    self._step_adam(parameter, group)
            for same_shape in kernels.values():
                self._step_muon(same_shape, group["lr"])
        return loss

    def _step_muon(self, kernels: list[Tensor], rate: float) -> None:
        """Update kernels of one shape together: one batched product instead of many small ones."""
        updates = []
        for kernel in kernels:
            state, gradient = self.state[kernel], kernel.grad
            assert gradient is not None
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(kernel)
            momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
            updates.append(gradient.lerp(momentum, _MOMENTUM).flatten(1))  # Nesterov momentum
        steps = orthogonalize(torch.stack(updates))
        size = 0.2 * max(steps.shape[1:]) ** 0.5
        for kernel, step in zip(kernels, steps, strict=True):
            kernel.sub_(step.view(kernel.shape), alpha=rate * size)

    def _step_adam(self, vector: Tensor, group: dict[str, Any]) -> None:
        rate, (first, second) = group["lr"], group.get("betas", _BETAS)
        if group.get("weight_decay"):  # decoupled from the gradient (Loshchilov and Hutter 2019)
            vector.mul_(1 - rate * group["weight_decay"])
        state, gradient = self.state[vector], vector.grad
        assert gradient is not None
        if "mean" not in state:
            state["mean"], state["square"] = torch.zeros_like(vector), torch.zeros_like(vector)
            state["count"] = 0
        state["count"] += 1
        mean = state["mean"].lerp_(gradient, 1 - first)
        square = state["square"].lerp_(gradient.square(), 1 - second)
        unbiased = (square / (1 - second ** state["count"])).sqrt_().add_(_EPSILON)
        vector.addcdiv_(mean, unbiased, value=-rate / (1 - first ** state["count"]))
