"""The descriptor of a painting: statistics of its VGG features, as `models.predictor` defines."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fast_style.models.predictor import STYLE_CHANNELS, STYLE_LAYERS

RANK = 20
"""Directions per layer in which the descriptor keeps second moments."""


class FeatureStatistics(NamedTuple):
    """Statistics of the VGG features of pictures, by layer.

    Attributes:
        means: mean of each channel, each (B, C).
        grams: Gram matrices F F^T / (C*H*W), each (B, C, C).
    """

    means: Mapping[str, Tensor]
    grams: Mapping[str, Tensor]


class StyleDescriptor(nn.Module):
    """Means, root mean squares and projected second moments of VGG features, standardised.

    The roots make the distributions less skewed. A Gram matrix is the matrix of second moments
    S = F F^T / (H*W), divided by C.

    Attributes:
        projection_LAYER: buffers, (C, R), the directions in which paintings differ most.
        center: buffer, (D,), mean over paintings.
        deviation: buffer, (D,), standard deviation over paintings.
    """

    center: Tensor
    deviation: Tensor
    triangle: Tensor

    def __init__(self) -> None:
        """Create empty constants; `fit` or a file sets them."""
        super().__init__()
        for layer, channels in zip(STYLE_LAYERS, STYLE_CHANNELS, strict=True):
            self.register_buffer(f"projection_{layer}", torch.zeros(channels, RANK))
        size = 2 * sum(STYLE_CHANNELS) + len(STYLE_LAYERS) * RANK * (RANK + 1) // 2
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        rows, columns = torch.triu_indices(RANK, RANK)
        self.register_buffer("triangle", rows * RANK + columns, persistent=False)

    def forward(self, statistics: FeatureStatistics) -> Tensor:
        """Describe paintings.

        Args:
            statistics: of `STYLE_LAYERS` at least.

        Returns:
            Shape (B, D), mean about 0 and standard deviation about 1.
        """
        return (self._compress(statistics) - self.center) / self.deviation

    def _compress(self, statistics: FeatureStatistics) -> Tensor:
        """Describe paintings without the standardisation, shape (B, D)."""
        parts = []
        for layer in STYLE_LAYERS:
            moments = _second_moments(statistics.grams[layer])
            squares = moments.diagonal(dim1=1, dim2=2).clamp_min(0)
            projection = self.get_buffer(f"projection_{layer}")
            low_rank = (projection.T @ moments @ projection).flatten(1)[:, self.triangle]
            parts.append(statistics.means[layer].float().clamp_min(0).sqrt())
            parts.append(squares.sqrt().sqrt())
            parts.append(low_rank.sign() * low_rank.abs().sqrt())
        return torch.cat(parts, 1)

    @torch.no_grad()
    def fit(self, statistics: Sequence[FeatureStatistics]) -> None:
        """Choose the projections and the standardisation.

        Args:
            statistics: of some hundred varied paintings, in groups of any size.
        """
        for layer in STYLE_LAYERS:
            count = sum(len(part.grams[layer]) for part in statistics)
            sums = [_second_moments(part.grams[layer]).sum(0) for part in statistics]
            mean = torch.stack(sums).sum(0) / count
            spread = torch.zeros_like(mean)
            for part in statistics:
                for moments in _second_moments(part.grams[layer]):
                    difference = moments - mean
                    # Every painting has the same weight, however strong its features are.
                    difference = difference / difference.norm().clamp_min(1e-12)
                    spread += difference @ difference
            # On the CPU: not every device has float64.
            directions = torch.linalg.eigh(spread.double().cpu())[1][:, -RANK:]
            self.get_buffer(f"projection_{layer}").copy_(directions)
        raw = torch.cat([self._compress(part) for part in statistics])
        self.center.copy_(raw.mean(0))
        self.deviation.copy_(raw.std(0) + 1e-3 * raw.std())


def _second_moments(grams: Tensor) -> Tensor:
    return grams.float() * grams.shape[1]
