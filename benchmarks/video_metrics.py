"""Clips whose motion is known, and what is measured on stylized ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

FIRST = 8
"""The first frame that is measured: steadying needs some to settle."""

PAN_STEP = (1.37, 0.61)
"""Pixels across and down that the pan moves in a frame."""

NOISE = 3.0
"""Standard deviation of the still clip's noise, in levels."""


@dataclass(eq=False)
class Clip:
    """Frames, and where each pixel of a frame was some frames before.

    Attributes:
        name: of the clip.
        frames: RGB, shape (H, W, 3), uint8.
        step: exact motion in a frame, or None where it is estimated.
    """

    name: str
    frames: list[Pixels]
    step: tuple[float, float] | None = None
    _known: dict[tuple[int, int], tuple[Floats, NDArray[np.bool_]]] = field(default_factory=dict)

    def places(self, index: int, back: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Return where each pixel of a frame was `back` frames before, and where that is known."""
        key = (0, back) if self.step else (index, back)
        if key not in self._known:
            self._known[key] = self._find(index, back)
        return self._known[key]

    def _find(self, index: int, back: int) -> tuple[Floats, NDArray[np.bool_]]:
        height, width = self.frames[0].shape[:2]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        if self.step is not None:
            places = np.dstack([x + self.step[0] * back, y + self.step[1] * back])
            known = np.ones((height, width), bool)
        else:
            now, before = (
                cv2.cvtColor(self.frames[i], cv2.COLOR_RGB2GRAY) for i in (index, index - back)
            )
            estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            flow = estimator.calc(now, before, None)
            forward = estimator.calc(before, now, None)
            places = np.dstack([x, y]) + flow
            astray = flow + cv2.remap(forward, places, None, cv2.INTER_LINEAR)
            known = np.linalg.norm(astray, axis=2) < 0.7
        across, down = places[..., 0], places[..., 1]
        known &= (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)
        return places.astype(np.float32), known


def make_pan(photo: Path, count: int, height: int = 320, width: int = 512) -> Clip:
    """Move a window over a photo by parts of a pixel."""
    large = _enlarged(photo)
    frames = [_window(large, 5 + PAN_STEP[0] * t, 8 + PAN_STEP[1] * t, height, width)
              for t in range(count)]  # fmt: skip
    return Clip(
        "pan", [np.clip(np.rint(frame), 0, 255).astype(np.uint8) for frame in frames], PAN_STEP
    )


def make_still(photo: Path, count: int, height: int = 320, width: int = 512) -> Clip:
    """Show a photo that stands still, under noise that does not."""
    random = np.random.default_rng(0)
    still = _window(_enlarged(photo), 5, 8, height, width)
    frames = []
    for _ in range(count):
        noisy = still + random.normal(0, NOISE, still.shape)
        frames.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return Clip("still", frames, (0.0, 0.0))


def read_frames(path: Path, count: int, size: int, skip: int = 0) -> Clip:
    """Read a clip at a long side of `size` pixels."""
    frames: list[Pixels] = []
    with av.open(str(path)) as source:
        for index, frame in enumerate(source.decode(video=0)):
            if index >= skip + count:
                break
            if index >= skip:
                height = round(frame.height * size / frame.width)
                pixels = frame.to_ndarray(format="rgb24")
                frames.append(cv2.resize(pixels, (size, height), interpolation=cv2.INTER_AREA))
    return Clip(path.stem, frames)


def _enlarged(photo: Path) -> Floats:
    with Image.open(photo) as image:
        rgb = image.convert("RGB")
        rgb = rgb.resize((640, round(640 * rgb.height / rgb.width)), Image.Resampling.LANCZOS)
        return np.asarray(rgb).astype(np.float32)


def _window(picture: Floats, across: float, down: float, height: int, width: int) -> Floats:
    matrix = np.array([[1, 0, across], [0, 1, down]], np.float32)
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_REFLECT
    return cv2.warpAffine(picture, matrix, (width, height), flags=flags, borderMode=border)


def warping_error(clip: Clip, pictures: Sequence[Pixels], back: int) -> float:
    """Return the mean absolute difference, in levels, from `back` frames before, after warping."""
    errors = []
    for index in range(max(FIRST, back), len(pictures)):
        places, known = clip.places(index, back)
        before = cv2.remap(
            pictures[index - back].astype(np.float32), places, None, cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        errors.append(np.abs(pictures[index] - before).mean(axis=2)[known].mean())
    return float(np.mean(errors))


def sharpness(pictures: Sequence[Pixels]) -> float:
    """Return the mean absolute Laplacian of luma, in levels."""
    values = [
        np.abs(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F)).mean()
        for picture in pictures[FIRST:]
    ]
    return float(np.mean(values))


def specks(pictures: Sequence[Pixels], reference: Sequence[Pixels]) -> float:
    """Return how many times as many outliers the last picture has as its reference.

    An outlier differs from the median around it by more than 99.8 % of the reference's pixels do.
    """

    def excess(picture: Pixels) -> NDArray[np.int64]:
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return np.abs(gray.astype(int) - cv2.medianBlur(gray, 5))

    limit = np.quantile(excess(reference[-1]), 0.998)
    return float((excess(pictures[-1]) > limit).mean() / 0.002)


def slice_over_time(pictures: Sequence[Pixels], height: int = 2) -> Pixels:
    """Return the middle row of every frame, one below the other; what is still is a line down."""
    middle = pictures[0].shape[0] // 2
    return np.concatenate(
        [np.repeat(picture[middle : middle + 1], height, 0) for picture in pictures]
    )
