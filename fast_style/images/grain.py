"""Film grain: a little noise on the network's input, so that it puts strokes on flat areas.

A convolutional network maps a flat area, such as an overexposed sky, to a flat area, in which its
filters find no structure. Noise on the input, in training and afterwards, gives it some. It is
added to the network's input only, not to the photo that the content loss compares with. The noise
is one fixed pattern for each seed, so that the same photo always gives the same result.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import UsageError
from fast_style.options import GRAIN_LIMIT

_SIDE = 256


def add_grain(
    pixels: NDArray[np.uint8], amplitude: int, offset: tuple[int, int] = (0, 0), seed: int = 0
) -> NDArray[np.uint8]:
    """Add noise, uniformly distributed over [-amplitude, amplitude], to a picture.

    Args:
        pixels: RGB, shape (H, W, 3), values 0-255; not changed.
        amplitude: in levels, 0 to `GRAIN_LIMIT`; with 0 the array itself is returned.
        offset: position in the repeated pattern, as rows down and columns across.
        seed: of the pattern.

    Returns:
        A picture of the same shape and type.

    Raises:
        UsageError: the amplitude is out of range.
    """
    if type(amplitude) is not int or not 0 <= amplitude <= GRAIN_LIMIT:
        raise UsageError(
            f"grain is {amplitude!r}; expected a whole number of levels from 0 to {GRAIN_LIMIT}"
        )
    if amplitude == 0:
        return pixels
    height, width = pixels.shape[:2]
    tiles = 1, -(-width // _SIDE), 1
    up, down = (
        np.tile(np.roll(part, (-offset[0], -offset[1]), axis=(0, 1)), tiles)[:, :width]
        for part in _pattern(amplitude, seed)
    )
    room = 255 - up
    grainy = np.empty_like(pixels)
    for top in range(0, height, _SIDE):  # bands as high as the pattern, to save memory
        band, result = pixels[top : top + _SIDE], grainy[top : top + _SIDE]
        rows = slice(len(band))
        # Saturating addition and subtraction in bytes; wider types take several times as long.
        np.minimum(band, room[rows], out=result)
        result += up[rows]
        np.maximum(result, down[rows], out=result)
        result -= down[rows]
    return grainy


@lru_cache(maxsize=8)
def _pattern(amplitude: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return what the noise adds to each value and what it subtracts; one of the two is 0."""
    # A bit generator whose stream numpy guarantees not to change.
    rng = np.random.Generator(np.random.PCG64(seed))
    uniform = rng.random((_SIDE, _SIDE, 3))
    noise = np.floor(uniform * (2 * amplitude + 1)).astype(np.int16) - np.int16(amplitude)
    return noise.clip(0).astype(np.uint8), (-noise).clip(0).astype(np.uint8)
