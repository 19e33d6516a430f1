"""`GET /v1/styles`: the styles, their cards and thumbnails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fast_style.errors import shorten
from fast_style.models.card import ModelCard
from fast_style.models.config import size_name
from fast_style.service.problems import Problem, problem_responses
from fast_style.service.state import ServiceState
from fast_style.styles.registry import StyleEntry

__all__ = ["router"]

_CACHED = {"Cache-Control": "private, max-age=60"}

router = APIRouter(prefix="/v1/styles", tags=["styles"])


class StyleSummary(BaseModel):
    """A style."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "starry-night",
                "title": "The Starry Night",
                "artist": "Vincent van Gogh",
                "year": "1889",
                "licence": "public domain",
                "size": "standard",
                "description": "Strokes of deep blue with yellow lights.",
                "tags": ["oil", "bold", "dark"],
                "other_sizes": ["starry-night-full", "starry-night-tiny"],
                "thumbnail": "/v1/styles/starry-night/thumbnail",
            }
        }
    )
    name: str = Field(description="The value of the field style.")
    title: str
    artist: str
    year: str
    licence: str
    size: str = Field(description="Of the network: tiny, standard, full or custom.")
    description: str = Field(description="A line of words; empty for your own styles.")
    tags: list[str] = Field(description="Words to choose by, such as ink, oil, bold.")
    other_sizes: list[str] = Field(description="Names of the same style in other sizes.")
    thumbnail: str | None = Field(description="Path of its picture, if there is one.")


class StyleDetails(StyleSummary):
    """A style with all that its card has."""

    model_config = ConfigDict(extra="allow")


class StyleList(BaseModel):
    """The styles: what pleases most first, others by name."""

    styles: list[StyleSummary]


@router.get(
    "",
    summary="List the styles",
    operation_id="styles",
    response_class=JSONResponse,
    responses={200: {"model": StyleList, "description": "The styles."}},
)
async def list_styles(request: Request) -> Response:
    """List the styles, what pleases most first; other sizes of a style are named with it."""
    state: ServiceState = request.app.state.service
    entries = await state.styles.entries()
    rows = [
        _summary(entry, entry.card, entries)
        for entry in entries.values()
        if entry.card is not None and entry.size_of is None
    ]
    return JSONResponse({"styles": rows}, headers=_CACHED)


@router.get(
    "/{name}",
    summary="Show a style's card",
    operation_id="style",
    response_class=JSONResponse,
    responses={
        200: {
            "model": StyleDetails,
            "description": "Painting, network, training and quality.",
        },
        **problem_responses(404, 422),
    },
)
async def show_style(request: Request, name: str) -> Response:
    """Return the card of a style; its picture is the thumbnail."""
    entry, card = await _find_style(request, name)
    state: ServiceState = request.app.state.service
    summary = _summary(entry, card, await state.styles.entries())
    return JSONResponse({**card.to_dict(), **summary}, headers=_CACHED)


@router.get(
    "/{name}/thumbnail",
    summary="Show a style's painting",
    operation_id="thumbnail",
    response_class=Response,
    responses={
        200: {
            "description": "A small picture of the painting.",
            "content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problem_responses(404, 422),
    },
)
async def show_thumbnail(request: Request, name: str) -> Response:
    """Return a small picture of the painting, as WebP."""
    _, card = await _find_style(request, name)
    if card.thumbnail is None:
        raise Problem(404, "No thumbnail", f"the style {name} has no thumbnail")
    return Response(card.thumbnail, headers=_CACHED, media_type="image/webp")


async def _find_style(request: Request, name: str) -> tuple[StyleEntry, ModelCard]:
    state: ServiceState = request.app.state.service
    entry = (await state.styles.entries()).get(name)
    if entry is None or entry.card is None:
        raise Problem(
            404,
            "No such style",
            f"there is no style named {shorten(repr(name))} (GET /v1/styles lists all)",
        )
    return entry, entry.card


def _summary(
    entry: StyleEntry, card: ModelCard, entries: Mapping[str, StyleEntry]
) -> dict[str, Any]:
    name = entry.name
    return {
        "name": name,
        "description": entry.description,
        "tags": list(entry.tags),
        "other_sizes": [one.name for one in entries.values() if one.size_of == name],
        "title": card.title,
        "artist": card.artist,
        "year": card.year,
        "licence": card.licence,
        "size": size_name(card.network),
        "thumbnail": None if card.thumbnail is None else f"/v1/styles/{name}/thumbnail",
    }
