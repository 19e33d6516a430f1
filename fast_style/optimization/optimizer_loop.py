"""An optimisation on its way: sizes coarse to fine, a step at a time, the best picture kept."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_style.engines.torch_device import choose_device, use_bf16
from fast_style.errors import UsageError
from fast_style.images import ImageSource, Photo, resize_long_side, resize_to, to_pil
from fast_style.images.color import preserve_color
from fast_style.models.perceptual_loss import LossConfig, Losses
from fast_style.models.vgg import Vgg
from fast_style.optimization.config import OptimizeConfig, Stage, painting_side, plan_stages
from fast_style.optimization.descent import is_finite, make_descent
from fast_style.optimization.initialization import is_style, start_pixels
from fast_style.optimization.masks import Mask, at_size
from fast_style.optimization.memory import check_memory
from fast_style.optimization.objective import Objective
from fast_style.optimization.tensors import enlarged, grey, matched, to_pixels, to_tensor

if TYPE_CHECKING:
    import os

    from PIL import Image

    from fast_style.models.model_file import StyleModel

Pixels = NDArray[np.uint8]

_PATIENCE = 10


@dataclass(frozen=True, slots=True)
class LossValues:
    """The terms of the loss, each with its weight in it, and their sum."""

    total: float
    content: float
    style: float
    tv: float

    def to_dict(self) -> dict[str, float]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class OptimizeStep:
    """One iteration, as a page or a bar shows it.

    Attributes:
        iteration: its number, from 1, through all sizes.
        iterations: how many there will be at most.
        width: of the picture at this size, in pixels.
        height: of the picture at this size, in pixels.
        losses: of the picture after this iteration.
        evaluations: of the objective and its gradient so far.
        seconds: since the start.
        seconds_left: about so many more, if no size is ended early.
    """

    iteration: int
    iterations: int
    width: int
    height: int
    losses: LossValues
    evaluations: int
    seconds: float
    seconds_left: float
    _best: Callable[[], Photo]

    def photo(self) -> Photo:
        """Give the best picture so far at its final size, with the photo's alpha and metadata."""
        return self._best()

    def picture(self) -> "Image.Image":
        """Give the best picture so far as a Pillow image, at its final size."""
        return to_pil(self._best())

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        plain = {k: getattr(self, k) for k in ("iteration", "width", "height", "evaluations")}
        return plain | {"seconds": round(self.seconds, 3)} | self.losses.to_dict()


