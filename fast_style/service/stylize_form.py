"""The form of a request for one picture: its fields, parsed and described."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from fast_style.errors import UsageError
from fast_style.inference.guides import check_mask_count
from fast_style.options import MAX_STYLE_SIZE, MIN_STYLE_SIZE, StyleOptions, option
from fast_style.service.multipart import Form
from fast_style.service.option_form import OptionForm
from fast_style.styles.mixing import MOST_PARTS

__all__ = [
    "FORMATS",
    "IMAGE_MEDIA_TYPES",
    "MAX_FILES",
    "STYLIZE_FORM",
    "StylizeFiles",
    "StylizeRequest",
    "parse_stylize_form",
    "split_areas",
    "style_schema",
    "stylize_form_body",
]

FORMATS = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
"""The formats that are written, with their media types."""

IMAGE_MEDIA_TYPES = "image/jpeg, image/png, image/webp, image/*"
"""The media types of an uploaded photo."""

MAX_SIZE = 65_500  # the longest side of a JPEG
MAX_STYLE_LENGTH = 2000
LARGEST_STYLE = 1024  # prediction takes a second on two cores
_SHARE = r"(?:[1-9][0-9]{0,3}(?:\.[0-9]{1,6})?|0?\.[0-9]{0,5}[1-9])"


@dataclass(frozen=True, slots=True, kw_only=True)
class StylizeRequest(StyleOptions):
    """What a client asks for: the options of a style, and those of the answer."""

    style: str = option(
        "A name of GET /v1/styles; or a mixture, NAME:0.6,NAME:0.4, or NAME,NAME for equal shares; "
        "or several of these with masks, NAME+NAME. A style_image is used in its place.",
        "",
    )
    alpha_mask: bool = option(
        "Take the photo's own opacity as the mask, if it has one and no mask is sent.", False
    )
    style_size: int | None = option(
        "Only with style_image: the long side to which it is resized; larger gives larger strokes.",
        None,
        minimum=MIN_STYLE_SIZE,
        maximum=MAX_STYLE_SIZE,
    )
    format: Literal["jpeg", "png", "webp"] | None = option(
        "If left out: png for a photo with transparency, else jpeg.", None
    )
    keep_metadata: bool = option(
        "Keep EXIF (with the place, if it is there) and colour profile.", False
    )


FILES = ("photo", "style_image", "mask", "colors_of")
MAX_FILES = len(FILES) - 1 + MOST_PARTS
"""The most files of a form, in which `mask` may come several times."""

STYLIZE_FORM = OptionForm(
    StylizeRequest,
    "the form",
    files=FILES,
    maximum={"size": MAX_SIZE, "style_size": LARGEST_STYLE},
)


@dataclass(slots=True)
class StylizeFiles:
    """The files of a request, undecoded.

    Attributes:
        photo: the photo.
        style_image: the picture that is the style, or None.
        masks: a mask for each style, in their order.
        colors_of: the picture whose colours are taken, or None.
    """

    photo: bytes
    style_image: bytes | None
    masks: list[bytes]
    colors_of: bytes | None

    def clear(self) -> None:
        """Free their memory; whether there was a style image is forgotten."""
        self.photo, self.style_image, self.masks, self.colors_of = b"", None, [], None


def split_areas(style: str) -> list[str]:
    """Return the styles of a text that are applied each in its own area."""
    return [one.strip() for one in style.split("+")]


def parse_stylize_form(form: Form) -> tuple[StylizeRequest, StylizeFiles]:
    """Parse the form of a request for one picture.

    Returns:
        The options and the files; whether there is such a style is not checked.

    Raises:
        UsageError: a field is missing, unknown or out of its range, there is not one photo,
            there is not one style, or the number of masks does not fit the styles.
    """
    for name in form.files:
        if name not in (*FILES, *STYLIZE_FORM.model.model_fields):
            raise STYLIZE_FORM.refuse_unknown(name)
    photo, style_image, colors_of = (
        _only_file(form, name) for name in ("photo", "style_image", "colors_of")
    )
    if photo is None or set(form.files) - set(FILES):
        raise UsageError(
            "the form must have one file, named photo, with a filename in its part of the form; "
            "and it may have others, named style_image, mask and colors_of"
        )
    request = STYLIZE_FORM.parse(form.fields)
    if not request.style and (style_image is None or "style" in form.fields):
        raise UsageError(
            "the form must have the field style, a name of GET /v1/styles, or the file "
            "style_image, a picture that is the style"
        )
    if style_image is None and request.style_size is not None:
        raise UsageError("style_size is for a style_image: leave it out, or use stroke_size")
    if len(request.style) > MAX_STYLE_LENGTH:
        raise UsageError(
            f"style has {len(request.style)} characters; expected the name of a style (GET "
            "/v1/styles) or a mixture, NAME:0.6,NAME:0.4"
        )
    if "mask" in form.fields:
        raise UsageError("mask must be a file, with a filename in its part of the form")
    masks = [upload.file.read() for upload in form.files.get("mask", [])]
    styles = len(split_areas(request.style)) if style_image is None else 1
    check_mask_count(len(masks) or int(request.alpha_mask), styles)
    if colors_of is not None:  # no schema can say that these are two choices
        request = replace(request, preserve_color=False)
    return request, StylizeFiles(photo, style_image, masks, colors_of)


def _only_file(form: Form, name: str) -> bytes | None:
    """Return the file of a name; None if there is none, or more than one."""
    uploads = form.files.get(name, [])
    if name in form.fields or len(uploads) > 1:
        raise UsageError(
            f"the form must have at most one {name}, and it must be a file, with a filename in its "
            "part of the form"
        )
    return uploads[0].file.read() if uploads else None


def stylize_form_body(names: Iterable[str]) -> dict[str, Any]:
    """Return the form as OpenAPI's `requestBody`.

    Args:
        names: of the styles that there are.
    """
    names = list(names)
    schema = STYLIZE_FORM.schema()
    properties, style = schema["properties"], style_schema(names)
    if names:
        style["examples"] = [names[0]]
        if len(names) > 1:
            style["examples"].append(f"{names[0]}:0.6,{names[1]}:0.4")
    properties["style"] |= style
    del properties["style"]["default"]
    binary = {"type": "string", "format": "binary"}
    schema["properties"] = {
        "photo": binary
        | {"description": "A picture file: JPEG, PNG, WebP, TIFF, AVIF, GIF, BMP and others."},
        "style_image": binary
        | {"description": "A picture that is the style, in place of `style`: such a file too."},
        # Several styles need masks, which no schema can say: this one describes a single style.
        "mask": binary
        | {
            "description": "Where the style is applied: a picture of any size, white there and "
            "black where the photo stays. For several styles the field is repeated; without the "
            "last one, the last style has the rest."
        },
        "colors_of": binary
        | {"description": "A picture whose colours are taken, in place of preserve_color."},
        **properties,
    }
    schema["required"] = ["photo"]
    schema["anyOf"] = [{"required": ["style"]}, {"required": ["style_image"]}]
    schema["dependentRequired"] = {"style_size": ["style_image"]}
    encoding = {name: {"contentType": IMAGE_MEDIA_TYPES} for name in FILES}
    media = {"schema": schema, "encoding": encoding}
    return {"required": True, "content": {"multipart/form-data": media}}


def style_schema(names: Iterable[str]) -> dict[str, Any]:
    """Return what the JSON schema of a field says of a style's name or a mixture.

    Args:
        names: of the styles that there are.
    """
    names = list(names)
    one = f"(?:{'|'.join(map(_escape, names))})" if names else "(?!)"
    more = f"{{0,{MOST_PARTS - 1}}}"
    return {
        "maxLength": MAX_STYLE_LENGTH,
        "pattern": f"^(?:{one}(?:,{one}){more}|{one}:{_SHARE}(?:,{one}:{_SHARE}){more})$",
    }


def _escape(name: str) -> str:
    """Escape a name for a pattern; `re.escape` would escape what JSON Schema has unescaped."""
    return re.sub(r"[\\^$.|?*+()\[\]{}/]", r"\\\g<0>", name)
