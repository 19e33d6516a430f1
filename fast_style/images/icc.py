"""ICC colour profiles: convert to sRGB when a picture is read, and back when it is written.

LittleCMS does it, through Pillow, and is loaded only when a picture has a profile. The intent is
relative colorimetric with black point compensation: colours that are in both gamuts are kept.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsProfile, ImageCmsTransform

__all__ = ["SrgbConversion", "build_srgb_to_profile", "choose_conversion"]

# A profile's colour space, as its header names it, and the Pillow mode of the pixels to convert.
_ENTRY_MODES = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}
_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


@dataclass(frozen=True, slots=True)
class SrgbConversion:
    """How to convert a picture to sRGB.

    Attributes:
        transform: LittleCMS transform to Pillow mode "RGB", or None if none is needed.
        profile: The RGB profile to convert back to and embed on writing, or None.
        notes: Messages for the user.
    """

    transform: ImageCmsTransform | None = None
    profile: bytes | None = None
    notes: tuple[str, ...] = ()


def choose_conversion(profile: bytes | None, mode: str) -> SrgbConversion:
    """Choose how to convert a picture to sRGB.

    Args:
        profile: The ICC profile embedded in the file, or None.
        mode: Pillow mode of the picture. "LAB" needs no profile.

    Returns:
        The transform, the profile for the output, and notes. A profile that is broken, or for
        another kind of picture, is ignored with a note; the picture is still read.
    """
    if mode == "LAB":
        return SrgbConversion(
            _build_transform(_create_profile("LAB"), _create_profile("sRGB"), "LAB", "RGB")
        )
    if not profile:
        if mode == "CMYK":
            return SrgbConversion(
                notes=("CMYK without a colour profile: its colours are approximate",)
            )
        return SrgbConversion()
    try:
        source = _open_profile(profile)
        space = source.profile.xcolor_space.strip()
        expected = {"CMYK"} if mode == "CMYK" else {"RGB"}
        if mode in _GRAY_MODES:
            # Gray files with an sRGB profile are common, and valid: gray is R = G = B.
            expected.add("GRAY")
        if space not in expected:
            kind = "CMYK" if mode == "CMYK" else "gray" if mode in _GRAY_MODES else "RGB"
            return SrgbConversion(
                notes=(f"the colour profile is for {space or 'nothing'} and not for {kind} "
                       "pictures: ignored",)
            )  # fmt: skip
        transform = _build_transform(source, _create_profile("sRGB"), _ENTRY_MODES[space], "RGB")
        if space != "RGB":
            return SrgbConversion(transform)
        if _is_identity(transform):
            return SrgbConversion(profile=profile)
    except Exception:  # LittleCMS and Pillow raise many types for hostile profiles
        return SrgbConversion(
            notes=("the colour profile is broken: ignored, colours taken as sRGB",)
        )
    try:
        build_srgb_to_profile(profile)
    except Exception:
        # Input profiles of scanners and cameras have no inverse.
        return SrgbConversion(
            transform, notes=("the colour profile cannot be written back: output is sRGB",)
        )
    return SrgbConversion(transform, profile)


def build_srgb_to_profile(profile: bytes) -> ImageCmsTransform | None:
    """Build the transform from sRGB to an RGB profile.

    Args:
        profile: An ICC profile.

    Returns:
        A transform between images of Pillow mode "RGB", or None if the profile is sRGB itself.

    Raises:
        Exception: Any of many types, if the profile is broken or not an RGB output profile.
    """
    target = _open_profile(profile)
    if _is_identity(_build_transform(target, _create_profile("sRGB"), "RGB", "RGB")):
        return None
    return _build_transform(_create_profile("sRGB"), target, "RGB", "RGB")


def _open_profile(profile: bytes) -> ImageCmsProfile:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _create_profile(space: str) -> ImageCmsProfile:
    from PIL import ImageCms

    if space == "LAB":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _build_transform(
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


def _is_identity(transform: ImageCmsTransform) -> bool:
    # Profiles called sRGB differ in their text, white point and sampling of the curve. Hence
    # neither names nor bytes are compared, but what the transform does to a grid of colours.
    steps = np.linspace(0, 255, 16, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(64, 64, 3)
    after = np.asarray(transform.apply(Image.fromarray(grid)))
    return int(np.abs(after.astype(np.int16) - grid).max()) <= 1
