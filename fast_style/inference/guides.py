"""Pictures beside the photo that say where each style is applied, and in which colours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import UsageError
from fast_style.images import ImageSource, Photo, read_image
from fast_style.images.color_transfer import ColorStatistics, measure_colors
from fast_style.images.masks import Mask, divide_areas, fit_mask, read_mask
from fast_style.options import StyleOptions

__all__ = [
    "ALPHA",
    "Areas",
    "Guides",
    "MaskSource",
    "check_colors",
    "check_mask_count",
    "find_areas",
    "read_colors",
    "read_guides",
]

ALPHA: Literal["alpha"] = "alpha"
"""In place of a mask: the photo's own opacity."""

MaskSource = ImageSource | Literal["alpha"]

_COLOR_SIDE = 256
"""Sides that a picture keeps when it is read for its colours, in pixels."""

_STRETCHED = 0.02
"""Relative difference of proportions from which a mask that is stretched is noted."""


@dataclass(frozen=True, slots=True, eq=False)
class Guides:
    """Pictures that guide a style.

    Attributes:
        masks: where each style is applied, of any size, or `ALPHA`. For one style, one mask or
            none; for several, one for each, or one less: then the last style has the rest.
        colors: statistics of the colours that the picture is to have; None leaves them.
    """

    masks: Sequence[Mask | Literal["alpha"]] = ()
    colors: ColorStatistics | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Areas:
    """Where styles are applied in one photo.

    Attributes:
        coverage: how much of each pixel is painted, shape (H, W), 0 to 255; None for all of it.
        shares: for several styles, the share of each in what is painted, shape (N, H, W), uint8;
            they sum to 255.
    """

    coverage: Mask | None = None
    shares: NDArray[np.uint8] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is painted."""
        return self.coverage is not None and not self.coverage.any()


def read_guides(
    masks: MaskSource | Sequence[MaskSource] | None = None,
    colors_of: ImageSource | ColorStatistics | None = None,
) -> Guides:
    """Read the pictures that guide a style.

    Args:
        masks: one or several, each a picture or `ALPHA`.
        colors_of: the picture whose colours are taken, or their statistics.

    Raises:
        ImageError: one cannot be read.
    """
    several: list[Any] = list(masks) if isinstance(masks, list | tuple) else [masks]
    read = [
        ALPHA if isinstance(one, str) and one == ALPHA else read_mask(one)
        for one in several
        if one is not None
    ]
    if colors_of is None or isinstance(colors_of, ColorStatistics):
        return Guides(read, colors_of)
    return Guides(read, read_colors(colors_of))


def read_colors(source: ImageSource) -> ColorStatistics:
    """Measure the colours of a picture.

    Raises:
        ImageError: it cannot be read.
    """
    photo = read_image(source, at_least=_COLOR_SIDE)
    return measure_colors(photo.pixels, photo.alpha)


def check_colors(guides: Guides | None, options: StyleOptions) -> None:
    """Check that not both the photo's and another picture's colours are asked for.

    Raises:
        UsageError: they are.
    """
    if guides is not None and guides.colors is not None and options.color_mode is not None:
        raise UsageError(
            "the photo's colours cannot be kept (--preserve-color) and another picture's taken "
            "(--colors-of) at once: choose one"
        )


def find_areas(
    content: Photo, guides: Guides | None, options: StyleOptions, styles: int
) -> tuple[Photo, Areas]:
    """Fit the masks to a photo.

    Args:
        content: the photo at the size that is worked at.
        guides: its masks; None for none.
        options: `feather` and `invert_mask` are used.
        styles: the number of styles.

    Returns:
        The photo, without its alpha if that is a mask and with notes on the masks; and the areas.

    Raises:
        UsageError: the number of masks does not fit the styles, or the photo has no alpha that
            could be a mask.
    """
    masks = guides.masks if guides is not None else ()
    check_mask_count(len(masks), styles)
    if not masks:
        return content, Areas()
    notes = []
    fitted = []
    for mask in masks:
        if isinstance(mask, str):
            if content.alpha is None:
                raise UsageError(
                    "the photo has no transparency, and its alpha is to be the mask: give a "
                    "picture as the mask"
                )
            mask = content.alpha
        elif abs(mask.shape[1] * content.height / (mask.shape[0] * content.width) - 1) > _STRETCHED:
            notes.append(
                f"the mask of {mask.shape[1]}x{mask.shape[0]} pixels is stretched to the photo's "
                f"{content.width}x{content.height}"
            )
        sides = content.height, content.width
        fitted.append(fit_mask(mask, *sides, feather=options.feather, invert=options.invert_mask))
    if ALPHA in [mask for mask in masks if isinstance(mask, str)]:
        content = dataclasses.replace(content, alpha=None)
    areas = Areas(fitted[0]) if styles == 1 else Areas(*divide_areas(fitted, styles))
    if areas.is_empty:
        notes.append("the mask is black everywhere, so the photo stays as it is")
    elif areas.coverage is not None and areas.coverage.min() == 255:
        areas = dataclasses.replace(areas, coverage=None)
    return dataclasses.replace(content, notes=(*content.notes, *notes)), areas


def check_mask_count(masks: int, styles: int) -> None:
    """Check that there are as many masks as styles need.

    Raises:
        UsageError: there are not.
    """
    if styles == 1 and masks > 1:
        raise UsageError(f"there are {masks} masks for one style; expected one at most")
    if styles > 1 and masks not in (styles - 1, styles):
        raise UsageError(
            f"there are {masks} masks for {styles} styles; expected one for each, or "
            f"{styles - 1}, and the last style has the rest (a mixture is one style, A:0.5,B:0.5)"
        )
