"""`/healthz`, `/readyz` and `/metrics`, for those who run the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fast_style.service.problems import Problem, problem_responses
from fast_style.service.state import ServiceState

if TYPE_CHECKING:
    from fast_style.service.jobs_state import JobsState

__all__ = ["router"]

router = APIRouter(tags=["operation"])


class Status(BaseModel):
    """The state of the service."""

    status: Literal["ok", "ready"]


def _yes(status: str) -> dict[int | str, dict[str, Any]]:
    media = {"application/json": {"example": {"status": status}}}
    return {200: {"model": Status, "description": "Yes.", "content": media}}


@router.get(
    "/healthz",
    summary="Is the process alive?",
    operation_id="healthz",
    response_class=JSONResponse,
    responses=_yes("ok"),
)
async def healthz() -> Response:
    """Answer as long as the service can answer at all; no key is needed."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    summary="Should requests be sent here?",
    operation_id="readyz",
    response_class=JSONResponse,
    responses={**_yes("ready"), **problem_responses(503)},
)
async def readyz(request: Request) -> Response:
    """Answer 503 until styles are loaded, while no process decodes, and during shutdown.

    Also while the worker of the background jobs does not stay up, or their database cannot be
    reached. No key is needed.
    """
    state: ServiceState = request.app.state.service
    jobs: JobsState | None = request.app.state.jobs
    problem = None if state.ready else _why_not_ready(state)
    if problem is None and jobs is not None:
        problem = await jobs.find_problem()
    if problem is None:
        return JSONResponse({"status": "ready"})
    raise Problem(503, "Not ready", problem, headers={"Retry-After": "1"})


def _why_not_ready(state: ServiceState) -> str:
    if state.failure:
        return state.failure
    if state.admission.draining:
        return "the service is shutting down"
    if not state.warm:
        return "the styles are still being loaded"
    return "no process that decodes photos could be started; it is tried again every second"


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
async def metrics(request: Request) -> Response:
    """Return the metrics; a key is needed if the service has keys."""
    state: ServiceState = request.app.state.service
    text = await run_in_threadpool(generate_latest, state.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)
