"""Render a picture in a style with one network, at any stroke size and in bounded memory."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fast_style.engines import Engine, GraphEngine, create_engine
from fast_style.errors import ImageTooLargeError
from fast_style.images.grain import add_grain
from fast_style.images.resampling import BICUBIC, HAMMING, resize_in_strips
from fast_style.inference.strips import STRIP_SIDE, shortest_side, sweep
from fast_style.inference.stroke_size import upsample_guided, working_size
from fast_style.models.card import ModelCard
from fast_style.models.model_file import StyleModel
from fast_style.options import EngineOptions
from fast_style.storage.hardware import available_memory

__all__ = ["NetworkRenderer", "Renderer"]

Pixels = NDArray[np.uint8]

_MAX_WHOLE_BYTES, _ALWAYS_WHOLE_BYTES = 2 << 30, 32 << 20
"""With `tile="auto"`: a picture that needs more than the first is processed in strips even where
memory is free; one that needs less than the second is never."""


_MIRRORED = 4
"""Variants that differ by mirroring."""
_LEAST_GRAIN = 4
"""Levels of noise of the variants that differ by it."""


class Renderer(Protocol):
    """Renders pixels in a style, with one network or an ensemble of several.

    Attributes:
        card: describes the style.
        engine: runs the network; for an ensemble, the engine of its first network.
    """

    card: ModelCard
    engine: Engine

    def render(
        self,
        pixels: Pixels,
        stroke_size: float,
        shares: NDArray[np.uint8] | None = None,
        variant: int = 0,
    ) -> Pixels:
        """Stylize a picture at full strength.

        Args:
            pixels: RGB in sRGB, shape (H, W, 3), uint8; not changed.
            stroke_size: as in `StyleOptions`, as a number.
            shares: for a renderer of several styles with areas, the share of each style, shape
                (N, H, W), uint8; they sum to 255 in each pixel. Others do not use it.
            variant: as in `StyleOptions`.

        Returns:
            The stylized picture, of the same shape and type.

        Raises:
            ImageTooLargeError: a small `stroke_size` needs more pixels than are allowed.
            MemoryError, RuntimeError, EngineError: the engine failed, for example for lack of
                memory.
        """


class NetworkRenderer:
    """One style network in an engine."""

    def __init__(self, model: StyleModel, options: EngineOptions, max_megapixels: float) -> None:
        """Load the network into an engine.

        Args:
            model: the style.
            options: which engine, device and precision, and how large pictures are processed.
            max_megapixels: largest picture that a small stroke size may lead to.

        Raises:
            FastStyleError: as for `create_engine`.
        """
        self.card = model.card
        self.engine: Engine = create_engine(model, options)
        self._model, self._tile, self._max_megapixels = model, options.tile, max_megapixels

    def render(
        self,
        pixels: Pixels,
        stroke_size: float,
        shares: NDArray[np.uint8] | None = None,
        variant: int = 0,
    ) -> Pixels:
        """Stylize a picture at full strength, see `Renderer.render`."""
        height, width = pixels.shape[:2]
        working = working_size(height, width, stroke_size)
        if working == (height, width):
            return self._run_variant(pixels, variant)
        if stroke_size < 1 and working[0] * working[1] > self._max_megapixels * 1e6:
            raise ImageTooLargeError(
                f"strokes of size {stroke_size:g} on {width}x{height} pixels take a picture of "
                f"{working[1]}x{working[0]}, over the limit of {self._max_megapixels:g} "
                "megapixels: give a larger stroke size or a smaller size, or raise the limit"
            )
        resized = resize_in_strips(pixels, *working, BICUBIC if stroke_size < 1 else HAMMING)
        stylized = self._run_variant(resized, variant)
        if stroke_size < 1:
            return resize_in_strips(stylized, height, width, HAMMING)
        return upsample_guided(stylized, resized, pixels)

    def _run_variant(self, pixels: Pixels, variant: int) -> Pixels:
        """Add grain and run the network.

        Other noise alone changes little. The strokes of a mirrored picture run the other way, and
        are as good: variants 1 to 3 are mirrored in width, in height, and in both, and so on.
        Further ones differ from these by their noise, in networks without grain too.
        """
        mirrored = tuple(axis for axis, bit in ((1, 1), (0, 2)) if variant & bit)
        if mirrored:
            pixels = np.ascontiguousarray(np.flip(pixels, mirrored))
        grain = self.card.grain if variant < _MIRRORED else max(self.card.grain, _LEAST_GRAIN)
        stylized = self._run(add_grain(pixels, grain, seed=variant))
        return np.ascontiguousarray(np.flip(stylized, mirrored)) if mirrored else stylized

    def _run(self, pixels: Pixels) -> Pixels:
        """Run the network on a picture, whole or in strips."""
        engine = self.engine
        if isinstance(engine, GraphEngine) and self._needs_strips(engine, *pixels.shape[:2]):
            area = STRIP_SIDE**2 if self._tile == "auto" else int(self._tile) ** 2
            return sweep(self._model, engine, pixels, area)
        stylized: Pixels = engine.predict(pixels[None])[0]
        return stylized

    def _needs_strips(self, engine: GraphEngine, height: int, width: int) -> bool:
        if self._tile == "off" or min(height, width) < shortest_side(self.card.network):
            return False
        if self._tile != "auto":
            return True
        needed = engine.bytes_per_filter * self.card.network.width * height * width
        # In this order: asking how much memory is free takes a while.
        return needed > _ALWAYS_WHOLE_BYTES and needed > min(
            _MAX_WHOLE_BYTES, available_memory() // 2
        )
