"""The OpenAPI document: what FastAPI cannot derive from the routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from fast_style.service.problems import problem_responses
from fast_style.service.stylize_form import stylize_form_body
from fast_style.styles.registry import list_styles

if TYPE_CHECKING:
    from fast_style.service.job_form import JobForms

__all__ = ["DESCRIPTION", "OWN_HEADERS", "install"]

DESCRIPTION = """Puts the style of a painting on photos, in one forward pass.

Errors are `application/problem+json` (RFC 9457) with one sentence in `detail`. Requests beyond the
service's capacity are answered with 503 and `Retry-After`.
"""

OWN_HEADERS = (
    "Fast-Style-Seconds",
    "Fast-Style-Engine",
    "Fast-Style-Size",
    "Fast-Style-Notes",
    "Server-Timing",
    "X-Request-ID",
)

_VALIDATION_ERROR = "HTTPValidationError"
_PUBLIC_PATHS = ("/healthz", "/readyz")
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def install(app: FastAPI, job_forms: JobForms | None, *, with_keys: bool, with_rate: bool) -> None:
    """Complete the document of an app.

    Args:
        app: the app, with all its routes.
        job_forms: the forms of the jobs, if there are any.
        with_keys: whether API keys are required.
        with_rate: whether the rate of requests is limited.
    """
    derive = app.openapi

    def complete() -> dict[str, Any]:
        document = derive()
        # Styles may come and go, so the forms are described anew each time.
        names = [entry.name for entry in list_styles() if entry.card is not None]
        document["paths"]["/v1/stylize"]["post"]["requestBody"] = stylize_form_body(names)
        if job_forms is not None:
            document["paths"]["/v1/jobs"]["post"]["requestBody"] = job_forms.body(names)
        statuses = [*((401, 403) if with_keys else ()), *((429,) if with_rate else ())]
        for path, methods in document["paths"].items():
            if path in _PUBLIC_PATHS:
                continue
            for operation in methods.values():
                # FastAPI documents a validation error for each path parameter; those of text have
                # none.
                if _VALIDATION_ERROR in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
                needed = statuses if path != "/metrics" else [s for s in statuses if s != 429]
                for status, response in problem_responses(*needed).items():
                    operation["responses"].setdefault(str(status), response)
                if with_keys:
                    operation["security"] = [{name: []} for name in _SECURITY]
        if with_keys:
            document["components"]["securitySchemes"] = _SECURITY
        return document

    app.openapi = complete  # type: ignore[method-assign]
