"""Resampling in strips of rows, which gives the very picture that the whole would give.

Pillow resamples strips too, but knows their place in single precision only, which rounds otherwise
than the whole picture. So the rows are Pillow's, each on its own, and the columns are done here,
with weights that are whole multiples of 2^-15: with bytes they give sums that float32 holds
exactly, in whatever order and company they are added.

Pure arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = [
    "BICUBIC",
    "BILINEAR",
    "HAMMING",
    "Kernel",
    "Taps",
    "resized",
    "strips",
    "to_bytes",
    "widened",
]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_REDUCED_ROWS = 32  # of a strip


@dataclass(frozen=True, slots=True)
class Kernel:
    """A resampling filter, Pillow's own for the rows and the same function for the columns."""

    pillow: Image.Resampling
    support: float
    weight: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x = np.abs(x)  # Keys 1981, a = -1/2
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _hamming(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0.0)


BILINEAR = Kernel(Image.Resampling.BILINEAR, 1.0, lambda x: np.maximum(0.0, 1 - np.abs(x)))
BICUBIC = Kernel(Image.Resampling.BICUBIC, 2.0, _cubic)
# For reductions: as sharp as bicubic and never negative, so no edge gets a halo to be painted.
HAMMING = Kernel(Image.Resampling.HAMMING, 1.0, _hamming)


def resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize a picture in strips, smaller with an area filter and larger with a bicubic one.

    Args:
        pixels: RGB, shape (H, W, 3), uint8.
        height: height wanted, in pixels, 1 or more.
        width: width wanted, in pixels, 1 or more.

    Returns:
        Shape (height, width, 3), uint8.
    """
    kernel = HAMMING if height * width < pixels.shape[0] * pixels.shape[1] else BICUBIC
    taps = Taps.plan(pixels.shape[0], height, kernel)
    result = np.empty((height, width, 3), np.uint8)
    for first, last in strips(height, _REDUCED_ROWS):
        start, stop = taps.window(first, last)
        source = pixels[start:stop].reshape(stop - start, -1).astype(np.float32)
        rows = to_bytes(taps.matrix(first, last) @ source).reshape(last - first, -1, 3)
        result[first:last] = widened(rows, width, kernel)
    return result


@dataclass(frozen=True, slots=True)
class Taps:
    """The weights of a resampling along the columns.

    Attributes:
        first: the first row that each new row is made from, shape (n,).
        weights: of the rows from there on, shape (n, k), each summing up to 1.
        rows: how many rows there are to take from.
    """

    first: npt.NDArray[np.intp]
    weights: Floats
    rows: int

    @classmethod
    def plan(cls, rows: int, new_rows: int, kernel: Kernel) -> Taps:
        """Find the weights that bring `rows` rows to `new_rows`."""
        scale = rows / new_rows
        stretch = max(scale, 1.0)
        centres = (np.arange(new_rows) + 0.5) * scale
        reach = kernel.support * stretch
        first = np.maximum(np.floor(centres - reach + 0.5), 0).astype(np.intp)
        index = first[:, None] + np.arange(2 * int(np.ceil(reach)) + 1)
        weights = kernel.weight((index + 0.5 - centres[:, None]) / stretch)
        weights[index >= rows] = 0
        weights = np.rint(weights / weights.sum(axis=1, keepdims=True) * 2**15)
        largest = weights.argmax(axis=1)
        weights[np.arange(new_rows), largest] += 2**15 - weights.sum(axis=1)
        return cls(first, (weights / 2**15).astype(np.float32), rows)

    def window(self, first: int, last: int) -> tuple[int, int]:
        """Tell which rows, [start, stop), the new rows [first, last) are made from."""
        stop = int(self.first[last - 1]) + self.weights.shape[1]
        return int(self.first[first]), min(stop, self.rows)

    def matrix(self, first: int, last: int) -> Floats:
        """Give the matrix from the rows of the window to the new rows."""
        start, stop = self.window(first, last)
        length = self.weights.shape[1]
        matrix = np.zeros((last - first, stop - start + length), np.float32)
        for row in range(first, last):
            at = int(self.first[row]) - start
            matrix[row - first, at : at + length] = self.weights[row]
        return matrix[:, : stop - start]

    def applied(self, layers: Pixels, origin: int, first: int, last: int) -> Floats:
        """Make the new rows [first, last) of layers, shape (n, k, w), that begin at `origin`."""
        start, stop = self.window(first, last)
        rows = layers[:, start - origin : stop - origin].astype(np.float32)
        made: Floats = np.matmul(self.matrix(first, last), rows)
        return made


def widened(rows: Pixels, width: int, kernel: Kernel) -> Pixels:
    """Resample along the rows, shape (n, w) or (n, w, 3), each on its own."""
    return np.asarray(Image.fromarray(rows).resize((width, len(rows)), kernel.pillow))


def to_bytes(values: Floats) -> Pixels:
    """Round to whole numbers from 0 to 255."""
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def strips(rows: int, each: int) -> Iterator[tuple[int, int]]:
    """Cut rows into strips, [first, last), of `each` rows or, the last, fewer."""
    for first in range(0, rows, each):
        yield first, min(rows, first + each)
