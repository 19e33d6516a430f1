"""Several style networks on one picture: their pictures are mixed, by share or by area."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fast_style.engines import Engine
from fast_style.images.color import blend
from fast_style.inference.renderer import NetworkRenderer, Pixels, Renderer
from fast_style.models.model_file import StyleModel
from fast_style.options import EngineOptions
from fast_style.styles.mixing import mix_pictures, mixed_card

__all__ = ["AreaEnsemble", "Ensemble"]


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

    def render(
        self,
        pixels: Pixels,
        stroke_size: float,
        shares: NDArray[np.uint8] | None = None,
        variant: int = 0,
    ) -> Pixels:
        """Stylize a picture in every style and mix the results, see `Renderer.render`."""
        return mix_pictures(
            (member.render(pixels, stroke_size, None, variant), share)
            for member, share in self._members
        )


class AreaEnsemble:
    """Several styles, each in its own areas of a picture; a `Renderer`.

    A picture takes one forward pass for each style that has an area: each style sees the whole
    picture, so that its norms have the statistics that they have without masks.
    """

    def __init__(self, members: Sequence[Renderer]) -> None:
        """Combine renderers.

        Args:
            members: one for each style, in their order.
        """
        self._members = list(members)
        cards = [member.card for member in members]
        self.card = mixed_card([(card, 1 / len(cards)) for card in cards], "pictures")
        self.engine: Engine = members[0].engine

    def render(
        self,
        pixels: Pixels,
        stroke_size: float,
        shares: NDArray[np.uint8] | None = None,
        variant: int = 0,
    ) -> Pixels:
        """Stylize a picture in every style and put the results together by their areas.

        Args:
            pixels: as for `Renderer.render`.
            stroke_size: as for `Renderer.render`.
            shares: the share of each style, shape (N, H, W); they sum to 255.
            variant: as in `StyleOptions`.

        Returns:
            As `Renderer.render`.
        """
        assert shares is not None
        result: Pixels | None = None
        total = np.zeros(pixels.shape[:2], np.uint16)
        for member, share in zip(self._members, shares, strict=True):
            if not share.any():
                continue
            total += share
            picture = member.render(pixels, stroke_size, None, variant)
            if result is None:
                result = picture
                continue
            # The pictures before it have what is left of the sum so far.
            weight = (share * np.uint16(255) + total // 2) // np.maximum(total, 1)
            result = blend(picture, result, 1.0, weight.astype(np.uint8))
        assert result is not None
        return result
