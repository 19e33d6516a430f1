"""Animated GIF: one palette for the whole clip and an ordered dither, so that nothing flickers.

A palette for each frame, or a dither that spreads errors, would undo the steadying: the same area
would get other dots in every frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fast_style.video.encoding import Encoding

if TYPE_CHECKING:
    from av.packet import Packet as _Packet

    Packet = _Packet[Any]

__all__ = ["encode_gif"]

Pixels = NDArray[np.uint8]

_TICK = Fraction(1, 100)

_SAMPLES = 100_000  # pixels of the whole clip that the palette is made from
_STEPS = 64  # of each channel, for which the nearest colour is looked up
_DITHER_LEVELS = 20.0
_TRANSPARENT = 255  # index of the palette

_BAYER = np.array(
    [
        [0, 32, 8, 40, 2, 34, 10, 42],
        [48, 16, 56, 24, 50, 18, 58, 26],
        [12, 44, 4, 36, 14, 46, 6, 38],
        [60, 28, 52, 20, 62, 30, 54, 22],
        [3, 35, 11, 43, 1, 33, 9, 41],
        [51, 19, 59, 27, 49, 17, 57, 25],
        [15, 47, 7, 39, 13, 45, 5, 37],
        [63, 31, 55, 23, 61, 29, 53, 21],
    ],
    np.float32,
)


def encode_gif(
    stream: Any,
    encoding: Encoding,
    frames: Callable[[], Iterator[av.VideoFrame]],
    count: int,
    offset: int,
) -> Iterator[Packet]:
    """Encode frames, in two passes: one for the palette, one to write them in it.

    Args:
        stream: of the output.
        encoding: of the frames.
        frames: starts a pass over the frames.
        count: how many frames there are.
        offset: the tick that becomes 0.
    """
    stream.codec_context.time_base = stream.time_base = _TICK
    palette = _choose_palette(frames(), count)
    nearest = _nearest_colors(palette)
    argb = np.zeros((256, 4), np.uint8)
    argb[: len(palette), 1:] = palette
    argb[: len(palette), 0] = 255
    dither = (_BAYER / 64 - 0.5) * _DITHER_LEVELS
    last = -1
    for frame in frames():
        rgba: Any = frame.to_ndarray(format="rgba")
        height, width = rgba.shape[:2]
        pattern = np.tile(dither, (-(-height // 8), -(-width // 8)))[:height, :width, None]
        dithered = np.clip(rgba[..., :3] + pattern, 0, 255).astype(np.uint8) >> 2
        indices = nearest[dithered[..., 0], dithered[..., 1], dithered[..., 2]]
        if encoding.alpha:
            indices[rgba[..., 3] < 128] = _TRANSPARENT
        mapped = av.VideoFrame.from_ndarray((indices, argb), format="pal8")  # type: ignore[arg-type]
        # Hundredths of a second; no two frames in the same.
        last = max(last + 1, round(((frame.pts or 0) - offset) * encoding.time_base / _TICK))
        mapped.pts, mapped.time_base = last, _TICK
        mapped.duration = max(1, round(frame.duration * encoding.time_base / _TICK))
        yield from stream.encode(mapped)
    yield from stream.encode(None)


def _choose_palette(frames: Iterator[av.VideoFrame], count: int) -> Pixels:
    """Choose 255 colours for pixels from all frames, by median cut; returns shape (n, 3)."""
    random = np.random.default_rng(0)
    each = max(64, _SAMPLES // max(1, count))
    samples = []
    for frame in frames:
        rgb: Any = frame.to_ndarray(format="rgb24")
        pixels = rgb.reshape(-1, 3)
        samples.append(pixels[random.integers(0, len(pixels), min(each, len(pixels)))])
    mosaic = np.concatenate(samples)[None]
    image = Image.fromarray(mosaic).quantize(255, Image.Quantize.MEDIANCUT)
    return np.array(image.getpalette()[: 255 * 3], np.uint8).reshape(-1, 3)  # type: ignore[index]


def _nearest_colors(palette: Pixels) -> Pixels:
    """Return the index of the nearest colour, shape (64, 64, 64), by red, green and blue over 4."""
    values = (np.arange(_STEPS, dtype=np.float32) + 0.5) * (256 / _STEPS)
    colors = palette.astype(np.float32)
    nearest = np.empty((_STEPS, _STEPS, _STEPS), np.uint8)
    green, blue = np.meshgrid(values, values, indexing="ij")
    for index, red in enumerate(values):
        points = np.stack([np.full(green.size, red, np.float32), green.ravel(), blue.ravel()])
        # |p - c|^2 without |p|^2, which is the same for all colours.
        distance = (colors**2).sum(axis=1)[:, None] - 2 * colors @ points
        nearest[index] = distance.argmin(axis=0).reshape(_STEPS, _STEPS)
    return nearest
