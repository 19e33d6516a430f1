"""Motion between two frames: dense optical flow, how far it can be trusted, and cuts.

The flow is DIS optical flow (Kroeger, Timofte, Dai, Van Gool 2016, arXiv 1603.03590) in OpenCV's
FAST preset. Where a simpler motion explains the picture as well, that motion replaces it: first the
affine motion of the whole picture (a pan, a zoom), then no motion at all. Flow in flat or noisy
areas is noise itself, and warping along it would blur a picture that stands still.

Pure arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Motion", "estimate_motion", "to_gray", "warp"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

LONGEST_SIDE = 960
"""Longest side of the picture that the flow is computed on, in pixels; larger ones are halved."""

_EXPLAINED_LEVELS = 12.0  # of difference after warping, below which a pixel is explained
_LEAST_EXPLAINED = 0.35  # of the picture; less is a cut

_WINDOW = (9, 9)  # over which differences are averaged, at half resolution
_STILL_MARGIN, _AFFINE_MARGIN = (0.05, 0.3), (0.05, 0.1)
"""By how many levels, and by what share of the noise, a simpler motion may explain the picture less
well and still be preferred."""

_GRID = 16  # distance of the points that the affine motion is fitted to, in pixels
_INLIER_PIXELS = 0.5
_FEWEST_INLIERS = 0.3
_STILL_PIXELS = 0.1  # a motion of the whole picture that is smaller than this is none

_TOLERANCE, _TOLERANCE_OF_MOTION = 1.0, 0.05
"""How far forward and backward flow may disagree, in pixels and as a share of the motion."""

_FADE = (15, 15)  # pixels
_DIFFERENCE_LIMIT = 10.0  # levels after warping: trusted fully below, not at all above twice that


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Where each pixel of a frame was in the frame before.

    Attributes:
        flow: displacement to the place in the frame before, in pixels (across, down), float32,
            shape (h, w, 2); h and w are those of the gray pictures.
        trust: from 0 (new or hidden there) to 1, float32, shape (h, w).
        is_cut: whether the two frames belong to different shots; flow and trust mean nothing then.
    """

    flow: Floats
    trust: Floats
    is_cut: bool


