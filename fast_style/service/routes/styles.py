"""`GET /v1/styles`: the styles, their cards and thumbnails."""

from __future__ import annotations

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
    thumbnail: str | None = Field(description="Path of its picture, if there is one.")


class StyleDetails(StyleSummary):
    """A style with all that its card has."""

    model_config = ConfigDict(extra="allow")


class StyleList(BaseModel):
    """The styles in the order of their names."""

    styles: list[StyleSummary]


@router.get(
    "",
    summary="List the styles",
    operation_id="styles",
    response_class=JSONResponse,
    responses={200: {"model": StyleList, "description": "The styles."}},
)
async def list_styles(request: Request) -> Response:
    """List the styles in the order of their names."""
    state: ServiceState = request.app.state.service
    entries = (await state.styles.entries()).values()
    rows = [_summary(entry.name, entry.card) for entry in entries if entry.card is not None]
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
    card = await _find_card(request, name)
    return JSONResponse({**card.to_dict(), **_summary(name, card)}, headers=_CACHED)


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
    card = await _find_card(request, name)
    if card.thumbnail is None:
        raise Problem(404, "No thumbnail", f"the style {name} has no thumbnail")
    return Response(card.thumbnail, headers=_CACHED, media_type="image/webp")


async def _find_card(request: Request, name: str) -> ModelCard:
    state: ServiceState = request.app.state.service
    entry = (await state.styles.entries()).get(name)
    if entry is None or entry.card is None:
        raise Problem(
            404,
            "No such style",
            f"there is no style named {shorten(repr(name))} (GET /v1/styles lists all)",
        )
    return entry.card


def _summary(name: str, card: ModelCard) -> dict[str, Any]:
    return {
        "name": name,
        "title": card.title,
        "artist": card.artist,
        "year": card.year,
        "licence": card.licence,
        "size": size_name(card.network),
        "thumbnail": None if card.thumbnail is None else f"/v1/styles/{name}/thumbnail",
    }
