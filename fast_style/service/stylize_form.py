"""The form of a request for one picture: what is in it, read and described."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar

from fast_style.options import MAX_STROKE_SIZE, MIN_STROKE_SIZE
from fast_style.service.multipart import Form
from fast_style.service.problems import Problem
from fast_style.styles.mixing import MOST_PARTS

__all__ = ["FORMATS", "PICTURE_TYPES", "StylizeOrder", "form_schema", "read_order", "style_schema"]

FORMATS = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
"""The formats that are written, with their media types."""

PICTURE_TYPES = "image/jpeg, image/png, image/webp, image/*"
"""The media types of a photo that comes."""

Format = Literal["jpeg", "png", "webp"]

LARGEST_SIZE = 65_500  # the longest side of a JPEG
LONGEST_STYLE = 2000
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_SHARE = r"(?:[1-9][0-9]{0,3}(?:\.[0-9]{1,6})?|0?\.[0-9]{0,5}[1-9])"

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, eq=False)
class StylizeOrder:
    """What a client asks for; the names are those of the form's fields.

    Attributes:
        photo: the bytes of a picture file.
        style: the name of a style, or a mixture of styles.
        strength: as for `Stylizer.stylize`, as are the next three.
        preserve_color: whether the photo's colours are kept.
        size: the longest long side, or None.
        stroke_size: how large the strokes are.
        format: the format to write; None is PNG for a photo with alpha, else JPEG.
        keep_metadata: whether EXIF and colour profile of the photo go into the picture.
    """

    photo: bytes
    style: str
    strength: float = 1.0
    preserve_color: bool = False
    size: int | None = None
    stroke_size: float = 1.0
    format: Format | None = None
    keep_metadata: bool = False


def read_order(form: Form) -> StylizeOrder:
    """Check a form.

    Args:
        form: what came.

    Returns:
        What is asked for; whether there is such a style has not been looked at.

    Raises:
        Problem: 422, a field is missing, unknown or out of its range.
    """
    fields = dict(form.fields)
    known = StylizeOrder.__dataclass_fields__
    for name in (*fields, *form.files):
        if name not in known:
            _refuse(f"there is no field {name[:60]!r}; there are {', '.join(known)}")
    photos = form.files.get("photo", [])
    if len(photos) != 1 or "photo" in fields:
        _refuse("the form must have one file named photo, with a filename in its part of the form")
    if len(form.files) > 1:
        _refuse("the form must have no other file than photo")
    style = fields.pop("style", "").strip()
    if not 0 < len(style) <= LONGEST_STYLE:
        _refuse(
            "style must be the name of a style (GET /v1/styles) or a mixture, NAME:0.6,NAME:0.4"
        )

    def value(name: str, read: Callable[[str, str], _Value], default: _Value) -> _Value:
        text = fields.get(name)
        return default if text is None else read(name, text)

    return StylizeOrder(
        photo=photos[0].content,
        style=style,
        strength=value("strength", _number(0.0, 1.0), 1.0),
        preserve_color=value("preserve_color", _truth, False),
        size=value("size", _whole, None),
        stroke_size=value("stroke_size", _number(MIN_STROKE_SIZE, MAX_STROKE_SIZE), 1.0),
        format=value("format", _format, None),
        keep_metadata=value("keep_metadata", _truth, False),
    )


def style_schema(names: Iterable[str]) -> dict[str, Any]:
    """Describe a name or a mixture of names for OpenAPI.

    Args:
        names: of the styles that there are.
    """
    names = list(names)
    one = f"(?:{'|'.join(map(_literal, names))})" if names else "(?!)"
    more = f"{{0,{MOST_PARTS - 1}}}"
    return {
        "type": "string",
        "maxLength": LONGEST_STYLE,
        "pattern": f"^(?:{one}(?:,{one}){more}|{one}:{_SHARE}(?:,{one}:{_SHARE}){more})$",
        "description": "A name of GET /v1/styles; or a mixture, NAME:0.6,NAME:0.4, or NAME,NAME "
        "for equal shares.",
    }


def form_schema(names: Iterable[str]) -> dict[str, Any]:
    """Describe the form for OpenAPI.

    Args:
        names: of the styles that there are.
    """
    return {
        "type": "object",
        "required": ["photo", "style"],
        "additionalProperties": False,
        "properties": {
            "photo": {
                "type": "string",
                "format": "binary",
                "description": "A picture file: JPEG, PNG, WebP, TIFF, AVIF, GIF, BMP and others.",
            },
            "style": style_schema(names),
            "strength": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": 1,
                "description": "How much style: 0 is the photo, 1 the full style.",
            },
            "preserve_color": {
                "type": "boolean",
                "default": False,
                "description": "Keep the photo's colours.",
            },
            "size": {
                "type": "integer",
                "minimum": 1,
                "maximum": LARGEST_SIZE,
                "description": "The longest long side: larger photos are made smaller first.",
            },
            "stroke_size": {
                "type": "number",
                "minimum": MIN_STROKE_SIZE,
                "maximum": MAX_STROKE_SIZE,
                "default": 1,
                "description": "How large the strokes are, 1 being what the style has learnt.",
            },
            "format": {
                "type": "string",
                "enum": list(FORMATS),
                "description": "If left out: png for a photo with transparency, else jpeg.",
            },
            "keep_metadata": {
                "type": "boolean",
                "default": False,
                "description": "Keep EXIF (with the place, if it is there) and colour profile.",
            },
        },
    }


def _literal(name: str) -> str:
    """Escape a name for a pattern; `re.escape` would escape what JSON Schema has unescaped."""
    return re.sub(r"[\\^$.|?*+()\[\]{}/]", r"\\\g<0>", name)


def _number(lowest: float, highest: float) -> Callable[[str, str], float]:
    def read(name: str, text: str) -> float:
        number = float(text) if _NUMBER.fullmatch(text.strip()) else float("nan")
        if not lowest <= number <= highest:
            _refuse(f"{name} is {text[:60]!r}; expected a number from {lowest:g} to {highest:g}")
        return number

    return read


def _whole(name: str, text: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        _refuse(f"{name} is {text[:60]!r}; expected a whole number of pixels")
    if not 1 <= int(digits) <= LARGEST_SIZE:
        _refuse(f"{name} is {digits}; expected 1 to {LARGEST_SIZE} pixels")
    return int(digits)


def _truth(name: str, text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.strip().lower()]
    except KeyError:
        _refuse(f"{name} is {text[:60]!r}; expected true or false")


def _format(name: str, text: str) -> Format:
    for known in ("jpeg", "png", "webp"):
        if text.strip().lower() == known:
            return known
    _refuse(f"{name} is {text[:60]!r}; expected one of {', '.join(FORMATS)}")


def _refuse(detail: str) -> NoReturn:
    raise Problem(422, "A field is wrong", detail)
