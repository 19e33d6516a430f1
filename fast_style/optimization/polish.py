"""A few iterations of optimisation after a style network: `stylize --polish`."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fast_style.errors import UsageError
from fast_style.images import Photo, read_image
from fast_style.inference.stylizer import Painted
from fast_style.models.model_file import is_picture, read_card
from fast_style.optimization.api import read_painting
from fast_style.optimization.config import LARGEST, OptimizeConfig, parse_painting
from fast_style.optimization.optimizer_loop import Optimization

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class Polisher:
    """Optimises a style network's picture for some iterations at its full size."""

    def __init__(
        self,
        iterations: int,
        paintings: Sequence[Photo],
        weights: Sequence[float],
        *,
        device: str = "auto",
    ) -> None:
        """Create a polisher.

        Args:
            iterations: number of iterations.
            paintings: the style's painting, or those of a mixture.
            weights: weights of the paintings, each above 0.
            device: as in `OptimizeConfig`.

        Raises:
            UsageError: `iterations` is below 1.
        """
        self._config = OptimizeConfig(
            size=LARGEST,
            scales=1,
            iterations=iterations,
            tolerance=0,
            device=device,  # type: ignore[arg-type]
        )
        self._paintings, self._weights = list(paintings), list(weights)

    def __call__(self, painted: Painted) -> Painted:
        """Optimise a network's picture, before strength and colours are applied.

        Raises:
            FastStyleError: it is too small for the loss network, or too large for the memory.
        """
        run = Optimization(
            painted.content,
            self._paintings,
            self._config,
            weights=self._weights,
            start=painted.pixels,
        )
        for _ in run.steps():
            pass
        return replace(painted, pixels=run.best().pixels)


def find_painting(model: Path) -> tuple[Photo, bool]:
    """Find the painting that a style was trained on.

    Args:
        model: the model file.

    Returns:
        The picture `NAME.jpg`, `.png` or `.webp` beside `NAME.safetensors`, else the card's
        thumbnail; and whether it is the thumbnail. A picture that stands for its style is the
        painting itself.

    Raises:
        UsageError: there is neither.
        FastStyleError: the model file or the picture cannot be read.
    """
    if is_picture(model):
        return read_image(model), False
    for suffix in _SUFFIXES:
        beside = model.with_suffix(suffix)
        if beside.is_file():
            return read_image(beside), False
    card = read_card(model)
    if card.thumbnail is None:
        raise UsageError(
            f"the painting of {card.name} is neither on its card nor beside {model}: give it with "
            "--style-image"
        )
    return read_image(io.BytesIO(card.thumbnail), name=f"the thumbnail of {card.name}"), True


def read_weighted_paintings(texts: Sequence[str]) -> tuple[list[Photo], list[float]]:
    """Read paintings and weights from `PAINTING[:WEIGHT]`, see `parse_painting`.

    Raises:
        FastStyleError: one cannot be read, or a weight is not above 0.
    """
    pairs = [parse_painting(text) for text in texts]
    return [read_painting(path) for path, _ in pairs], [weight for _, weight in pairs]