def to_gray(pixels: Pixels) -> Pixels:
    """Return the gray picture that motion is estimated on.

    Args:
        pixels: RGB, shape (H, W, 3), uint8, values in [0, 255].

    Returns:
        Shape (h, w), uint8, reduced by a whole number so that no side exceeds `LONGEST_SIDE`.
    """
    height, width = pixels.shape[:2]
    by = -(-max(height, width) // LONGEST_SIDE)
    gray = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    if by > 1:
        gray = _resize(gray, max(1, height // by), max(1, width // by))
    return np.asarray(gray, np.uint8)


def estimate_motion(before: Pixels, now: Pixels) -> Motion:
    """Estimate the motion from one frame to the next.

    Args:
        before: the earlier frame, from `to_gray`, shape (h, w), uint8.
        now: the later frame, of the same shape and type.
    """
    height, width = now.shape
    if min(height, width) < 32:  # smaller than the patches that the flow is made of
        return _no_flow(before, now)
    # 1) Flow backward at full resolution, forward at half of it.
    half = max(16, height // 2), max(16, width // 2)
    before_half, now_half = _resize(before, *half), _resize(now, *half)
    flow = _dis().calc(now, before, None)
    forward = _dis().calc(before_half, now_half, None)
    scale = half[1] / width, half[0] / height
    small = _scaled(_resize(flow, *half), scale)

    # 2) Replace it by a simpler motion where that explains the picture as well.
    difference = _difference(before_half, now_half, small)
    if float((difference < _EXPLAINED_LEVELS).mean()) < _LEAST_EXPLAINED:
        return Motion(flow, np.zeros((height, width), np.float32), True)
    noise = float(np.median(difference))
    # In flat areas every motion explains the picture; that of the whole comes last and wins there.
    for candidate, (margin, margin_of_noise) in (
        (np.zeros_like(small), _STILL_MARGIN),
        (_affine_flow(now_half, flow, scale), _AFFINE_MARGIN),
    ):
        if candidate is None:
            continue
        differs = _difference(before_half, now_half, candidate)
        room = difference + np.float32(margin + margin_of_noise * noise) - differs
        share = np.clip(room / np.float32(0.1 + 0.15 * noise), 0, 1)
        difference += (differs - difference) * share
        full = _scaled(_resize(candidate, height, width), (1 / scale[0], 1 / scale[1]))
        _mix_into(flow, full, _resize(share, height, width))
        _mix_into(small, candidate, share)

    # 3) Trust it where the way back leads to the same place and the picture is the same.
    astray = warp(forward, small, cv2.INTER_LINEAR)
    astray += small
    back = (1 / scale[0], 1 / scale[1])
    error, moved = _length(_scaled(astray, back)), _length(_scaled(small, back))
    trust = 2 - error / (_TOLERANCE + _TOLERANCE_OF_MOTION * moved)
    # A flat area's flow may be arbitrary and yet right.
    trust = np.maximum(trust, 2 - difference / (_DIFFERENCE_LIMIT / 4))
    np.clip(trust, 0, 1, out=trust)
    trust *= np.clip(2 - difference / _DIFFERENCE_LIMIT, 0, 1)
    trust = cv2.blur(trust, (3, 3))
    trust = _resize(trust, height, width)
    outside = _is_outside(flow).astype(np.float32)
    # Faded towards what has just come in, which is painted anew and may be of another tone.
    trust *= np.clip(1 - 2 * cv2.blur(outside, _FADE), 0, 1)
    trust[outside > 0] = 0
    return Motion(flow, trust, False)


def warp(picture: NDArray[Any], flow: Floats, interpolation: int) -> Floats:
    """Fetch each pixel from where the flow says that it was.

    Args:
        picture: shape (H, W) or (H, W, C), uint8 or float32.
        flow: shape (H, W, 2), float32, in pixels (across, down).
        interpolation: OpenCV's constant, such as `cv2.INTER_CUBIC`.

    Returns:
        An array of the picture's shape and type; what lies outside repeats the nearest edge.
    """
    where = flow + _grid(*flow.shape[:2])
    result: Floats = cv2.remap(picture, where, None, interpolation, borderMode=cv2.BORDER_REPLICATE)
    return result


def _no_flow(before: Pixels, now: Pixels) -> Motion:
    """Return the motion of pictures that are too small for flow: none, trusted where they agree."""
    difference = cv2.absdiff(before, now).astype(np.float32)
    trust = np.clip(2 - difference / _DIFFERENCE_LIMIT, 0, 1).astype(np.float32)
    is_cut = float((difference < _EXPLAINED_LEVELS).mean()) < _LEAST_EXPLAINED
    return Motion(np.zeros((*now.shape, 2), np.float32), trust, is_cut)


def _difference(before: Pixels, now: Pixels, flow: Floats) -> Floats:
    """Return the mean absolute difference around each pixel after warping, in levels."""
    warped = warp(before, flow, cv2.INTER_LINEAR)
    result: Floats = cv2.blur(cv2.absdiff(now, warped).astype(np.float32), _WINDOW)
    return result


def _affine_flow(now: Pixels, flow: Floats, scale: tuple[float, float]) -> Floats | None:
    """Fit one affine motion to the whole picture; None where few pixels agree on any.

    Args:
        now: the later frame, reduced, shape (h, w).
        flow: from it, at full size, shape (H, W, 2).
        scale: w / W and h / H.

    Returns:
        The motion at the reduced size, shape (h, w, 2), in pixels of that.
    """
    height, width = now.shape
    across = cv2.Sobel(now, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(now, cv2.CV_32F, 0, 1)
    texture = cv2.blur(across * across + down * down, (5, 5))
    rows = np.arange(_GRID // 2, flow.shape[0], _GRID)
    columns = np.arange(_GRID // 2, flow.shape[1], _GRID)
    reduced = np.ix_(
        np.minimum((rows * scale[1]).astype(int), height - 1),
        np.minimum((columns * scale[0]).astype(int), width - 1),
    )
    textured = texture[reduced]
    known = textured >= np.quantile(textured, 0.6)  # flow is only known where there is texture
    where = np.stack(np.meshgrid(columns, rows), axis=2).astype(np.float32)[known]
    found, inliers = cv2.estimateAffine2D(
        where,
        where + flow[np.ix_(rows, columns)][known],
        method=cv2.RANSAC,
        ransacReprojThreshold=_INLIER_PIXELS,
        maxIters=100,
        confidence=0.99,
    )
    if found is None or inliers.mean() < _FEWEST_INLIERS:
        return None
    matrix = found.astype(np.float32) - np.eye(2, 3, dtype=np.float32)
    x = (np.arange(width, dtype=np.float32) + 0.5) / np.float32(scale[0]) - 0.5
    y = ((np.arange(height, dtype=np.float32) + 0.5) / np.float32(scale[1]) - 0.5)[:, None]
    planes = [matrix[axis, 0] * x + (matrix[axis, 1] * y + matrix[axis, 2]) for axis in (0, 1)]
    if max(float(np.abs(plane).max()) for plane in planes) < _STILL_PIXELS:
        return np.zeros((height, width, 2), np.float32)  # a camera at rest, seen through noise
    return _scaled(cv2.merge(planes), scale)


def _mix_into(flow: Floats, other: Floats, share: Floats) -> None:
    """Move flow towards another by a share, in place."""
    other = cv2.subtract(other, flow)
    flow += cv2.multiply(other, cv2.merge((share, share)))


def _scaled(flow: Floats, by: tuple[float, float]) -> Floats:
    """Return flow times a factor for each direction (numpy is slow over so short an axis)."""
    result: Floats = cv2.multiply(flow, (by[0], by[1], 0, 0))
    return result


def _is_outside(flow: Floats) -> NDArray[np.bool_]:
    """Return which pixels come from outside the frame before."""
    height, width = flow.shape[:2]
    margin = 0.02
    where = flow + _grid(height, width)
    limits = (width - 1 + margin, height - 1 + margin)
    inside = cv2.inRange(where, (-margin, -margin), limits)
    outside = cv2.bitwise_not(inside)
    # Interpolation reaches two pixels further. An edge that is carried along would smear inward.
    widened: NDArray[np.bool_] = cv2.dilate(outside, np.ones((5, 5), np.uint8)) > 0
    return widened


def _length(vectors: Floats) -> Floats:
    result: Floats = cv2.magnitude(
        np.ascontiguousarray(vectors[..., 0]), np.ascontiguousarray(vectors[..., 1])
    )
    return result


def _resize(picture: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    if picture.shape[:2] == (height, width):
        return picture
    smaller = height < picture.shape[0]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized: NDArray[Any] = cv2.resize(picture, (width, height), interpolation=interpolation)
    return resized


_grids: dict[tuple[int, int], Floats] = {}


def _grid(height: int, width: int) -> Floats:
    """Return each pixel's own place (across, down), shape (H, W, 2)."""
    grid = _grids.get((height, width))
    if grid is None:
        if len(_grids) > 8:
            _grids.clear()
        grid = np.empty((height, width, 2), np.float32)
        grid[..., 0] = np.arange(width)
        grid[..., 1] = np.arange(height)[:, None]
        _grids[height, width] = grid
    return grid


def _dis() -> Any:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
