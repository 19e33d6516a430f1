"""Steadying: carry the strokes of the last output along with the motion.

Frame by frame the strokes of a still object change with every shift and every grain of noise. Here
each output is made of two pictures, the new painting and the last output warped along the optical
flow: fine strokes (high frequencies) mostly of the warped one, tone (low frequencies) pulled a
little towards the new one with every frame, so that it cannot drift away. Interpolation and
averaging lower the contrast of the finest strokes, so it is restored around each pixel to that of
the new painting, by small steps.

The idea of carrying the last output along is Ruder, Dosovitskiy, Brox 2016 (arXiv 1604.08610);
there as the start of an optimisation. Pure arrays; the state can be saved and restored.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from fast_style.errors import UsageError
from fast_style.video.motion import Motion, warp

__all__ = ["DEFAULT_STEADY", "Steadier", "check_steady"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

DEFAULT_STEADY = 1.0

_KEEP_STROKES, _KEEP_TONE = 0.975, 0.97  # of the warped last output, at full steadiness
_TONE_LEVELS = 12.0, 32.0
"""How far the carried tone may lie from the new one, and from where on nothing of it is kept: it
would lag behind a scene that grows brighter."""
_TONE_WINDOW = (17, 17)  # pixels; what is smoother than this is tone
_POWER_WINDOW = (5, 5)  # over which contrast is measured, at a quarter of the size
_FINE_WINDOW = (5, 5)  # pixels; what is finer than this is a band of its own
_MOST_GAIN = 1.05  # of contrast, in one frame

_NEIGHBOURHOOD = np.ones((7, 7), np.uint8)
"""Of the new painting, in whose range carried strokes must lie. Without it, interpolation and gain
together grow isolated specks within seconds, as a reaction and a diffusion would."""


def check_steady(steady: float) -> None:
    """Check a steadiness.

    Raises:
        UsageError: it is not a number from 0 to 1.
    """
    if not 0 <= steady <= 1:  # written so that NaN fails too
        raise UsageError(f"steady must be a number from 0 to 1, and {steady} was given")


class Steadier:
    """The steadying of one video; it holds the last output.

    Attributes:
        steady: from 0 (every painting is returned as it is) to 1.
    """

    def __init__(self, steady: float = DEFAULT_STEADY) -> None:
        """Check and store the steadiness.

        Raises:
            UsageError: it is not a number from 0 to 1.
        """
        check_steady(steady)
        self.steady = steady
        self._last: Floats | None = None

    def reset(self) -> None:
        """Forget the last output, as at a cut."""
        self._last = None

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Return what `restore` needs to continue exactly; empty before the first frame."""
        return {} if self._last is None else {"last": self._last}

    def restore(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Continue from what `state` returned."""
        self._last = state.get("last")

    def apply(self, painted: Pixels, motion: Motion | None) -> Pixels:
        """Steady one frame.

        Args:
            painted: the network's picture of the frame, RGB, shape (H, W, 3), uint8.
            motion: from the frame before to this one, at the same or a smaller size; None where
                there is no frame before.

        Returns:
            The steadied picture, of the same shape and type.
        """
        last = self._last
        if self.steady == 0:
            return painted
        new = painted.astype(np.float32)
        if last is None or motion is None or motion.is_cut or last.shape != new.shape:
            self._last = new
            return painted
        flow, trust = _at_size(motion, *new.shape[:2])
        self._last = _carried(new, warp(last, flow, cv2.INTER_LANCZOS4), trust * self.steady)
        return np.rint(self._last).astype(np.uint8)


def _carried(new: Floats, warped: Floats, trust: Floats) -> Floats:
    """Put an output together.

    Args:
        new: the new painting, shape (H, W, 3).
        warped: the last output, warped, of the same shape.
        trust: shape (H, W), in [0, 1].

    Returns:
        Shape (H, W, 3), in [0, 255].
    """
    tone, warped_tone = cv2.blur(new, _TONE_WINDOW), cv2.blur(warped, _TONE_WINDOW)
    strokes: Floats = new - tone
    kept = warped - warped_tone
    wanted = cv2.cvtColor(strokes, cv2.COLOR_RGB2GRAY)
    np.maximum(kept, cv2.erode(strokes, _NEIGHBOURHOOD), out=kept)
    np.minimum(kept, cv2.dilate(strokes, _NEIGHBOURHOOD), out=kept)
    kept -= strokes
    strokes += _weighted(kept, trust * np.float32(_KEEP_STROKES))
    # The finest strokes first, for they lose most by interpolation.
    blurred = cv2.blur(strokes, _FINE_WINDOW)
    gray = cv2.cvtColor(strokes, cv2.COLOR_RGB2GRAY)
    fine_gain = _gain(
        wanted - cv2.blur(wanted, _FINE_WINDOW),
        gray - cv2.cvtColor(blurred, cv2.COLOR_RGB2GRAY),
    )
    strokes += _weighted(strokes - blurred, fine_gain - 1)
    warped_tone -= tone
    strokes += tone
    strokes += _weighted(warped_tone, trust * _kept_tone(warped_tone))
    np.clip(strokes, 0, 255, out=strokes)
    return strokes


def _kept_tone(difference: Floats) -> Floats:
    """Return how much is kept of a carried tone, by its difference from the new one."""
    least, most = _TONE_LEVELS
    luma = cv2.absdiff(cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY), 0)
    share: Floats = (most - luma) * np.float32(_KEEP_TONE / (most - least))
    np.clip(share, 0, np.float32(_KEEP_TONE), out=share)
    return share


def _gain(wanted: Floats, present: Floats) -> Floats:
    """Return the gain, from 1 to `_MOST_GAIN`, that restores the contrast around each pixel.

    Args:
        wanted: luma without its mean, shape (H, W).
        present: the same of the picture that is amplified.
    """
    height, width = wanted.shape
    small = max(1, width // 4), max(1, height // 4)
    target, power = (
        cv2.blur(cv2.resize(luma * luma, small, interpolation=cv2.INTER_AREA), _POWER_WINDOW)
        for luma in (wanted, present)
    )
    # The sums of a box may round below 0.
    gain = np.sqrt(np.maximum(target, 0) / np.maximum(power, np.float32(0.5)))
    gain = np.clip(gain, 1, np.float32(_MOST_GAIN))
    full: Floats = cv2.resize(gain, (width, height), interpolation=cv2.INTER_LINEAR)
    return full


def _weighted(picture: Floats, weights: Floats) -> Floats:
    """Return a picture, shape (H, W, 3), times weights, shape (H, W)."""
    result: Floats = cv2.multiply(picture, cv2.merge((weights, weights, weights)))
    return result


def _at_size(motion: Motion, height: int, width: int) -> tuple[Floats, Floats]:
    """Return flow and trust at the size of the painting."""
    if motion.trust.shape == (height, width):
        return motion.flow, motion.trust
    scale = np.array([width / motion.trust.shape[1], height / motion.trust.shape[0]], np.float32)
    flow = cv2.resize(motion.flow, (width, height), interpolation=cv2.INTER_LINEAR) * scale
    trust = cv2.resize(motion.trust, (width, height), interpolation=cv2.INTER_LINEAR)
    return flow, trust
