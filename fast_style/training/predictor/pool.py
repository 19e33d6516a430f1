"""A pool of views of paintings with their statistics: each is computed once and used many times.

View number k is decided by the seed and k alone, and stands at place k modulo the pool's size. So
the pool at any step can be computed again, and a resumed run continues exactly.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_style.errors import ImageError, TrainingDataError
from fast_style.images import read_image, resize_long_side
from fast_style.training.predictor.augmentation import random_view
from fast_style.training.predictor.descriptor import FeatureStatistics
from fast_style.training.predictor.objective import PredictorObjective

POOL_SIZE = 448
"""Views that are kept, of 0.7 MB each."""

_GRAM_UNIT = 16.0
"""Gram matrices are kept in this unit, as float16: the largest stay far from 65,504."""

_CACHE_BYTES = 1 << 30
_TRIES = 20


class PaintingReader:
    """Reads paintings at a reduced size; the first that fit into a gigabyte stay in memory.

    Attributes:
        files: the paintings' files.
        unreadable: files that could not be read, since the caller last emptied the list.
    """

    def __init__(self, files: Sequence[Path], long_side: int) -> None:
        """Create a reader that shrinks paintings to `long_side` pixels."""
        self.files, self.long_side = files, long_side
        self.unreadable: list[str] = []
        self._cache: dict[int, Tensor] = {}
        self._bytes = 0

    def read(self, number: int) -> Tensor:
        """Return a painting, RGB uint8, (3, H, W).

        Raises:
            ImageError: it cannot be read.
        """
        if number in self._cache:
            return self._cache[number]
        pixels = read_image(self.files[number], at_least=self.long_side).fill_hidden()
        small = resize_long_side(pixels, self.long_side)
        painting = torch.from_numpy(small.transpose(2, 0, 1).copy())
        if self._bytes + painting.numel() <= _CACHE_BYTES:
            self._cache[number] = painting
            self._bytes += painting.numel()
        return painting


class StylePool:
    """The last `POOL_SIZE` views, with the statistics that a step needs.

    Attributes:
        made: number of views computed so far.
    """

    def __init__(
        self,
        reader: PaintingReader,
        weights: NDArray[np.float64],
        objective: PredictorObjective,
        style_size: int,
        seed: Sequence[int],
    ) -> None:
        """Create an empty pool on the objective's device.

        Args:
            reader: the paintings.
            weights: the probability of each painting.
            objective: computes the statistics.
            style_size: long side of a painting, in pixels.
            seed: decides the views.
        """
        self.reader, self.weights, self.objective = reader, weights, objective
        self.style_size, self.seed, self.made = style_size, tuple(seed), 0
        self._means: dict[str, Tensor] = {}
        self._grams: dict[str, Tensor] = {}

    def grow_to(self, made: int) -> None:
        """Compute the views below number `made`, of which the last `POOL_SIZE` are kept."""
        for number in range(max(self.made, made - POOL_SIZE), made):
            statistics, place = self._describe_view(number), number % POOL_SIZE
            for layer in self.objective.layers:
                mean, gram = statistics.means[layer], statistics.grams[layer]
                if layer not in self._means:
                    self._means[layer] = mean.new_zeros((POOL_SIZE, *mean.shape[1:]))
                    self._grams[layer] = gram.new_zeros(
                        (POOL_SIZE, *gram.shape[1:]), dtype=torch.float16
                    )
                self._means[layer][place] = mean[0]
                self._grams[layer][place] = (gram[0] / _GRAM_UNIT).half()
        self.made = max(self.made, made)

    def draw(self, rng: np.random.Generator, count: int) -> FeatureStatistics:
        """Draw different views at random.

        Returns:
            Their statistics, float32, B = count.
        """
        available = min(self.made, POOL_SIZE)
        places = rng.choice(available, count, replace=count > available)
        return self._at(torch.from_numpy(places))

    def all(self, chunk: int = 16) -> list[FeatureStatistics]:
        """Return the statistics of all views, in groups."""
        places = torch.arange(min(self.made, POOL_SIZE))
        return [self._at(some) for some in torch.split(places, chunk)]

    def _at(self, places: Tensor) -> FeatureStatistics:
        return FeatureStatistics(
            {layer: kept[places.to(kept.device)] for layer, kept in self._means.items()},
            {
                layer: kept[places.to(kept.device)].float() * _GRAM_UNIT
                for layer, kept in self._grams.items()
            },
        )

    def _describe_view(self, number: int) -> FeatureStatistics:
        """Make view `number` and compute its statistics."""
        rng = np.random.default_rng((*self.seed, 2, number))
        for _ in range(_TRIES):
            painting = int(rng.choice(len(self.weights), p=self.weights))
            try:
                pixels = self.reader.read(painting)
            except ImageError:
                self.reader.unreadable.append(str(self.reader.files[painting]))
                continue
            view = random_view(pixels.to(self._device), self.style_size, rng)
            return self.objective.describe(view)
        raise TrainingDataError(
            f"{_TRIES} paintings in a row could not be read, the last one "
            f"{self.reader.files[painting]}: the folder must hold JPEG, PNG or WebP pictures"
        )

    @property
    def _device(self) -> torch.device:
        return self.objective.vgg.get_buffer("mean").device
