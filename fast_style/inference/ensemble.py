"""A mixture of styles whose networks cannot be averaged: their pictures are mixed instead."""

from collections.abc import Sequence

from fast_style.engines import Engine
from fast_style.inference.renderer import NetworkRenderer, Pixels
from fast_style.models.model_file import StyleModel
from fast_style.options import EngineOptions
from fast_style.styles.mixing import mix_pictures, mixed_card

__all__ = ["Ensemble"]


class Ensemble:
    """Several style networks whose pictures are averaged by share; a `Renderer`.

    A picture takes one forward pass for each network.
    """

    def __init__(
        self,
        parts: Sequence[tuple[StyleModel, float]],
        options: EngineOptions,
        max_megapixels: float,
    ) -> None:
        """Load every network into an engine of its own.

        Args:
            parts: models and their shares, which sum to 1.
            options: as for `NetworkRenderer`.
            max_megapixels: as for `NetworkRenderer`.

        Raises:
            FastStyleError: as for `create_engine`.
        """
        self.card = mixed_card([(model.card, share) for model, share in parts], "pictures")
        self._members = [
            (NetworkRenderer(model, options, max_megapixels), share) for model, share in parts
        ]
        self.engine: Engine = self._members[0][0].engine

    def render(self, pixels: Pixels, stroke_size: float) -> Pixels:
        """Stylize a picture in every style and mix the results, see `Renderer.render`."""
        return mix_pictures(
            (member.render(pixels, stroke_size), share) for member, share in self._members
        )
