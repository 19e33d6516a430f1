"""The ONNX graph of a network for large pictures of one size, which takes less memory.

Most of the memory goes to features at full resolution, and padding makes a second copy of them. In
this graph, the convolutions that read features at full resolution work in bands of rows, each
padded on its own, and the bands of the picture are rounded before they are joined. Norms still see
the whole picture, so the result is the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fast_style.engines.onnx.graph import GraphBuilder
from fast_style.models.config import (
    ConvolutionLayer,
    Layer,
    NetworkConfig,
    NormLayer,
    OutputLayer,
    input_sides,
)

BAND_PIXELS = 1 << 20
"""Approximate number of pixels of a band: few enough that the copy of one band hardly counts."""


def build_banded_graph(
    config: NetworkConfig, weights: Mapping[str, NDArray[np.float32]], height: int, width: int
) -> bytes:
    """Build the ONNX model of a network for pictures of one size.

    Its input `image` is uint8 RGB of shape (1, height, width, 3), its output `stylized` the same.

    Args:
        config: the network.
        weights: float32 arrays by the names of `parameter_shapes`.
        height: of the picture, `minimum_side(config)` pixels or more.
        width: of the picture, the same.

    Returns:
        The serialized ModelProto.
    """
    return _BandedBuilder(config, weights, height, width).build(float_output=False)


class _BandedBuilder(GraphBuilder):
    """Writes convolutions at full resolution in bands."""

    def __init__(
        self,
        config: NetworkConfig,
        weights: Mapping[str, NDArray[np.float32]],
        height: int,
        width: int,
    ) -> None:
        super().__init__(config, weights)
        self.picture_sides = (1, height, width, 3)
        self.n_bands = max(1, round(height * width / BAND_PIXELS))
        sides = zip(self.layers, input_sides(config, height), strict=True)
        self.rows = {
            layer.name: n for layer, n in sides if isinstance(layer, ConvolutionLayer | OutputLayer)
        }
        self.height = height

    def convolve(self, layer: ConvolutionLayer, norm: NormLayer | None, features: str) -> str:
        """Write a convolution in bands if it reads features at full resolution."""
        is_picture = layer is self.layers[0]  # 3 channels: small beside the features
        rows, padding = self.rows[layer.name], layer.kernel // 2
        if is_picture or rows < self.height:
            return super().convolve(layer, norm, features)
        parts = [
            self.convolve_padded(layer, None, band)
            for band in self.bands(features, rows, layer.kernel, layer.stride, padding)
        ]
        joined = self.writer.op("Concat", *parts, axis=2)
        return joined if norm is None else self.normalize(norm, joined)

    def write_output(self, layers: Sequence[Layer], features: str, float_output: bool) -> str:
        """Write the last convolution and what follows it in bands, each band rounded."""
        output, *after = layers
        assert isinstance(output, OutputLayer)
        assert not float_output
        rows, padding = self.rows[output.name], output.kernel // 2
        parts = []
        for band in self.bands(features, rows, output.kernel + 1, 2, padding):
            cells = self.write_layers(after, self.convolve_cells(output, band))
            parts.append(self.interleave(self.round(cells)))
        return self.writer.op("Concat", *parts, axis=1)

    def bands(
        self, features: str, rows: int, kernel: int, stride: int, padding: int
    ) -> Iterator[str]:
        """Write the rows that each band of a convolution reads, padded by reflection.

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
            above = padding - first * stride  # rows to add; rows to leave out if negative
            below = (last - 1) * stride - padding + kernel - rows
            pads = np.array([0, 0, above, padding, 0, 0, below, padding])
            yield self.writer.op("Pad", features, self.writer.constant(pads), mode="reflect")
