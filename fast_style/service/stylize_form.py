"""The form of a request for one picture: its fields, parsed and described."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from fast_style.errors import UsageError
from fast_style.options import StyleOptions, option
from fast_style.service.multipart import Form
from fast_style.service.option_form import OptionForm
from fast_style.styles.mixing import MOST_PARTS

__all__ = [
    "FORMATS",
    "IMAGE_MEDIA_TYPES",
    "STYLIZE_FORM",
    "StylizeRequest",
    "parse_stylize_form",
    "style_schema",
    "stylize_form_body",
]

FORMATS = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
"""The formats that are written, with their media types."""

IMAGE_MEDIA_TYPES = "image/jpeg, image/png, image/webp, image/*"
"""The media types of an uploaded photo."""

MAX_SIZE = 65_500  # the longest side of a JPEG
MAX_STYLE_LENGTH = 2000
_SHARE = r"(?:[1-9][0-9]{0,3}(?:\.[0-9]{1,6})?|0?\.[0-9]{0,5}[1-9])"


@dataclass(frozen=True, slots=True, kw_only=True)
class StylizeRequest(StyleOptions):
    """What a client asks for: the options of a style, and those of the answer."""

    style: str = option(
        "A name of GET /v1/styles; or a mixture, NAME:0.6,NAME:0.4, or NAME,NAME for equal shares."
    )
    format: Literal["jpeg", "png", "webp"] | None = option(
        "If left out: png for a photo with transparency, else jpeg.", None
    )
    keep_metadata: bool = option(
        "Keep EXIF (with the place, if it is there) and colour profile.", False
    )


STYLIZE_FORM = OptionForm(StylizeRequest, "the form", files=("photo",), maximum={"size": MAX_SIZE})


def parse_stylize_form(form: Form) -> tuple[StylizeRequest, bytes]:
    """Parse the form of a request for one picture.

    Returns:
        The options and the photo's file; whether there is such a style is not checked.

    Raises:
        UsageError: a field is missing, unknown or out of its range, or there is not one photo.
    """
    for name in form.files:
        if name not in ("photo", *STYLIZE_FORM.model.model_fields):
            raise STYLIZE_FORM.refuse_unknown(name)
    photos = form.files.get("photo", [])
    if len(photos) != 1 or len(form.files) > 1 or "photo" in form.fields:
        raise UsageError(
            "the form must have one file, named photo, with a filename in its part of the form"
        )
    request = STYLIZE_FORM.parse(form.fields)
    if len(request.style) > MAX_STYLE_LENGTH:
        raise UsageError(
            f"style has {len(request.style)} characters; expected the name of a style (GET "
            "/v1/styles) or a mixture, NAME:0.6,NAME:0.4"
        )
    return request, photos[0].file.read()


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
    schema["required"].append("photo")
    schema["properties"] = {
        "photo": {
            "type": "string",
            "format": "binary",
            "description": "A picture file: JPEG, PNG, WebP, TIFF, AVIF, GIF, BMP and others.",
        },
        **properties,
    }
    encoding = {"photo": {"contentType": IMAGE_MEDIA_TYPES}}
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
