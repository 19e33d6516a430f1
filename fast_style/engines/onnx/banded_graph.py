"""The network for one size of large picture, as an ONNX graph that takes less memory.

Features at full resolution are most of what a picture takes, and padding them makes a second copy.
Here the two convolutions that read them (the encoder's second and the last one) work in bands of
rows, each padded on its own, and the last one's bands are rounded before they are joined. Norms
still see the whole picture, so the result is the same.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fast_style.engines.onnx.graph import GraphBuilder
from fast_style.models.config import KERNEL_OUTER, STRIDE, NetworkConfig

BAND_PIXELS = 1 << 20
"""About how many pixels a band has: few enough that a band's copy does not count."""


def build_banded_graph(
    config: NetworkConfig, weights: Mapping[str, NDArray[np.float32]], height: int, width: int
) -> bytes:
    """Build the ONNX model of a network for pictures of one size.

    Its input `image` is uint8 RGB of shape (1, height, width, 3), its output `stylized` the same.

    Args:
        config: the network.
        weights: float32 arrays by the names of `architecture.parameter_shapes`.
        height: of the picture, `MINIMUM_SIDE` pixels or more.
        width: of the picture, the same.

    Returns:
        The serialized ModelProto.
    """
    return _BandedBuilder(config, weights, height, width).build(float_output=False)


class _BandedBuilder(GraphBuilder):
    """Puts the layers together for one size."""

    def __init__(
        self,
        config: NetworkConfig,
        weights: Mapping[str, NDArray[np.float32]],
        height: int,
        width: int,
    ) -> None:
        super().__init__(config, weights, None, False, False)
        self.picture_sides = (1, height, width, 3)
        self.height = height
        self.n_bands = max(1, round(height * width / BAND_PIXELS))

    def convolve(self, name: str, features: str, stride: int = 1) -> str:
        """The encoder's second convolution in bands, the others as they are."""
        if name != "encoder.1":
            return super().convolve(name, features, stride)
        weight = self.weights[f"{name}.conv.weight"]
        side = weight.shape[-1]
        kernel = self.writer.constant(weight, f"{name}.conv.weight")
        parts = [
            self.writer.op("Conv", band, kernel, kernel_shape=(side, side), strides=(stride,) * 2)
            for band in self.bands(features, self.height, side, stride, side // 2)
        ]
        return self.norm(name, self.writer.op("Concat", *parts, axis=2))

    def draw(self, features: str, float_output: bool = False) -> str:
        """The last convolution in bands, each one rounded."""
        rows = STRIDE * -(-self.height // STRIDE)
        bands = self.bands(features, rows, KERNEL_OUTER + 1, 2, KERNEL_OUTER // 2)
        parts = [self.interleave(self.rounded(self.last_convolution(band))) for band in bands]
        return self.writer.op("Concat", *parts, axis=1)

    def bands(
        self, features: str, rows: int, kernel: int, stride: int, padding: int
    ) -> Iterator[str]:
        """Cut out the rows that each band of a convolution reads, padded by reflection.

        Args:
            features: shape (1, C, rows, W).
            rows: their height.
            kernel: height of the convolution's kernel.
            stride: of the convolution.
            padding: rows and columns to pad on every side of the whole.
        """
        n_out = (rows + 2 * padding - kernel) // stride + 1
        # A band at the picture's edge must hold the rows that its padding reflects.
        n_bands = max(1, min(self.n_bands, n_out // (2 * kernel)))
        cuts = [round(n_out * i / n_bands) for i in range(n_bands + 1)]
        for first, last in pairwise(cuts):
            above = padding - first * stride  # rows to add; less than 0: to leave out
            below = (last - 1) * stride - padding + kernel - rows
            pads = np.array([0, 0, above, padding, 0, 0, below, padding])
            yield self.writer.op("Pad", features, self.writer.constant(pads), mode="reflect")
