"""One descent at one size: L-BFGS or Adam on the pixels."""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from fast_style.models.perceptual_loss import Losses
from fast_style.optimization.config import OptimizerName
from fast_style.optimization.objective import Evaluate

HISTORY = 20
"""Steps that L-BFGS remembers; a hundred, as is usual, get no further in as many iterations."""

# The descent may leave [0, 1] a little, at this price a squared unit, in units of the loss at which
# all content is lost. Clipping the pixels instead, as is usual, belies what L-BFGS remembers; and
# with no limit at all it goes where no picture is, so that most of the gain is lost when the
# picture is clipped at the end (measured: 1.37 against 0.71 after 30 iterations).
_BARRIER = 3000.0

# How much of a step is smoothed, and how widely, as a standard deviation in pixels. L-BFGS knows
# nothing of the curvature to begin with, and gradients of a VGG are mostly fine noise: left alone,
# it spends its first iterations on the pixels' finest pattern. Measured at 160 pixels: after 5
# iterations a loss of 2.5 in place of 6.1, after 12 of 1.08 in place of 1.36; half or twice the
# width, and more of it, do less. A picture that was just enlarged lacks nothing but fine detail:
# there it would do harm (a loss of 1.8 in place of 1.5 after 5 iterations at 512 pixels).
_SMOOTHED, _WIDTH = 0.6, 2.0

# Mean change in the first step. Torch's own first step is a thousand times shorter,
# which the line search pays for with four more evaluations.
_FIRST_STEP = 0.02


class Descent(Protocol):
    """Goes down an objective, a step at a time.

    Attributes:
        picture: where it is, shape (1, 3, H, W), nominally in [0, 1].
        evaluations: of the objective and its gradient, so far.
    """

    picture: Tensor
    evaluations: int

    def step(self) -> Losses:
        """Take one step; gives the losses there, those of the picture clipped to [0, 1] or near."""


def make_descent(
    optimizer: OptimizerName,
    evaluate: Evaluate,
    start: Tensor,
    rate: float,
    unit: float,
    *,
    enlarged: bool = False,
) -> Descent:
    """Begin a descent.

    Args:
        optimizer: `lbfgs` or `adam`.
        evaluate: the objective.
        start: the picture to start from, shape (1, 3, H, W), range [0, 1]; not changed.
        rate: the learning rate.
        unit: what a loss is large in comparison with.
        enlarged: whether the start is the result of a smaller size, and lacks only fine detail.
    """
    if optimizer == "lbfgs":
        return LbfgsDescent(evaluate, start, rate, unit, 0.0 if enlarged else _SMOOTHED)
    return AdamDescent(evaluate, start, rate, unit)


class LbfgsDescent:
    """L-BFGS with a strong Wolfe line search.

    Torch's L-BFGS without a line search, as most loops use it, takes steps far too long to begin
    with: the loss rises 250-fold and comes down over twenty iterations. The line search costs about
    one evaluation in ten: torch evaluates the point where a step ended once more to begin the next,
    and is given what it had there.

    What it moves is a change of the start that is smoothed before it is added. Every picture can be
    reached so, for some of the change stays as it is, and smooth ones are nearer.
    """

    def __init__(
        self, evaluate: Evaluate, start: Tensor, rate: float, unit: float, smoothed: float
    ) -> None:
        """See `make_descent`; `smoothed` is the share of a change that is smoothed."""
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
            max_iter=1,  # its memory outlasts the call, so that many calls are one descent
            max_eval=25,
            history_size=HISTORY,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )
        self._seen: list[tuple[Tensor, Tensor, Tensor, Losses]] = []

    def step(self) -> Losses:
        """Take one step; see `Descent`."""
        # Torch scales its first step to a sum of absolute changes of `lr`.
        first = _FIRST_STEP * self._change.numel()
        self._optimizer.param_groups[0]["lr"] = self._rate * (1.0 if self._begun else first)
        self._begun = True
        self._optimizer.step(self._closure)  # type: ignore[no-untyped-call]
        # What it evaluated last need not be where it went.
        found = self._known()
        if found is None:
            self._closure()
            found = self._seen[-1]
        self._seen = [found]
        with torch.no_grad():
            self.picture = self._start + _smoothed(self._change, self._share)
        return found[3]

    def _closure(self) -> float:
        found = self._known()
        if found is None:
            self.evaluations += 1
            self._change.grad = None
            picture = self._start + _smoothed(self._change, self._share)
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
            # Enough for the few points that a line search may return to.
            self._seen = [*self._seen[-2:], found]
        self._change.grad = found[2].clone()
        return float(found[1])

    def _known(self) -> tuple[Tensor, Tensor, Tensor, Losses] | None:
        return next((s for s in self._seen if torch.equal(s[0], self._change)), None)


def _smoothed(change: Tensor, share: float) -> Tensor:
    """Smooth a share of a change, shape (1, 3, H, W), by a Gaussian."""
    if not share:
        return change
    reach = min(round(3 * _WIDTH), *(side - 1 for side in change.shape[2:]))
    places = torch.arange(-reach, reach + 1, dtype=change.dtype, device=change.device)
    weights = torch.exp(-0.5 * (places / _WIDTH) ** 2)
    kernel = (weights / weights.sum()).view(1, 1, 1, -1)
    channels = functional.pad(change.transpose(0, 1), (reach,) * 4, mode="reflect")
    across = functional.conv2d(channels, kernel)
    smooth = functional.conv2d(across, kernel.transpose(2, 3)).transpose(0, 1)
    return change.lerp(smooth, share)


class AdamDescent:
    """Adam, clipping the pixels to their range after every step.

    The rate falls nowhere; the averages are those of crowsonkb/style-transfer-pytorch, whose long
    memory for squares keeps flat areas from jumping.
    """

    def __init__(self, evaluate: Evaluate, start: Tensor, rate: float, unit: float) -> None:
        """See `make_descent`."""
        self.picture = start.detach().clone().contiguous().requires_grad_()
        self.evaluations = 0
        self._evaluate, self._unit = evaluate, unit
        self._optimizer = torch.optim.Adam([self.picture], lr=rate, betas=(0.9, 0.99))
        self._ahead: Losses | None = None

    def step(self) -> Losses:
        """Take one step; see `Descent`."""
        if self._ahead is None:
            self._look()
        self._optimizer.step()
        with torch.no_grad():
            self.picture.clamp_(0, 1)
        return self._look()

    def _look(self) -> Losses:
        """Evaluate where it is; the gradient is for the next step."""
        self.evaluations += 1
        self.picture.grad = None
        losses = self._evaluate(self.picture)
        (losses.total / self._unit).backward()  # type: ignore[no-untyped-call]
        self._ahead = Losses(*(term.detach() for term in losses))
        return self._ahead


def is_finite(losses: Losses) -> bool:
    """Tell whether a loss is a number."""
    return math.isfinite(float(losses.total))
