"""The optimisation loop: coarse to fine through several sizes, keeping the best picture."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_style.engines.torch_device import choose_device, respect_core_limit, use_bf16
from fast_style.errors import UsageError
from fast_style.images import ImageSource, Photo, resize_long_side, resize_to, to_pil
from fast_style.images.color import preserve_color
from fast_style.images.photo import visible_pixels
from fast_style.models.perceptual_loss import LossConfig, Losses
from fast_style.models.vgg import Vgg
from fast_style.optimization.config import OptimizeConfig, PyramidLevel, painting_side, plan_levels
from fast_style.optimization.descent import is_finite, make_descent
from fast_style.optimization.initialization import is_style, make_start
from fast_style.optimization.masks import Mask, resize_mask
from fast_style.optimization.memory import check_memory
from fast_style.optimization.objective import Objective
from fast_style.optimization.tensors import enlarge, match_contrast, to_grey, to_pixels, to_tensor
from fast_style.options import StripChoice

if TYPE_CHECKING:
    import os

    from PIL import Image

    from fast_style.models.model_file import StyleModel

Pixels = NDArray[np.uint8]

_PATIENCE = 10  # iterations over which `tolerance` compares the loss


@dataclass(frozen=True, slots=True)
class LossValues:
    """The terms of the loss, each multiplied by its weight, and their sum."""

    total: float
    content: float
    style: float
    tv: float

    def to_dict(self) -> dict[str, float]:
        """Return the values as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class OptimizeStep:
    """The state of an optimisation after one iteration.

    Attributes:
        iteration: number of the iteration, from 1, counted over all sizes.
        iterations: the largest number that it can reach.
        width: of the picture at the current size, in pixels.
        height: of the picture at the current size, in pixels.
        losses: losses of the picture after this iteration.
        evaluations: evaluations of the objective and its gradient so far.
        seconds: seconds since the start.
        seconds_left: estimate of the remaining seconds, if no size ends early.
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
        """Return the best picture so far at its final size, with the photo's alpha and metadata."""
        return self._best()

    def picture(self) -> "Image.Image":
        """Return the best picture so far at its final size as a Pillow image."""
        return to_pil(self._best())

    def to_dict(self) -> dict[str, Any]:
        """Return iteration, size, evaluations, seconds and losses as JSON values."""
        plain = {k: getattr(self, k) for k in ("iteration", "width", "height", "evaluations")}
        return plain | {"seconds": round(self.seconds, 3)} | self.losses.to_dict()


