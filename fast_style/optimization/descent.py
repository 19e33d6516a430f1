"""The optimizers of the pixels at one size: L-BFGS and Adam."""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from fast_style.models.perceptual_loss import Losses
from fast_style.optimization.config import OptimizerName
from fast_style.optimization.objective import Evaluate

HISTORY = 20
"""History size of L-BFGS; the usual hundred gets no further in the same number of iterations."""

# A penalty keeps pixels near [0, 1]: this factor times the mean squared excess, relative to the
# loss at which all content is lost. Clipping the pixels instead, as is usual, would invalidate
# L-BFGS's history. With neither, pixels leave the range so far that clipping the result loses most
# of the gain (measured: a loss of 1.37 against 0.71 after 30 iterations).
_BARRIER = 3000.0

# The share of a step that is smoothed, and the standard deviation in pixels. At first L-BFGS has no
# estimate of the curvature, and the gradients of a VGG are mostly fine noise, so it would spend its
# first iterations on the finest patterns of pixels. Measured at 160 pixels: a loss of 2.5 instead
# of 6.1 after 5 iterations, 1.08 instead of 1.36 after 12; half or twice the width, or a larger
# share, gain less. A picture that was just enlarged lacks only fine detail, so there smoothing
# does harm (a loss of 1.8 instead of 1.5 after 5 iterations at 512 pixels).
_SMOOTHED, _WIDTH = 0.6, 2.0

# Mean change of a pixel in the first step. Torch's own first step is a thousand times shorter,
# which costs the line search four more evaluations.
_FIRST_STEP = 0.02


class Descent(Protocol):
    """Minimizes an objective over the pixels of a picture, step by step.

    Attributes:
        picture: the current picture, shape (1, 3, H, W), nominally in [0, 1].
        evaluations: evaluations of the objective and its gradient so far.
    """

    picture: Tensor
    evaluations: int

    def step(self) -> Losses:
        """Take one step and return the losses of the new picture, without the range penalty."""


def make_descent(
    optimizer: OptimizerName,
    evaluate: Evaluate,
    start: Tensor,
    rate: float,
    unit: float,
    *,
    enlarged: bool = False,
) -> Descent:
    """Create an optimizer of the pixels.

    Args:
        optimizer: `lbfgs` or `adam`.
        evaluate: the objective.
        start: the picture to start from, shape (1, 3, H, W), range [0, 1]; not changed.
        rate: the learning rate.
        unit: a natural unit of the loss; losses are divided by it.
        enlarged: whether the start is the enlarged result of a smaller size, which lacks only fine
            detail.
    """
    if optimizer == "lbfgs":
        return LbfgsDescent(evaluate, start, rate, unit, 0.0 if enlarged else _SMOOTHED)
    return AdamDescent(evaluate, start, rate, unit)


