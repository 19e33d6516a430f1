"""What the service tells of a job, in JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fast_style.service.jobs.batch_job import PREVIEWS
from fast_style.service.jobs.client import Desk, Job

_TIME = {"type": ["string", "null"], "format": "date-time"}
_LINK = {"type": ["string", "null"], "description": "A path of this service."}
JOB_SCHEMA: dict[str, Any] = {
    "title": "Job",
    "type": "object",
    "required": ["id", "kind", "state", "created", "options", "links"],
    "properties": {
        "id": {"type": "string"},
        "kind": {"type": "string", "enum": ["optimize", "batch"]},
        "state": {
            "type": "string",
            "enum": ["queued", "running", "done", "failed", "cancelled", "expired"],
        },
        "created": _TIME,
        "started": _TIME,
        "ended": _TIME,
        "expires": {**_TIME, "description": "When its files are deleted."},
        "options": {"type": "object"},
        "progress": {
            "type": "object",
            "properties": {
                "done": {"type": "integer"},
                "total": {"type": "integer"},
                "unit": {"type": "string", "enum": ["photos", "iterations"]},
                "failed": {"type": "integer", "description": "Photos that could not be used."},
            },
        },
        "losses": {
            "type": "array",
            "description": "Of an optimisation: the loss and its terms, iteration by iteration.",
            "items": {"type": "object"},
        },
        "error": {"type": ["string", "null"], "description": "A sentence, if it failed."},
        "links": {
            "type": "object",
            "properties": {
                "self": _LINK,
                "result": {**_LINK, "description": "Once it is done."},
                "previews": {"type": "array", "items": _LINK},
                "all_previews": {**_LINK, "description": "All of them as a ZIP archive."},
            },
        },
    },
}

JOB_LINKS = {
    name: {"operationId": name, "parameters": {"job_id": "$response.body#/id"}}
    for name in ("job", "job_result", "job_previews", "cancel_job")
}
"""Where the id in the answer to a form leads."""


def summary(job: Job, place: str) -> dict[str, Any]:
    """Tell of a job without looking at its files.

    Args:
        job: the job.
        place: its address.
    """

    def time(seconds: float | None) -> str | None:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()

    return {
        "id": job.id,
        "kind": job.spec.kind,
        "state": job.state,
        "created": time(job.created),
        "started": time(job.started),
        "ended": time(job.ended),
        "expires": time(job.expires),
        "options": job.spec.options,
        "error": job.error,
        "links": {"self": place, "result": f"{place}/result" if job.state == "done" else None},
    }


def document(desk: Desk, job: Job, place: str) -> dict[str, Any]:
    """Tell all of a job, as `JOB_SCHEMA` describes it.

    Args:
        desk: knows how far it is.
        job: the job.
        place: its address.
    """
    told = summary(job, place)
    progress = desk.progress(job)
    losses = progress.pop("losses")
    told["progress"] = progress
    if job.spec.kind == "optimize":
        told["losses"] = losses
    numbers = [int(name.partition(".")[0]) for name in desk.store.names(f"{job.id}/{PREVIEWS}")]
    links = told["links"]
    links["previews"] = [f"{place}/previews/{number}" for number in numbers]
    links["all_previews"] = f"{place}/previews" if numbers else None
    return told
