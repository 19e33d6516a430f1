"""Resize pictures: by Pillow, or in strips where memory must stay bounded.

`resize_in_strips` takes a few megabytes beside the two pictures, and every way of cutting gives the
same result to the last bit. Pillow cannot promise that: it knows where a strip lies in single
precision only, and rounds differently from the whole picture. Hence the vertical pass is a product
with a matrix of weights that are multiples of 2^-15, for which float32 holds all sums over bytes
exactly, in any order; the horizontal pass is Pillow's, row by row. numpy's BLAS would compute a
large product with all cores, and where other programs are busy on them its threads wait for each
other: a hundred times as long for a photo. Hence products are computed in blocks so small that BLAS
takes the calling thread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fast_style.errors import UsageError

__all__ = [
    "BICUBIC",
    "BILINEAR",
    "HAMMING",
    "Filter",
    "VerticalWeights",
    "fit_long_side",
    "resize_in_strips",
    "resize_long_side",
    "resize_premultiplied",
    "resize_rows",
    "resize_to",
    "round_to_bytes",
    "split_rows",
]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_STRIP_ROWS = 32  # of the result: more would make the matrix of weights larger and emptier
_STRIP_VALUES = 1 << 22  # of the source, which a strip holds as float32
_BLOCK_ROWS = 8  # of a product: more would make the matrix emptier
_BLOCK_PRODUCTS = 1 << 18  # multiplications up to which OpenBLAS computes on the calling thread


@dataclass(frozen=True, slots=True)
class Filter:
    """A resampling filter.

    Attributes:
        pillow: Pillow's name of it, for the horizontal pass.
        radius: Half its width, in pixels of the larger of the two pictures' grids.
        weight: The same filter as a function of the distance, for the vertical pass.
    """

    pillow: Image.Resampling
    radius: float
    weight: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def _weigh_cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x = np.abs(x)  # Keys 1981, a = -1/2
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _weigh_hamming(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0.0)


BILINEAR = Filter(Image.Resampling.BILINEAR, 1.0, lambda x: np.maximum(0.0, 1 - np.abs(x)))
BICUBIC = Filter(Image.Resampling.BICUBIC, 2.0, _weigh_cubic)
# As sharp as bicubic and never negative: what is made smaller for the network gets no halos at its
# edges, which the network would paint.
HAMMING = Filter(Image.Resampling.HAMMING, 1.0, _weigh_hamming)


def resize_to(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize a picture to an exact size, with the Lanczos filter.

    Large reductions go through a box reduction to three times the target first, which is several
    times faster and differs by a rounding error from the full filter.

    Args:
        pixels: Shape (H, W, 3) or (H, W), uint8.
        height: Height wanted, in pixels.
        width: Width wanted, in pixels.

    Returns:
        Shape (height, width, 3) or (height, width), uint8; the array itself if it has that size.

    Raises:
        UsageError: If height or width is below 1, or the array is of another type or shape.
    """
    _check(pixels, height, width)
    if pixels.shape[:2] == (height, width):
        return pixels
    resized = Image.fromarray(pixels).resize(
        (width, height), Image.Resampling.LANCZOS, reducing_gap=3.0
    )
    return np.asarray(resized).copy()  # an array of its own: Pillow's is read-only


def resize_in_strips(pixels: Pixels, height: int, width: int, filter: Filter) -> Pixels:
    """Resize a picture to an exact size in strips of rows, in bounded memory.

    Args:
        pixels: Shape (H, W, 3) or (H, W), uint8.
        height: Height wanted, in pixels.
        width: Width wanted, in pixels.
        filter: The resampling filter.

    Returns:
        Shape (height, width, 3) or (height, width), uint8; the array itself if it has that size.

    Raises:
        UsageError: If height or width is below 1, or the array is of another type or shape.
    """
    _check(pixels, height, width)
    if pixels.shape[:2] == (height, width):
        return pixels
    weights = VerticalWeights.compute(len(pixels), height, filter)
    result = np.empty((height, width, *pixels.shape[2:]), np.uint8)
    for first, last in split_rows(height, _strip_rows(pixels, weights)):
        start, stop = weights.source_rows(first, last)
        source = pixels[start:stop].reshape(stop - start, -1).astype(np.float32)
        rows = round_to_bytes(weights.multiply(source, start, first, last))
        result[first:last] = resize_rows(
            rows.reshape(last - first, *pixels.shape[1:]), width, filter
        )
    return result


