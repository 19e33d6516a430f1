"""The form that asks for a job: read, checked, and described for the OpenAPI document."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import MISSING, asdict, fields
from types import NoneType, UnionType
from typing import IO, Any, Literal, get_args, get_origin, get_type_hints

from fast_style.errors import UsageError
from fast_style.service.jobs.archives import Limits, PhotoArchive
from fast_style.service.jobs.batch_job import ARCHIVE
from fast_style.service.jobs.optimize_job import PAINTING, PHOTO
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.spec import (
    ORDERS,
    STARTS,
    BatchOrder,
    JobSpec,
    Kind,
    OptimizeOrder,
    read_order,
)
from fast_style.service.multipart import Form
from fast_style.service.problems import Problem
from fast_style.service.settings import ServiceSettings
from fast_style.service.stylize_form import PICTURE_TYPES, style_schema
from fast_style.styles.mixing import parse_mixture
from fast_style.styles.registry import list_styles

ARCHIVE_TYPE = "application/zip"

FILES: dict[Kind, tuple[str, ...]] = {"optimize": ("photo", "painting"), "batch": ("photos",)}


def largest_body(settings: ServiceSettings, jobs: JobSettings) -> int:
    """Give the most bytes that a form may have."""
    pictures = (1 + jobs.optimize_paintings) * settings.max_body_bytes
    return max(int(jobs.batch_megabytes * 1e6), pictures)


def read_job(
    form: Form, settings: ServiceSettings, jobs: JobSettings
) -> tuple[JobSpec, dict[str, IO[bytes]]]:
    """Make a job of a form; of an archive the directory is looked at, and nothing is decoded.

    Args:
        form: with its files on disk.
        settings: `max_megapixels` and `max_body_bytes` are looked at.
        jobs: the limits.

    Returns:
        What to do, and the inputs by their names in the store.

    Raises:
        Problem: a file is missing or too large, or torch is.
        FastStyleError: a field or the archive cannot be used.
    """
    texts = dict(form.fields)
    kind = texts.pop("kind", "").strip()
    if kind not in ORDERS:
        raise UsageError(f"the field kind is {kind[:80]!r}; expected one of {', '.join(ORDERS)}")
    if kind == "optimize":  # what is not asked for is not to be over a limit
        texts.setdefault("size", str(min(OptimizeOrder().size, jobs.optimize_size)))
        most = min(OptimizeOrder().iterations, jobs.optimize_iterations)
        texts.setdefault("iterations", str(most))
    order = read_order(kind, texts)
    files = _files(form, kind, settings, jobs)
    blank: dict[str, Any] = {"kind": kind, "options": asdict(order), "inputs": "", "digest": ""}
    blank |= {"max_megapixels": settings.max_megapixels}
    blank |= {"expiry_seconds": jobs.expiry_hours * 3600}
    if isinstance(order, BatchOrder):
        _check_style(order.style)
        limits = Limits(jobs.batch_photos, int(jobs.unpacked_megabytes * 1e6))
        photos = len(PhotoArchive(files[ARCHIVE], limits).members)
        return JobSpec(**blank, limits=asdict(limits), photos=photos), files
    _check_limits(order, jobs)
    paintings = len(files) - 1
    order.painting_weights(paintings)
    return JobSpec(**blank, limits={}, paintings=paintings), files


def _files(
    form: Form, kind: Kind, settings: ServiceSettings, jobs: JobSettings
) -> dict[str, IO[bytes]]:
    """Take the files that a kind of job has, and no others."""
    for name in form.files:
        if name not in FILES[kind]:
            raise UsageError(
                f"a job of kind {kind} has no file {name[:80]!r}; it has "
                f"{' and '.join(FILES[kind])}"
            )
    most = {"photo": 1, "photos": 1, "painting": jobs.optimize_paintings}
    taken: dict[str, IO[bytes]] = {}
    for name in FILES[kind]:
        uploads = form.files.get(name, [])
        if not 1 <= len(uploads) <= most[name]:
            raise UsageError(
                f"there are {len(uploads)} files of the name {name}; expected 1"
                + (f" to {most[name]}" if most[name] > 1 else "")
            )
        limit = settings.max_body_bytes
        if name == "photos":
            limit = int(jobs.batch_megabytes * 1e6)
        for number, upload in enumerate(uploads):
            assert upload.file is not None
            size = upload.file.seek(0, 2)
            if size > limit:
                raise Problem(
                    413,
                    "The body is too large",
                    f"the file {name} has {size:,} bytes, and may have {limit:,}",
                )
            kept = {"photo": PHOTO, "photos": ARCHIVE}.get(name, PAINTING.format(number))
            taken[kept] = upload.file
    return taken


def _check_limits(order: OptimizeOrder, jobs: JobSettings) -> None:
    for name, most in (("size", jobs.optimize_size), ("iterations", jobs.optimize_iterations)):
        if getattr(order, name) > most:
            raise UsageError(f"{name} is {getattr(order, name)}; expected {most} or less here")
    if order.init not in STARTS:
        _check_style(order.init)
    # A worker elsewhere may well have it; one of our own has what we have.
    if jobs.worker == "own" and importlib.util.find_spec("torch") is None:
        raise UsageError(
            "jobs of kind optimize need torch, which is not installed where this service runs: "
            'pip install "fast-style[torch]" there, or send a job of kind batch'
        )


def _check_style(style: str) -> None:
    known = {entry.name for entry in list_styles() if entry.card is not None}
    for name, _ in [(style, 1.0)] if style in known else parse_mixture(style):
        if name not in known:
            raise Problem(
                422,
                "No such style",
                f"there is no style named {name!r} (GET /v1/styles lists them all)",
            )


def form_body(names: Iterable[str], jobs: JobSettings) -> dict[str, Any]:
    """Describe the form for the OpenAPI document, as its `requestBody`.

    Args:
        names: of the styles that there are.
        jobs: the limits.
    """
    pictures = {"contentType": PICTURE_TYPES}
    encoding = {"photo": pictures, "painting": pictures, "photos": {"contentType": ARCHIVE_TYPE}}
    form = {"schema": _form_schema(list(names), jobs), "encoding": encoding}
    return {"required": True, "content": {"multipart/form-data": form}}


def _form_schema(names: list[str], jobs: JobSettings) -> dict[str, Any]:
    """The fields of the orders, and what they may be here."""
    picture = {"type": "string", "format": "binary"}
    style = style_schema(names)
    batch = _schema("batch", BatchOrder)
    batch["properties"]["style"] |= style
    batch["properties"]["photos"] = {**picture, "description": "A ZIP archive of photos."}
    optimize = _schema("optimize", OptimizeOrder)
    known = optimize["properties"]
    for name, most in (("size", jobs.optimize_size), ("iterations", jobs.optimize_iterations)):
        known[name] |= {"maximum": most, "default": min(known[name]["default"], most)}
    known["init"]["pattern"] = f"^(?:{'|'.join(STARTS)}|{style['pattern'][1:-1]})$"
    known["weights"]["pattern"] = r"^$|^\d+(\.\d+)?(,\d+(\.\d+)?)*$"
    optimize["properties"]["photo"] = {**picture, "description": "The photo."}
    optimize["properties"]["painting"] = {
        "type": "array",
        "items": picture,
        "minItems": 1,
        "maxItems": jobs.optimize_paintings,
        "description": "One painting or several: the field is repeated.",
    }
    for kind, schema in (("batch", batch), ("optimize", optimize)):
        schema["required"] += FILES[kind]  # type: ignore[index]
    return {"oneOf": [batch, optimize]}


def _schema(kind: Kind, order: type) -> dict[str, Any]:
    properties: dict[str, Any] = {"kind": {"type": "string", "enum": [kind]}}
    required = ["kind"]
    hints = get_type_hints(order)
    for spec in fields(order):
        described = _type(hints[spec.name]) | {"description": spec.metadata["help"]}
        for bound, keyword in (
            ("minimum", "minimum"),
            ("maximum", "maximum"),
            ("above", "exclusiveMinimum"),
        ):
            if bound in spec.metadata:
                described[keyword] = spec.metadata[bound]
        if spec.default is MISSING:
            required.append(spec.name)
        elif spec.default is not None:
            described["default"] = spec.default
        properties[spec.name] = described
    return {
        "title": f"A job of kind {kind}",
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def _type(hint: Any) -> dict[str, Any]:
    if get_origin(hint) is UnionType:
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is Literal:
        return {"type": "string", "enum": list(get_args(hint))}
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": names[hint]}
