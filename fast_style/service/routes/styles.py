"""`GET /v1/styles`: the styles that there are, their cards and thumbnails."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from fast_style.models.config import size_name
from fast_style.models.model_file import ModelCard
from fast_style.service.problems import Problem, documented
from fast_style.service.state import ServiceState

__all__ = ["style_router"]

_CACHED = {"Cache-Control": "private, max-age=60"}
_TEXT = {"type": "string"}
_STYLE = {
    "type": "object",
    "required": ["name", "title", "artist", "year", "licence", "size", "thumbnail"],
    "properties": {
        "name": {"type": "string", "description": "What goes into the field style."},
        "title": _TEXT,
        "artist": _TEXT,
        "year": _TEXT,
        "licence": _TEXT,
        "size": {
            "type": "string",
            "description": "Of the network: tiny, standard, full or custom.",
        },
        "thumbnail": {"type": ["string", "null"], "description": "Path of its picture, if any."},
    },
}
_EXAMPLE = {
    "name": "starry-night",
    "title": "The Starry Night",
    "artist": "Vincent van Gogh",
    "year": "1889",
    "licence": "public domain",
    "size": "standard",
    "thumbnail": "/v1/styles/starry-night/thumbnail",
}


def style_router(state: ServiceState) -> APIRouter:
    """Make the routes.

    Args:
        state: what the service works with.
    """
    router = APIRouter(prefix="/v1/styles", tags=["styles"])

    async def card_of(name: str) -> ModelCard:
        entry = (await state.styles.entries()).get(name)
        if entry is None or entry.card is None:
            raise Problem(
                404, "No such style", f"there is no style named {name!r} (GET /v1/styles lists all)"
            )
        return entry.card

    @router.get(
        "",
        summary="List the styles",
        operation_id="styles",
        response_class=JSONResponse,
        responses={200: _json("The styles.", {"styles": [_EXAMPLE]}, _list_schema())},
    )
    async def styles() -> Response:
        """List the styles that there are, in the order of their names."""
        entries = (await state.styles.entries()).values()
        rows = [_row(entry.name, entry.card) for entry in entries if entry.card is not None]
        return JSONResponse({"styles": rows}, headers=_CACHED)

    @router.get(
        "/{name}",
        summary="Show a style's card",
        operation_id="style",
        response_class=JSONResponse,
        responses={
            200: _json("All that is known of it: painting, network, training, quality.", None),
            **documented(404, 422),
        },
    )
    async def style(name: str) -> Response:
        """Give all that is known of a style; the picture in its file is its thumbnail."""
        card = await card_of(name)
        return JSONResponse({**card.to_dict(), **_row(name, card)}, headers=_CACHED)

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
            **documented(404, 422),
        },
    )
    async def thumbnail(name: str) -> Response:
        """Give a small picture of the painting, as WebP."""
        card = await card_of(name)
        if card.thumbnail is None:
            raise Problem(404, "No thumbnail", f"the style {name} has no thumbnail")
        return Response(card.thumbnail, headers=_CACHED, media_type="image/webp")

    return router


def _row(name: str, card: ModelCard) -> dict[str, Any]:
    return {
        "name": name,
        "title": card.title,
        "artist": card.artist,
        "year": card.year,
        "licence": card.licence,
        "size": size_name(card.network),
        "thumbnail": None if card.thumbnail is None else f"/v1/styles/{name}/thumbnail",
    }


def _json(description: str, example: Any, schema: Any = None) -> dict[str, Any]:
    media: dict[str, Any] = {"schema": schema or {**_STYLE, "additionalProperties": True}}
    if example is not None:
        media["example"] = example
    return {"description": description, "content": {"application/json": media}}


def _list_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["styles"],
        "properties": {"styles": {"type": "array", "items": _STYLE}},
    }
