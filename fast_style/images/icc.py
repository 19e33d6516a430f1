"""ICC colour profiles: into sRGB when a picture is read, and back when it is written.

The conversions are made by LittleCMS through Pillow, loaded only when a picture has a profile. They
are relative colorimetric with black point compensation: what is in both gamuts keeps its colour.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsProfile, ImageCmsTransform

__all__ = ["IntoSrgb", "from_srgb", "into_srgb"]

# What a profile's colour space is called in its header, and in which Pillow mode pixels enter it.
_ENTRY_MODES = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}
_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


@dataclass(frozen=True, slots=True)
class IntoSrgb:
    """How to bring a picture into sRGB.

    Attributes:
        transform: LittleCMS transform to Pillow mode "RGB", or None if nothing is to be done.
        profile: The RGB profile to convert back to and embed on writing, or None.
        notes: What the user should be told.
    """

    transform: ImageCmsTransform | None = None
    profile: bytes | None = None
    notes: tuple[str, ...] = ()


def into_srgb(profile: bytes | None, mode: str) -> IntoSrgb:
    """Decide how a picture is brought into sRGB.

    Args:
        profile: The ICC profile embedded in the file, or None.
        mode: Pillow mode of the picture. "LAB" needs no profile.

    Returns:
        The transform, the profile for the output, and notes. A profile that is broken, or that is
        for another kind of picture, is left out with a note; it never makes the picture unreadable.
    """
    if mode == "LAB":
        return IntoSrgb(_build(_created("LAB"), _created("sRGB"), "LAB", "RGB"))
    if not profile:
        if mode == "CMYK":
            return IntoSrgb(notes=("CMYK without a colour profile: its colours are approximate",))
        return IntoSrgb()
    try:
        source = _opened(profile)
        space = source.profile.xcolor_space.strip()
        expected = {"CMYK"} if mode == "CMYK" else {"RGB"}
        if mode in _GRAY_MODES:
            # A gray photo in a file that says sRGB is common, and right: gray is R = G = B.
            expected.add("GRAY")
        if space not in expected:
            kind = "CMYK" if mode == "CMYK" else "gray" if mode in _GRAY_MODES else "RGB"
            return IntoSrgb(
                notes=(f"the colour profile is for {space or 'nothing'} and not for {kind} "
                       "pictures: ignored",)
            )  # fmt: skip
        transform = _build(source, _created("sRGB"), _ENTRY_MODES[space], "RGB")
        if space != "RGB":
            return IntoSrgb(transform)
        if _changes_nothing(transform):
            return IntoSrgb(profile=profile)
    except Exception:  # LittleCMS, Pillow and a hostile profile between them raise many kinds
        return IntoSrgb(notes=("the colour profile is broken: ignored, colours taken as sRGB",))
    try:
        from_srgb(profile)
    except Exception:
        # Scanner and camera input profiles lead only one way.
        return IntoSrgb(
            transform, notes=("the colour profile cannot be written back: output is sRGB",)
        )
    return IntoSrgb(transform, profile)


def from_srgb(profile: bytes) -> ImageCmsTransform | None:
    """Build the way back from sRGB to an RGB profile.

    Args:
        profile: An ICC profile.

    Returns:
        A transform between images of Pillow mode "RGB", or None if the profile is sRGB itself.

    Raises:
        Exception: Of many kinds, if the profile is broken or no RGB output profile.
    """
    target = _opened(profile)
    if _changes_nothing(_build(target, _created("sRGB"), "RGB", "RGB")):
        return None
    return _build(_created("sRGB"), target, "RGB", "RGB")


def _opened(profile: bytes) -> ImageCmsProfile:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _created(space: str) -> ImageCmsProfile:
    from PIL import ImageCms

    if space == "LAB":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _build(
    source: ImageCmsProfile, target: ImageCmsProfile, source_mode: str, target_mode: str
) -> ImageCmsTransform:
    from PIL import ImageCms

    return ImageCms.buildTransform(
        source,
        target,
        source_mode,
        target_mode,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _changes_nothing(transform: ImageCmsTransform) -> bool:
    # Profiles called sRGB differ in their text, their white point and the sampling of their curve,
    # so neither names nor bytes tell; what they do to a grid of colours does.
    steps = np.linspace(0, 255, 16, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(64, 64, 3)
    after = np.asarray(transform.apply(Image.fromarray(grid)))
    return int(np.abs(after.astype(np.int16) - grid).max()) <= 1