class Optimization:
    """A picture on its way: `steps` moves it on, `best` and `measure` may be asked at any time.

    Attributes:
        config: the options.
        stages: the sizes, coarse to fine.
        device: where it computes.
        precision: what the VGG computes in.
        history: the figures of each step so far.
    """

    def __init__(
        self,
        photo: Photo,
        paintings: Sequence[Photo],
        config: OptimizeConfig | None = None,
        *,
        weights: Sequence[float] | None = None,
        masks: Sequence[Mask] | None = None,
        start: "ImageSource | StyleModel | os.PathLike[str] | None" = None,
    ) -> None:
        """Check that everything fits together and that there is memory enough.

        Args:
            photo: the content image.
            paintings: one or several.
            config: the options; the defaults if None.
            weights: of the paintings, each above 0; all alike if None.
            masks: where each painting goes, of the photo's shape, see `masks.read_mask`.
            start: what to start from, instead of `config.init`.

        Raises:
            FastStyleError: something does not fit, cannot be found, or is too large for the memory.
        """
        self.config = config or OptimizeConfig()
        self._init = self.config.init if start is None else start
        self._weights = list(weights or [1.0] * len(paintings))
        _check_paintings(paintings, self._weights, masks, photo)
        from_style = is_style(self._init)
        self.stages = plan_stages(photo.height, photo.width, self.config, from_network=from_style)
        self._loss = LossConfig.from_options(self.config.to_dict())
        self.device = choose_device(self.config.device)
        bf16 = use_bf16(self.config.precision, self.device)
        self.precision = "bf16" if bf16 else "fp32"
        vgg = Vgg(self._loss.vgg, [*self._loss.content_layers, *self._loss.style_layers])
        # Each is the quicker one on processors; GPUs take channels-last in both.
        layout = torch.channels_last if bf16 or self.device == "cuda" else torch.contiguous_format
        self._vgg = vgg.to(device=self.device, memory_format=layout)  # type: ignore[call-overload]
        last = self.stages[-1]
        check_memory(last, vgg, self.config.optimizer, self.device, bf16=bf16)
        self._photo = photo.with_pixels(resize_to(photo.pixels, last.height, last.width))
        self._whole, self._paintings = photo.pixels, [p.pixels for p in paintings]
        self._masks = masks
        # From the start, so that an interrupt finds a picture whenever it comes.
        self._best: Tensor | None = None
        self.history: list[dict[str, Any]] = []

    def steps(self, start: Tensor | None = None) -> Generator[OptimizeStep, None, None]:
        """Go down through all sizes, telling of each iteration; may be left at any of them.

        Args:
            start: a picture to go on from, what `best_tensor` gave in another process; `stages` is
                to be set to what is left. Only what the descent remembers of its way is lost.
        """
        begun, total = time.perf_counter(), sum(stage.iterations for stage in self.stages)
        work_done, iteration, evaluations = 0, 0, 0
        first = self.stages[0]
        shape = (first.height, first.width)
        if start is not None:
            picture = enlarged(start.to(self.device), *shape)
        else:
            pixels = start_pixels(
                self._init, self._whole, self._paintings[0], *shape, self.config.seed
            )
            picture = self._tensor(pixels)
            if self.config.preserve_color:
                picture = grey(picture)
        for number, stage in enumerate(self.stages):
            if number:
                picture = enlarged(picture, stage.height, stage.width)
            self._best = picture
            objective = self._objective(stage, bf16=self.precision == "bf16")
            descent = make_descent(
                self.config.optimizer,
                objective,
                picture,
                self.config.rate,
                objective.unit,
                enlarged=number > 0,
            )
            bests = [float("inf")]
            ahead = sum(s.height * s.width * s.iterations for s in self.stages[number + 1 :])
            done = 0  # none may be left, where it goes on
            for done in range(1, stage.iterations + 1):
                losses = descent.step()
                if not is_finite(losses):
                    raise UsageError(
                        f"the loss went beyond all numbers at iteration {iteration + 1}: give "
                        "smaller weights or a smaller --learning-rate"
                    )
                if float(losses.total) < bests[-1]:
                    self._best = picture = descent.picture.detach().clamp(0, 1)
                bests.append(min(bests[-1], float(losses.total)))
                iteration += 1
                area = stage.height * stage.width
                work_done += area
                seconds = time.perf_counter() - begun
                left = (ahead + area * (stage.iterations - done)) * seconds / work_done
                step = OptimizeStep(
                    iteration,
                    total,
                    stage.width,
                    stage.height,
                    _values(losses),
                    evaluations + descent.evaluations,
                    seconds,
                    left,
                    self.best,
                )
                self.history.append(step.to_dict())
                yield step
                if self._stands_still(bests):
                    break
            total -= stage.iterations - done
            evaluations += descent.evaluations

    def best(self) -> Photo:
        """Give the best picture so far, at its final size; the photo before the first step."""
        if self._best is None:
            return self._photo
        found = enlarged(self._best, self._photo.height, self._photo.width)
        pixels = to_pixels(found)
        if self.config.preserve_color:
            pixels = preserve_color(pixels, self._photo.pixels)
        return self._photo.with_pixels(pixels)

    def best_tensor(self) -> Tensor | None:
        """Give the best picture so far as it is: float32 (1, 3, H, W) in [0, 1], at its stage."""
        return None if self._best is None else self._best.detach().cpu()

    @property
    def seconds(self) -> float:
        """How long the steps took so far."""
        return float(self.history[-1]["seconds"]) if self.history else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The options and the figures of all steps as plain JSON values."""
        return {
            "options": self.config.to_dict(),
            "device": self.device,
            "precision": self.precision,
            "seconds": self.seconds,
            "iterations": len(self.history),
            "steps": self.history,
        }

    @torch.no_grad()
    def measure(self) -> LossValues:
        """Compute the losses of the best picture at its final size, rounded to 8 bits, in float32.

        With `preserve_color`, of the grey picture before it gets the photo's colours.
        """
        objective = self._objective(self.stages[-1], bf16=False)
        found = self._tensor(self._photo.pixels) if self._best is None else self._best
        found = enlarged(found, self._photo.height, self._photo.width)
        return _values(objective((found * 255).round() / 255))

    def _stands_still(self, bests: Sequence[float]) -> bool:
        if not self.config.tolerance or len(bests) <= _PATIENCE + 1:
            return False
        return bests[-1] > (1 - self.config.tolerance) * bests[-1 - _PATIENCE]

    def _objective(self, stage: Stage, *, bf16: bool) -> Objective:
        photo = self._tensor(resize_to(self._whole, stage.height, stage.width))
        longest = max(stage.height, stage.width)
        paintings = []
        for pixels in self._paintings:
            own = max(pixels.shape[:2])
            side = max(16, round(painting_side(longest, own, self.config.style_scale)))
            paintings.append(self._tensor(resize_long_side(pixels, side, enlarge=True)))
        if self.config.preserve_color:
            photo = grey(photo)
            paintings = [matched(grey(painting), photo) for painting in paintings]
        masks = [
            at_size(mask, stage.height, stage.width).to(self.device) for mask in self._masks or []
        ]
        return Objective(
            self._loss, self._vgg, photo, paintings, self._weights, masks or None, bf16=bf16
        )

    def _tensor(self, pixels: Pixels) -> Tensor:
        return to_tensor(pixels, self.device)


def _check_paintings(
    paintings: Sequence[Photo],
    weights: Sequence[float],
    masks: Sequence[Mask] | None,
    photo: Photo,
) -> None:
    if not paintings:
        raise UsageError("there is no painting; expected one at least")
    for what, count in (("weights", len(weights)), ("masks", len(masks or paintings))):
        if count != len(paintings):
            raise UsageError(
                f"there are {count} {what} for {len(paintings)} paintings; expected one for each"
            )
    for weight in weights:
        if not 0 < weight < float("inf"):
            raise UsageError(f"the weight of a painting is {weight}; expected a number above 0")
    for mask in masks or []:
        if mask.shape != photo.pixels.shape[:2]:
            raise UsageError(
                f"a mask has the shape {mask.shape}, and the photo {photo.pixels.shape[:2]}: make "
                "it of the photo's size"
            )
    for painting in paintings:
        if min(painting.height, painting.width) < 16:
            raise UsageError(
                f"a painting has {painting.width}x{painting.height} pixels; expected at least 16 "
                "a side"
            )


def _values(losses: Losses) -> LossValues:
    return LossValues(*(float(term) for term in losses))