class Optimization:
    """An optimisation of one picture; `best` and `measure` may be called at any time.

    Attributes:
        config: the options.
        levels: the sizes to go through, coarse to fine.
        device: the device that it computes on.
        precision: the precision that the VGG computes in.
        history: the values of each step so far, see `OptimizeStep.to_dict`.
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
        """Check that the inputs fit together and that there is enough memory.

        Args:
            photo: the content image.
            paintings: one or several style images.
            config: the options; the defaults if None.
            weights: weights of the paintings, each above 0; equal if None.
            masks: where each painting is applied, of the photo's shape, see `masks.read_mask`.
            start: the picture or style to start from, instead of `config.init`.

        Raises:
            FastStyleError: inputs do not fit together, cannot be found, or are too large for the
                memory.
        """
        self.config = config or OptimizeConfig()
        self._init = self.config.init if start is None else start
        self._weights = list(weights or [1.0] * len(paintings))
        _check_paintings(paintings, self._weights, masks, photo)
        visible = [visible_pixels(painting, "the painting") for painting in paintings]
        from_style = is_style(self._init)
        self.levels = plan_levels(photo.height, photo.width, self.config, from_network=from_style)
        self._loss = LossConfig.from_options(self.config.to_dict())
        self.device = choose_device(self.config.device)
        respect_core_limit()
        bf16 = use_bf16(self.config.precision, self.device)
        self.precision = "bf16" if bf16 else "fp32"
        vgg = Vgg(self._loss.vgg, [*self._loss.content_layers, *self._loss.style_layers])
        # On CPUs, channels-last is faster in bf16 and slower in fp32; on GPUs it is faster in both.
        layout = torch.channels_last if bf16 or self.device == "cuda" else torch.contiguous_format
        self._vgg = vgg.to(device=self.device, memory_format=layout)  # type: ignore[call-overload]
        last = self.levels[-1]
        check_memory(last, vgg, self.config.optimizer, self.device, bf16=bf16)
        self._photo = photo.resize(last.height, last.width)
        self._photo = self._photo.with_pixels(self._photo.fill_hidden())
        self._full_photo, self._paintings = photo.fill_hidden(), visible
        self._masks = masks
        self._best: Tensor | None = None
        self.history: list[dict[str, Any]] = []

    def steps(self, start: Tensor | None = None) -> Generator[OptimizeStep, None, None]:
        """Run the optimisation and yield after each iteration; it can be stopped at any of them.

        Args:
            start: a picture to resume from, the result of `best_tensor` in another process, with
                `levels` set to the remaining ones. Only the history of L-BFGS is lost.

        Raises:
            UsageError: the loss became infinite or undefined.
        """
        progress = _Progress(self.levels)
        picture = self._start_picture(start)
        for number, level in enumerate(self.levels):
            # 1) Bring the best picture to this size. It is available from here on, so that an
            #    interrupted run always has a result.
            picture = self._best = enlarge(picture, level.height, level.width)

            # 2) Prepare the objective and the optimizer for this size.
            objective = self._objective(level, bf16=self.precision == "bf16")
            descent = make_descent(
                self.config.optimizer,
                objective,
                picture,
                self.config.rate,
                objective.unit,
                enlarged=number > 0,
            )

            # 3) Iterate until the iterations are used up or the loss hardly falls any more.
            best_losses = [float("inf")]
            for _ in range(level.iterations):
                losses = descent.step()
                total = float(losses.total)
                if not is_finite(losses):
                    raise UsageError(
                        "the loss became infinite or undefined at iteration "
                        f"{progress.iteration + 1}: give smaller weights or a smaller "
                        "--learning-rate"
                    )
                if total < best_losses[-1]:
                    self._best = picture = descent.picture.detach().clamp(0, 1)
                best_losses.append(min(best_losses[-1], total))
                step = progress.count(level, losses, descent.evaluations, self.best)
                self.history.append(step.to_dict())
                yield step
                if self._has_converged(best_losses):
                    break
            progress.end_level(level, descent.evaluations)

    def best(self) -> Photo:
        """Return the best picture so far at its final size; the photo before the first step."""
        if self._best is None:
            return self._photo
        found = enlarge(self._best, self._photo.height, self._photo.width)
        pixels = to_pixels(found)
        if self.config.preserve_color:
            pixels = preserve_color(pixels, self._photo.pixels)
        return self._photo.with_pixels(pixels)

    def strip_metadata(self, what: StripChoice | None) -> None:
        """Leave out metadata in all pictures, see `Photo.strip_metadata`."""
        self._photo = self._photo.strip_metadata(what)

    def best_tensor(self) -> Tensor | None:
        """Return the best picture so far at its current size: (1, 3, H, W), range [0, 1]."""
        return None if self._best is None else self._best.detach().cpu()

    @property
    def seconds(self) -> float:
        """Duration of the steps so far."""
        return float(self.history[-1]["seconds"]) if self.history else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the options and the values of all steps as JSON values."""
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

        With `preserve_color`, those of the grey picture before it gets the photo's colours.
        """
        objective = self._objective(self.levels[-1], bf16=False)
        found = self._tensor(self._photo.pixels) if self._best is None else self._best
        found = enlarge(found, self._photo.height, self._photo.width)
        return _to_values(objective((found * 255).round() / 255))

    def _start_picture(self, start: Tensor | None) -> Tensor:
        """Return the picture to start from, at the first size unless it is resumed."""
        if start is not None:
            return start.to(self.device)
        first = self.levels[0]
        pixels = make_start(
            self._init,
            self._full_photo,
            self._paintings[0],
            first.height,
            first.width,
            self.config.seed,
        )
        picture = self._tensor(pixels)
        return to_grey(picture) if self.config.preserve_color else picture

    def _has_converged(self, best_losses: Sequence[float]) -> bool:
        if not self.config.tolerance or len(best_losses) <= _PATIENCE + 1:
            return False
        return best_losses[-1] > (1 - self.config.tolerance) * best_losses[-1 - _PATIENCE]

    def _objective(self, level: PyramidLevel, *, bf16: bool) -> Objective:
        """Prepare the objective for one size."""
        photo = self._tensor(resize_to(self._full_photo, level.height, level.width))
        longest = max(level.height, level.width)
        paintings = []
        for pixels in self._paintings:
            own = max(pixels.shape[:2])
            side = max(16, round(painting_side(longest, own, self.config.style_scale)))
            paintings.append(self._tensor(resize_long_side(pixels, side, enlarge=True)))
        if self.config.preserve_color:
            photo = to_grey(photo)
            paintings = [match_contrast(to_grey(painting), photo) for painting in paintings]
        masks = [
            resize_mask(mask, level.height, level.width).to(self.device)
            for mask in self._masks or []
        ]
        return Objective(
            self._loss, self._vgg, photo, paintings, self._weights, masks or None, bf16=bf16
        )

    def _tensor(self, pixels: Pixels) -> Tensor:
        return to_tensor(pixels, self.device)


class _Progress:
    """Counts iterations and estimates the time left.

    Attributes:
        iteration: iterations so far, over all sizes.
    """

    def __init__(self, levels: Sequence[PyramidLevel]) -> None:
        self.iteration = 0
        self._begun = time.perf_counter()
        self._most_iterations = sum(level.iterations for level in levels)
        self._pixels_ahead = sum(_pixels(level) * level.iterations for level in levels)
        self._pixels_done = self._done_in_level = self._evaluations = 0

    def count(
        self,
        level: PyramidLevel,
        losses: Losses,
        evaluations: int,
        best: Callable[[], Photo],
    ) -> OptimizeStep:
        """Count an iteration at a size, after so many evaluations there, and describe it."""
        self.iteration += 1
        self._done_in_level += 1
        self._pixels_done += _pixels(level)
        self._pixels_ahead -= _pixels(level)
        seconds = time.perf_counter() - self._begun
        return OptimizeStep(
            self.iteration,
            self._most_iterations,
            level.width,
            level.height,
            _to_values(losses),
            self._evaluations + evaluations,
            seconds,
            self._pixels_ahead * seconds / self._pixels_done,
            best,
        )

    def end_level(self, level: PyramidLevel, evaluations: int) -> None:
        """Subtract the iterations of a size that were not needed."""
        unused = level.iterations - self._done_in_level
        self._most_iterations -= unused
        self._pixels_ahead -= _pixels(level) * unused
        self._evaluations += evaluations
        self._done_in_level = 0


def _pixels(level: PyramidLevel) -> int:
    return level.height * level.width


def _check_paintings(
    paintings: Sequence[Photo],
    weights: Sequence[float],
    masks: Sequence[Mask] | None,
    photo: Photo,
) -> None:
    """Check that paintings, weights and masks fit together and to the photo."""
    if not paintings:
        raise UsageError("there is no painting; expected at least one")
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


def _to_values(losses: Losses) -> LossValues:
    return LossValues(*(float(term) for term in losses))
