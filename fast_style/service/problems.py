"""Errors of the service as `application/problem+json` (RFC 9457)."""

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

__all__ = [
    "MEDIA_TYPE",
    "Problem",
    "busy_problem",
    "install",
    "problem_response",
    "problem_responses",
]

MEDIA_TYPE = "application/problem+json"

CLIENT_CLOSED_REQUEST = 499
"""The status in the log of a request whose client did not wait; it is never sent."""

SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "An error (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "Always about:blank: see the status."},
        "title": {"type": "string", "description": "The kind of problem, in a few words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {
            "type": "string",
            "description": "One sentence: what was expected, what was received, what to do.",
        },
    },
}

_MEANINGS = {
    400: "The form is malformed.",
    401: "An API key is needed.",
    403: "The API key is unknown.",
    404: "There is nothing at this address, or nothing of that name.",
    405: "This address does not support that method.",
    408: "The body arrived too slowly.",
    409: "The job is in another state.",
    410: "The job has expired.",
    411: "Content-Length is needed.",
    413: "The body is larger than the limit.",
    415: "The photo is not a picture, or the body not a form.",
    422: "A field is missing or out of its range, or the picture is too large or damaged.",
    429: "Too many requests with this key.",
    500: "A bug.",
    503: "The service is busy, starting or stopping: try again after Retry-After.",
    504: "The request took longer than its time limit.",
}


class Problem(Exception):  # noqa: N818 (RFC 9457 calls it so)
    """An error answer."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the error.

        Args:
            status: the HTTP status, 400 to 599.
            title: the kind of problem in a few words, the same each time.
            detail: one sentence: what was expected, what was received, what to do.
            headers: more headers of the answer, such as Retry-After.
        """
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail
        self.headers = dict(headers or {})


def busy_problem(reason: str, retry_seconds: int) -> Problem:
    """Return the problem of a request beyond the service's capacity: 503 with Retry-After."""
    headers = {"Retry-After": str(retry_seconds)}
    return Problem(503, "The service is busy", reason, headers=headers)


def problem_response(problem: Problem) -> Response:
    """Return the response for a problem; caches do not store it."""
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


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of a route, for its `responses` in FastAPI.

    Args:
        statuses: the statuses of the problems.
    """
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _MEANINGS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted(statuses)
    }


def problem_from(error: FastStyleError) -> Problem:
    """Return an error of the package as a problem."""
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
    """Make an app answer every error as a problem, and describe them in its OpenAPI document."""

    async def on_problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return problem_response(error)

    async def on_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, FastStyleError)
        return problem_response(problem_from(error))

    async def on_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = ".".join(str(part) for part in first.get("loc", ())[1:]) or "the request"
        sentence = f"{field}: {first.get('msg', 'not as described in /openapi.json')}"
        return problem_response(Problem(422, "A field is wrong", sentence))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        title = HTTPStatus(error.status_code).phrase
        detail = _MEANINGS.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        if error.status_code == 405 and (methods := _methods(app, request.scope["path"])):
            # Starlette lists the methods of the first matching route only.
            headers["Allow"] = ", ".join(sorted(methods))
        return problem_response(Problem(error.status_code, title, detail, headers=headers))

    async def on_gone(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

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


def _methods(app: FastAPI, path: str) -> set[str]:
    """Return the methods of all routes that match a path."""
    return {
        method.upper()
        for template, operations in app.openapi()["paths"].items()
        if compile_path(template)[0].match(path)
        for method in operations
    }


def _document(app: FastAPI) -> None:
    derive = app.openapi

    def with_problems() -> dict[str, Any]:
        document = derive()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in schemas:
            schemas["Problem"] = SCHEMA
            # FastAPI describes its own validation errors, which are not sent.
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
        return document

    app.openapi = with_problems  # type: ignore[method-assign]
