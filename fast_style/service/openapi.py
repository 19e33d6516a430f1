"""The OpenAPI document: what FastAPI cannot know by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from fast_style.service.problems import documented
from fast_style.service.state import ServiceState
from fast_style.service.stylize_form import PICTURE_TYPES, form_schema
from fast_style.styles.registry import list_styles

if TYPE_CHECKING:
    from fast_style.service.jobs.settings import JobSettings

__all__ = ["OWN_HEADERS", "TEXT", "install"]

TEXT = """Puts the style of a painting on photos, in one forward pass.

Errors are `application/problem+json` (RFC 9457) with one sentence in `detail`. What the service
cannot take now is answered with 503 and `Retry-After`.
"""

OWN_HEADERS = (
    "Fast-Style-Seconds",
    "Fast-Style-Engine",
    "Fast-Style-Size",
    "Fast-Style-Notes",
    "Server-Timing",
    "X-Request-ID",
)

_NEVER = "HTTPValidationError"
_OPEN = ("/healthz", "/readyz")
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def install(
    app: FastAPI,
    state: ServiceState,
    jobs: JobSettings | None,
    *,
    with_keys: bool,
    with_rate: bool,
) -> None:
    """Complete the document of an app.

    Args:
        app: the app, with all its routes.
        state: for the names of the styles.
        jobs: the options of the jobs, if there are any.
        with_keys: whether keys are asked for.
        with_rate: whether the rate is limited.
    """
    plain = app.openapi

    def complete() -> dict[str, Any]:
        document = plain()
        names = [entry.name for entry in list_styles() if entry.card is not None]
        document["paths"]["/v1/stylize"]["post"]["requestBody"] = _body(names)
        if jobs is not None:
            from fast_style.service.job_form import form_body

            document["paths"]["/v1/jobs"]["post"]["requestBody"] = form_body(names, jobs)
        statuses = [*((401, 403) if with_keys else ()), *((429,) if with_rate else ())]
        for path, methods in document["paths"].items():
            if path in _OPEN:
                continue
            for operation in methods.values():
                # FastAPI expects any path to be wrong in a way that one of text cannot be.
                if _NEVER in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
                needed = statuses if path != "/metrics" else [s for s in statuses if s != 429]
                for status, response in documented(*needed).items():
                    operation["responses"].setdefault(str(status), response)
                if with_keys:
                    operation["security"] = [{name: []} for name in _SECURITY]
        if with_keys:
            document["components"]["securitySchemes"] = _SECURITY
        return document

    app.openapi = complete  # type: ignore[method-assign]


def _body(names: list[str]) -> dict[str, Any]:
    schema = form_schema(names)
    if names:
        schema["properties"]["style"]["examples"] = [
            names[0],
            *([f"{names[0]}:0.6,{names[1]}:0.4"] if len(names) > 1 else []),
        ]
    return {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": schema,
                "encoding": {"photo": {"contentType": PICTURE_TYPES}},
            }
        },
    }