def resize_long_side(pixels: Pixels, long_side: int, *, enlarge: bool = False) -> Pixels:
    """Resize a picture so that its longer side has a given length, keeping its proportions.

    Args:
        pixels: Shape (H, W, 3) or (H, W), uint8.
        long_side: Length wanted of the longer side, in pixels.
        enlarge: Whether a smaller picture is enlarged; if not, it is returned as it is.

    Returns:
        Shape (H', W', 3) or (H', W') with max(H', W') == long_side, uint8; no side below 1.

    Raises:
        UsageError: If long_side is below 1, or the array is of another type or shape.
    """
    height, width = pixels.shape[:2]
    return resize_to(pixels, *fit_long_side(height, width, long_side, enlarge=enlarge))


def fit_long_side(
    height: int, width: int, long_side: int, *, enlarge: bool = False
) -> tuple[int, int]:
    """Return the height and width that `resize_long_side` gives a picture.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        long_side: Length wanted of the longer side, in pixels.
        enlarge: Whether a smaller picture is enlarged.

    Raises:
        UsageError: If long_side is below 1.
    """
    if long_side < 1:
        raise UsageError(f"the long side must be at least 1 pixel, and {long_side} was given")
    longest = max(height, width)
    if longest == 0 or (longest < long_side and not enlarge):
        return height, width
    scale = long_side / longest
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_premultiplied(
    pixels: Pixels, alpha: Pixels, height: int, width: int
) -> tuple[Pixels, Pixels]:
    """Resize a picture with transparency, such that colours count by their opacity.

    Args:
        pixels: RGB, shape (H, W, 3), uint8.
        alpha: Opacity, shape (H, W), uint8, not premultiplied.
        height: Height wanted, in pixels.
        width: Width wanted, in pixels.

    Returns:
        RGB, shape (height, width, 3), and alpha, shape (height, width), uint8, not premultiplied;
        colours where alpha is 0 do not matter.

    Raises:
        UsageError: If height or width is below 1.
    """
    _check(pixels, height, width)
    # In floating point: in bytes, colours of low opacity would be rounded coarsely, and an opacity
    # that overshoots at an edge would be clipped without its colour.
    opacity = _resize_floats(alpha, height, width)
    new_alpha = round_to_bytes(opacity)
    divisor = np.where(new_alpha > 0, opacity, np.float32(1)).astype(np.float32)
    result = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        weighted = _resize_floats(pixels[..., channel] * alpha.astype(np.float32), height, width)
        weighted[new_alpha == 0] = 0
        result[..., channel] = round_to_bytes(weighted / divisor)
    return result, new_alpha


def _resize_floats(plane: npt.NDArray[Any], height: int, width: int) -> Floats:
    resized = Image.fromarray(plane.astype(np.float32)).resize(
        (width, height), Image.Resampling.LANCZOS, reducing_gap=3.0
    )
    return np.asarray(resized).copy()