class LbfgsDescent:
    """L-BFGS with a strong Wolfe line search.

    Without a line search, as most implementations use it, torch's L-BFGS takes far too long steps
    at first: the loss rises 250-fold and needs twenty iterations to fall again. The line search
    costs about one evaluation in ten. Torch evaluates the end of a step again at the beginning of
    the next one; such evaluations are answered from a small cache.

    The variable is a change of the start, which is partly smoothed before it is added. Every
    picture can be reached, because a part of the change stays unsmoothed; smooth changes are
    reached by shorter steps.
    """

    def __init__(
        self, evaluate: Evaluate, start: Tensor, rate: float, unit: float, smoothed: float
    ) -> None:
        """Start a descent; see `make_descent`. `smoothed` is the share that is smoothed."""
        self._share = smoothed
        self._start = start.detach().contiguous()
        self.picture = self._start
        self.evaluations = 0
        self._evaluate, self._rate, self._unit = evaluate, rate, unit
        self._begun = False
        self._change = torch.zeros_like(self._start).requires_grad_()
        self._optimizer = torch.optim.LBFGS(
            [self._change],
            lr=rate,
            max_iter=1,  # its history is kept from call to call
            max_eval=25,
            history_size=HISTORY,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )
        self._cache: list[tuple[Tensor, Tensor, Tensor, Losses]] = []

    def step(self) -> Losses:
        """Take one step; see `Descent`."""
        # Torch scales its first step to a sum of absolute changes of `lr`.
        first = _FIRST_STEP * self._change.numel()
        self._optimizer.param_groups[0]["lr"] = self._rate * (1.0 if self._begun else first)
        self._begun = True
        self._optimizer.step(self._closure)  # type: ignore[no-untyped-call]
        # The last evaluation of a line search need not be at its result.
        found = self._cached()
        if found is None:
            self._closure()
            found = self._cache[-1]
        self._cache = [found]
        with torch.no_grad():
            self.picture = self._start + _smooth(self._change, self._share)
        return found[3]

    def _closure(self) -> float:
        found = self._cached()
        if found is None:
            self.evaluations += 1
            self._change.grad = None
            picture = self._start + _smooth(self._change, self._share)
            losses = self._evaluate(picture)
            outside = picture - picture.detach().clamp(0, 1)
            barrier = _BARRIER * self._unit * outside.square().mean()
            total = (losses.total + barrier) / self._unit
            total.backward()  # type: ignore[no-untyped-call]
            assert self._change.grad is not None
            found = (
                self._change.detach().clone(),
                total.detach(),
                self._change.grad,
                Losses(*(term.detach() for term in losses)),
            )
            # A line search returns to one of its last few points.
            self._cache = [*self._cache[-2:], found]
        self._change.grad = found[2].clone()
        return float(found[1])

    def _cached(self) -> tuple[Tensor, Tensor, Tensor, Losses] | None:
        return next((s for s in self._cache if torch.equal(s[0], self._change)), None)


def _smooth(change: Tensor, share: float) -> Tensor:
    """Smooth a share of a change, shape (1, 3, H, W), with a Gaussian."""
    if not share:
        return change
    reach = min(round(3 * _WIDTH), *(side - 1 for side in change.shape[2:]))
    offsets = torch.arange(-reach, reach + 1, dtype=change.dtype, device=change.device)
    weights = torch.exp(-0.5 * (offsets / _WIDTH) ** 2)
    kernel = (weights / weights.sum()).view(1, 1, 1, -1)
    channels = functional.pad(change.transpose(0, 1), (reach,) * 4, mode="reflect")
    across = functional.conv2d(channels, kernel)
    smooth = functional.conv2d(across, kernel.transpose(2, 3)).transpose(0, 1)
    return change.lerp(smooth, share)


class AdamDescent:
    """Adam with a constant rate; pixels are clipped to [0, 1] after every step.

    The betas are those of crowsonkb/style-transfer-pytorch; the long average of the squares keeps
    flat areas stable.
    """

    def __init__(self, evaluate: Evaluate, start: Tensor, rate: float, unit: float) -> None:
        """Start a descent; see `make_descent`."""
        self.picture = start.detach().clone().contiguous().requires_grad_()
        self.evaluations = 0
        self._evaluate, self._unit = evaluate, unit
        self._optimizer = torch.optim.Adam([self.picture], lr=rate, betas=(0.9, 0.99))
        self._losses: Losses | None = None

    def step(self) -> Losses:
        """Take one step; see `Descent`."""
        if self._losses is None:
            self._compute_gradient()
        self._optimizer.step()
        with torch.no_grad():
            self.picture.clamp_(0, 1)
        return self._compute_gradient()

    def _compute_gradient(self) -> Losses:
        """Evaluate the current picture, with the gradient for the next step."""
        self.evaluations += 1
        self.picture.grad = None
        losses = self._evaluate(self.picture)
        (losses.total / self._unit).backward()  # type: ignore[no-untyped-call]
        self._losses = Losses(*(term.detach() for term in losses))
        return self._losses


def is_finite(losses: Losses) -> bool:
    """Return whether the total loss is finite."""
    return math.isfinite(float(losses.total))
