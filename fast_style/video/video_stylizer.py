"""A style on the frames of a video, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fast_style.errors import UsageError
from fast_style.images.masks import fit_mask
from fast_style.images.photo import Photo
from fast_style.inference.guides import ALPHA, Guides, find_areas
from fast_style.inference.stylizer import Painted, Stylizer
from fast_style.options import StyleOptions
from fast_style.video.motion import Motion, estimate_motion, to_gray
from fast_style.video.steadying import DEFAULT_STEADY, Steadier

if TYPE_CHECKING:
    from fast_style.video.source import Pixels

__all__ = ["Prepared", "VideoStylizer"]

_SAME_BLOCK, _SAME_LEVELS = 1.0, 12
"""How far frames of animation that repeat a drawing differ after compression: in the mean of a
block of 8x8 pixels, and in any one value, in levels."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A frame before the network.

    Attributes:
        content: the frame at the size that is worked at.
        gray: what the next frame's motion is estimated from; None without steadying.
        motion: from the frame before; None for the first.
        repeats: whether it shows what the frame before shows, so that its picture is used again.
    """

    content: Photo
    gray: Pixels | None
    motion: Motion | None
    repeats: bool


class VideoStylizer:
    """A style on the frames of one video, held still from frame to frame.

    ::

        video = VideoStylizer(Stylizer("starry-night"))
        for frame in frames:
            show(video.push(frame))

    `push` does all; a pipeline calls `prepare`, `paint` and `finish` from three threads, each for
    one frame after the other.

    Attributes:
        stylizer: the style.
        options: how each frame is stylized.
        steady: how still the strokes are held, from 0 (frame by frame) to 1.
        guides: masks that stay the same for all frames.
        notes: what the user should know about the masks, once a frame is painted.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        *,
        steady: float = DEFAULT_STEADY,
        options: StyleOptions | None = None,
        guides: Guides | None = None,
    ) -> None:
        """Store the style and its options.

        Raises:
            UsageError: the steadiness is not a number from 0 to 1, or a mask is the alpha.
        """
        self.stylizer, self.steady = stylizer, steady
        self.guides = guides or Guides()
        if any(isinstance(mask, str) for mask in self.guides.masks):
            raise UsageError(f"the mask of a video is {ALPHA!r}; expected a picture")
        self.notes: tuple[str, ...] = ()
        self._fitted: Guides | None = None
        self.options = StyleOptions() if options is None else options
        self._steadier = Steadier(steady)
        self.reset()

    def push(self, frame: Pixels) -> Pixels:
        """Stylize the next frame.

        Args:
            frame: RGB, shape (H, W, 3), uint8, values in [0, 255]; not changed.

        Returns:
            Shape (H, W, 3), uint8; smaller where the options' size asks for that.

        Raises:
            UsageError: it is no such array.
            ImageTooLargeError: there is not enough memory for it.
        """
        prepared = self.prepare(frame)
        return self.finish(prepared, self.paint(prepared))

    def reset(self) -> None:
        """Forget the frames so far, as before another video or after a jump."""
        self._steadier.reset()
        self._gray: Pixels | None = None
        self._shown: Pixels | None = None  # the frame that was painted last
        self._output: Pixels | None = None
        self._stroke_size: float | None = None

    def prepare(
        self, frame: Pixels, *, alpha: Pixels | None = None, fresh: bool = False
    ) -> Prepared:
        """Look at the next frame: its motion, and whether it repeats the one before.

        Args:
            frame: as in `push`.
            alpha: opacity, shape (H, W), uint8, or None.
            fresh: paint it in any case.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise UsageError(
                "a frame must be a uint8 array of shape (height, width, 3), and an array of "
                f"{frame.dtype} of shape {frame.shape} was given"
            )
        content = Photo(np.ascontiguousarray(frame), alpha)
        if self.options.size is not None:
            content = content.resize_long_side(self.options.size)
        pixels = content.fill_hidden()
        if pixels is not content.pixels:
            content = content.with_pixels(pixels)
        if self._gray is not None and self._shown is not None and not fresh:
            exact = self.steady == 0
            if pixels.shape == self._shown.shape and _is_same(self._shown, pixels, exact):
                return Prepared(content, self._gray, None, True)
        self._shown = pixels
        gray = to_gray(pixels)
        motion = None
        if self.steady > 0 and self._gray is not None and self._gray.shape == gray.shape:
            motion = estimate_motion(self._gray, gray)
        self._gray = gray
        return Prepared(content, gray, motion, False)

    def paint(self, prepared: Prepared) -> Painted | None:
        """Run the network on a frame; None where its picture is not needed."""
        if prepared.repeats or self.options.strengths == (0, 0):
            return None
        content = prepared.content
        if self._stroke_size is None:  # one for all frames, also where their size changes
            self._stroke_size = self.stylizer.fit_stroke_size(
                content.height, content.width, self.options.stroke_size
            )
        options = replace(
            self.options, size=None, stroke_size=self._stroke_size, feather=0, invert_mask=False
        )
        # Without its alpha, by which a picture is cropped: the crops of frames would differ.
        whole = replace(content, alpha=None)
        return self.stylizer.paint(whole, options, self._fit_guides(content))

    def _fit_guides(self, content: Photo) -> Guides:
        """Return the masks at a frame's size, fitted once."""
        masks = self.guides.masks
        if not masks:
            return self.guides
        sides = content.height, content.width
        if self._fitted is None or self._fitted.masks[0].shape != sides:  # type: ignore[union-attr]
            photo, _ = find_areas(content, self.guides, self.options, self.stylizer.styles)
            self.notes = photo.notes
            feather, invert = self.options.feather, self.options.invert_mask
            fitted = [
                fit_mask(mask, *sides, feather=feather, invert=invert)
                for mask in masks
                if not isinstance(mask, str)
            ]
            self._fitted = Guides(fitted, self.guides.colors)
        return self._fitted

    def finish(self, prepared: Prepared, painted: Painted | None) -> Pixels:
        """Steady a painted frame and apply strength and colours."""
        if prepared.repeats and self._output is not None:
            return self._output
        if painted is None:
            self._output = prepared.content.pixels
            return self._output
        steadied = self._steadier.apply(painted.pixels, prepared.motion)
        painted = replace(painted, content=prepared.content, pixels=steadied)
        finished = painted.finish(self.options)
        self._output = finished.pixels
        return self._output

    def state(self, prepared: Prepared) -> dict[str, NDArray[Any]]:
        """Return what `restore` needs to continue after a frame that was finished last."""
        gray = {} if prepared.gray is None else {"gray": prepared.gray}
        return {**gray, **self._steadier.state()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned; the next frame must be a fresh one."""
        self.reset()
        self._gray = state.get("gray")
        self._steadier.restore(state)


def _is_same(before: Pixels, now: Pixels, exact: bool) -> bool:
    if exact:
        return np.array_equal(before, now)
    difference = cv2.absdiff(before, now)
    if difference.max() > _SAME_LEVELS:
        return False
    height, width = max(1, now.shape[0] // 8), max(1, now.shape[1] // 8)
    blocks = cv2.resize(
        difference.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
    )
    return bool(blocks.max() < _SAME_BLOCK)