@dataclass(frozen=True, slots=True)
class VerticalWeights:
    """The weights by which rows of one picture make the rows of another.

    Attributes:
        first: The first source row of each new row, shape (n,).
        weights: Weights of k source rows from there on, shape (n, k); each row sums to 1.
        rows: Number of source rows.
    """

    first: npt.NDArray[np.intp]
    weights: Floats
    rows: int

    @classmethod
    def compute(cls, rows: int, new_rows: int, filter: Filter) -> VerticalWeights:
        """Compute the weights that resample `rows` rows to `new_rows`."""
        scale = rows / new_rows
        stretch = max(scale, 1.0)
        centres = (np.arange(new_rows) + 0.5) * scale
        reach = filter.radius * stretch
        first = np.maximum(np.floor(centres - reach + 0.5), 0).astype(np.intp)
        index = first[:, None] + np.arange(2 * int(np.ceil(reach)) + 1)
        weights = filter.weight((index + 0.5 - centres[:, None]) / stretch)
        weights[index >= rows] = 0
        weights = np.rint(weights / weights.sum(axis=1, keepdims=True) * 2**15)
        largest = weights.argmax(axis=1)
        weights[np.arange(new_rows), largest] += 2**15 - weights.sum(axis=1)
        return cls(first, (weights / 2**15).astype(np.float32), rows)

    def source_rows(self, first: int, last: int) -> tuple[int, int]:
        """Return the range of source rows, [start, stop), that the new rows [first, last) need."""
        stop = int(self.first[last - 1]) + self.weights.shape[1]
        return int(self.first[first]), min(stop, self.rows)

    def as_matrix(self, first: int, last: int) -> Floats:
        """Return the matrix that makes the new rows [first, last) of their source rows."""
        start, stop = self.source_rows(first, last)
        length = self.weights.shape[1]
        matrix = np.zeros((last - first, stop - start + length), np.float32)
        for row in range(first, last):
            offset = int(self.first[row]) - start
            matrix[row - first, offset : offset + length] = self.weights[row]
        return matrix[:, : stop - start]

    def apply(self, planes: Pixels, origin: int, first: int, last: int) -> Floats:
        """Compute the new rows [first, last) of several planes.

        Args:
            planes: Source rows from row `origin` on, shape (n, k, w).
            origin: Number of the first of them.
            first: The first new row.
            last: The new row to stop before.

        Returns:
            Shape (n, last - first, w), not rounded.
        """
        start, stop = self.source_rows(first, last)
        rows = planes[:, start - origin : stop - origin].astype(np.float32)
        return self.multiply(rows, start, first, last)

    def multiply(self, source: Floats, origin: int, first: int, last: int) -> Floats:
        """Compute the new rows [first, last) on the calling thread.

        Args:
            source: Source rows from row `origin` on, shape (..., k, w).
            origin: Number of the first of them.
            first: The first new row.
            last: The new row to stop before.

        Returns:
            Shape (..., last - first, w), not rounded.
        """
        width = source.shape[-1]
        result = np.empty((*source.shape[:-2], last - first, width), np.float32)
        for top, bottom in split_rows(last - first, _BLOCK_ROWS):
            matrix = self.as_matrix(first + top, first + bottom)
            start = int(self.first[first + top]) - origin
            rows = source[..., start : start + matrix.shape[1], :]
            for left, right in split_rows(width, max(1, _BLOCK_PRODUCTS // matrix.size)):
                np.matmul(matrix, rows[..., left:right], out=result[..., top:bottom, left:right])
        return result


def resize_rows(rows: Pixels, width: int, filter: Filter) -> Pixels:
    """Resample each row, shape (n, w) or (n, w, 3), to a width in pixels."""
    return np.asarray(Image.fromarray(rows).resize((width, len(rows)), filter.pillow))


def round_to_bytes(values: Floats) -> Pixels:
    """Round to whole numbers from 0 to 255."""
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def split_rows(rows: int, each: int) -> Iterator[tuple[int, int]]:
    """Split rows into ranges, [first, last), of `each` rows; the last range may be shorter."""
    for first in range(0, rows, each):
        yield first, min(rows, first + each)


def _strip_rows(pixels: Pixels, weights: VerticalWeights) -> int:
    """Return how many rows of the result to make at a time, so that memory stays bounded."""
    source_rows = _STRIP_VALUES // int(np.prod(pixels.shape[1:])) - weights.weights.shape[1]
    scale = len(pixels) / len(weights.first)
    return min(_STRIP_ROWS, max(1, int(source_rows / scale)))


def _check(pixels: Pixels, height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise UsageError(f"a picture needs at least 1x1 pixels, and {width}x{height} was asked for")
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise UsageError(
            "only uint8 arrays of shape (height, width, 3) or (height, width) can be resized, and "
            f"an array of {pixels.dtype} of shape {pixels.shape} was given"
        )
