"""What every source of frames returns, whatever kind of file it reads."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fast_style.video.tone_mapping import HLG, PQ

__all__ = ["Colors", "Position", "Source", "SourceFrame", "VideoInfo", "checksum"]

Pixels = NDArray[np.uint8]

BT709, UNSPECIFIED, BT601, BT2020 = 1, 2, 6, 9
LIMITED, FULL = 1, 2


@dataclass(frozen=True, slots=True)
class Colors:
    """How a video codes its colours; the numbers are those of ITU-T H.273, 2 being unspecified.

    Attributes:
        matrix: from RGB to luma and chroma.
        range: 1 limited (16 to 235), 2 full, 0 unspecified.
        primaries: which red, green and blue.
        transfer: the curve.
    """

    matrix: int = BT709
    range: int = LIMITED
    primaries: int = BT709
    transfer: int = BT709

    @property
    def is_hdr(self) -> bool:
        """Whether the range of brightness is that of PQ or HLG."""
        return self.transfer in (PQ, HLG)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video before its frames are read.

    Attributes:
        name: what to call it in messages.
        width: of the frames that are returned, upright and resized, in pixels.
        height: likewise.
        time_base: length of a tick, in seconds.
        rate: average frames per second.
        count: number of frames as far as the file tells, or None.
        aspect: width of a pixel by its height.
        colors: of the frames that are written; never HDR.
        has_alpha: whether the frames have alpha.
        plays: how often an animation is played; 0 stands for ever.
    """

    name: str
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    count: int | None = None
    aspect: Fraction = Fraction(1)
    colors: Colors = field(default_factory=Colors)
    has_alpha: bool = False
    plays: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrame:
    """One frame.

    Attributes:
        pixels: RGB, shape (H, W, 3), uint8, upright.
        pts: when it is shown, in ticks of the source.
        duration: for how long, in ticks; 0 where that is not known.
        alpha: opacity, shape (H, W), uint8, or None.
    """

    pixels: Pixels
    pts: int
    duration: int = 0
    alpha: Pixels | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The last frame that was written, to continue after it.

    Attributes:
        index: how many frames came before it.
        pts: its time, in ticks.
        checksum: of its pixels, see `checksum`.
    """

    index: int
    pts: int
    checksum: int


class Source(Protocol):
    """A video that is read from its start to its end, once.

    Attributes:
        info: what is known before the frames are read.
        notes: what the user should be told.
        damage: why the frames ended before the video did, in words; None where they did not.
        origin: the tick of the start that was asked for.
    """

    info: VideoInfo
    notes: list[str]
    damage: str | None
    origin: int

    def frames(self, after: Position | None = None) -> Iterator[SourceFrame]:
        """Return the frames in order, those after a position if one is given."""

    def close(self) -> None:
        """Close what is open."""


def checksum(frame: SourceFrame) -> int:
    """Return a number that tells a frame's pixels from those of others."""
    return zlib.crc32(frame.pixels.tobytes())
