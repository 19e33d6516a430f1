"""What goes wrong, as the service says it: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import compile_path

from fast_style.errors import (
    EngineError,
    FastStyleError,
    ImageError,
    StyleNotFoundError,
    UsageError,
)

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["MEDIA_TYPE", "Problem", "documented", "install", "problem_response"]

MEDIA_TYPE = "application/problem+json"

_CLIENT_WENT = 499
"""What the log says where nobody waits for an answer any more; it is never sent."""

SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "Always about:blank: the status says it."},
        "title": {"type": "string", "description": "The kind of problem, in a few words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {
            "type": "string",
            "description": "One sentence: what was expected, what came, what to do.",
        },
    },
}

_MEANINGS = {
    400: "The body is no sound form.",
    401: "An API key is needed, and none came.",
    403: "The API key is not known here.",
    404: "There is nothing of that name.",
    405: "This address does not take that method.",
    408: "The body came too slowly.",
    409: "It contradicts what is there.",
    410: "It was there, and has expired.",
    411: "The length of the body must be given.",
    413: "The body is larger than the limit.",
    415: "The photo is no picture, or the body no form.",
    422: "A field is missing or out of its range, or the picture too large or not decodable.",
    429: "Too many requests with this key.",
    500: "A bug.",
    503: "All places are taken, or the service starts or stops: try again after Retry-After.",
    504: "It took longer than the limit for a request.",
}


class Problem(Exception):  # noqa: N818 (RFC 9457 calls it so)
    """An answer that says what went wrong."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe it.

        Args:
            status: the HTTP status, 400 to 599.
            title: the kind of problem in a few words, the same each time.
            detail: one sentence: what was expected, what came, what to do.
            headers: more headers of the answer, such as Retry-After.
        """
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail
        self.headers = dict(headers or {})


def problem_response(problem: Problem) -> Response:
    """Give the answer for a problem; it is never kept by a cache."""
    document = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }
    return Response(
        json.dumps(document, ensure_ascii=False),
        problem.status,
        {"Cache-Control": "no-store", **problem.headers},
        MEDIA_TYPE,
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe problems of a route for its `responses`.

    Args:
        statuses: those that this route may answer with, of the ones that have a meaning here.

    Returns:
        What FastAPI's `responses` takes.
    """
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _MEANINGS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted(statuses)
    }


def problem_of(error: FastStyleError) -> Problem:
    """Put an error of the package into a problem."""
    if isinstance(error, StyleNotFoundError):
        return Problem(404, "No such style", str(error))
    if isinstance(error, ImageError):
        return Problem(422, "The picture cannot be used", str(error))
    if isinstance(error, UsageError):
        return Problem(422, "A field is wrong", str(error))
    if isinstance(error, EngineError):
        return Problem(500, "The engine failed", str(error))
    return Problem(500, "The service failed", str(error))


def install(app: FastAPI) -> None:
    """Make an app answer every error as a problem, and say so in its OpenAPI document."""

    async def on_problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return problem_response(error)

    async def on_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, FastStyleError)
        return problem_response(problem_of(error))

    async def on_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first.get("loc", ())[1:]) or "the request"
        sentence = f"{place}: {first.get('msg', 'not as described in /openapi.json')}"
        return problem_response(Problem(422, "A field is wrong", sentence))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        title = HTTPStatus(error.status_code).phrase
        detail = _MEANINGS.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        if error.status_code == 405 and (methods := _methods(app, request.scope["path"])):
            # Starlette names those of the first route there only.
            headers["Allow"] = ", ".join(sorted(methods))
        return problem_response(Problem(error.status_code, title, detail, headers=headers))

    async def on_gone(_: Request, __: Exception) -> Response:
        return Response(status_code=_CLIENT_WENT)

    async def on_bug(_: Request, error: Exception) -> Response:
        sentence = f"this is a bug ({type(error).__name__}): please report it"
        return problem_response(Problem(500, "The service failed", sentence))

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(FastStyleError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(ClientDisconnect, on_gone)
    app.add_exception_handler(Exception, on_bug)
    _document(app)


def _methods(app: FastAPI, place: str) -> set[str]:
    """The methods that an address takes, of all routes that lead there."""
    return {
        method.upper()
        for path, operations in app.openapi()["paths"].items()
        if compile_path(path)[0].match(place)
        for method in operations
    }


def _document(app: FastAPI) -> None:
    plain = app.openapi

    def with_problems() -> dict[str, Any]:
        document = plain()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in schemas:
            schemas["Problem"] = SCHEMA
            # FastAPI describes its own form of these, which nobody gets here.
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
        return document

    app.openapi = with_problems  # type: ignore[method-assign]
