"""`/healthz`, `/readyz` and `/metrics`: for those who run the service."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from fast_style.service.problems import Problem, documented
from fast_style.service.state import ServiceState

__all__ = ["health_router"]

_STATUS = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string", "enum": ["ok", "ready"]}},
}


def health_router(state: ServiceState) -> APIRouter:
    """Make the routes.

    Args:
        state: what the service works with.
    """
    router = APIRouter(tags=["operation"])

    @router.get(
        "/healthz",
        summary="Is the process alive?",
        operation_id="healthz",
        responses={200: _ok("ok")},
    )
    async def healthz() -> Response:
        """Answer as long as the service can answer at all; never asks for a key."""
        return JSONResponse({"status": "ok"})

    @router.get(
        "/readyz",
        summary="Should requests be sent here?",
        operation_id="readyz",
        responses={200: _ok("ready"), **documented(503)},
    )
    async def readyz() -> Response:
        """Answer 503 until the styles are loaded, and once it shuts down; never asks for a key."""
        if state.ready:
            return JSONResponse({"status": "ready"})
        detail = state.trouble or (
            "the service is shutting down" if state.places.draining else "styles are being loaded"
        )
        raise Problem(503, "Not ready", detail, headers={"Retry-After": "1"})

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        operation_id="metrics",
        response_class=Response,
        responses={
            200: {
                "description": "Prometheus' text format.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            }
        },
    )
    async def metrics() -> Response:
        """Give the counters; asks for a key where keys are in force."""
        text = await run_in_threadpool(generate_latest, state.metrics.registry)
        return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


def _ok(status: str) -> dict[str, object]:
    media = {"schema": _STATUS, "example": {"status": status}}
    return {"description": "Yes.", "content": {"application/json": media}}
