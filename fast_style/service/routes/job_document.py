"""How the service describes a job in JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from fast_style.service.jobs.batch_job import PREVIEWS
from fast_style.service.jobs.client import Job, JobClient, State
from fast_style.service.jobs.spec import Kind

__all__ = ["JOB_LINKS", "JobDocument", "JobListDocument", "describe_job", "summarize_job"]


class ProgressDocument(BaseModel):
    """How far a job is."""

    done: int
    total: int
    unit: Literal["photos", "iterations", "frames"]
    failed: int | None = Field(None, description="Photos of a batch that could not be used.")


class LinksDocument(BaseModel):
    """Paths of this service."""

    self: str
    result: str | None = Field(description="Once the job is done.")
    previews: list[str] = Field([], description="Intermediate pictures.")
    all_previews: str | None = Field(None, description="All of them as a ZIP archive.")


class JobDocument(BaseModel):
    """A job."""

    id: str
    kind: Kind
    state: State
    created: datetime
    started: datetime | None
    ended: datetime | None
    expires: datetime | None = Field(description="When its files are deleted.")
    options: dict[str, Any]
    progress: ProgressDocument | None = Field(None, description="Not in lists of jobs.")
    losses: list[dict[str, Any]] = Field(
        [], description="Of an optimisation: the loss and its terms after each iteration."
    )
    error: str | None = Field(description="A sentence, if the job failed.")
    links: LinksDocument


class JobListDocument(BaseModel):
    """The jobs of a client."""

    jobs: list[JobDocument]


JOB_LINKS = {
    name: {"operationId": name, "parameters": {"job_id": "$response.body#/id"}}
    for name in ("job", "job_result", "job_previews", "cancel_job")
}
"""The operations that take the id of a new job."""


def summarize_job(job: Job, address: str) -> dict[str, Any]:
    """Describe a job without reading its files.

    Args:
        job: the job.
        address: its path of this service.
    """
    return {
        "id": job.id,
        "kind": job.spec.kind,
        "state": job.state,
        "created": _timestamp(job.created),
        "started": _timestamp(job.started),
        "ended": _timestamp(job.ended),
        "expires": _timestamp(job.expires),
        "options": job.spec.options,
        "error": job.error,
        "links": {
            "self": address,
            "result": f"{address}/result" if job.state == "done" else None,
        },
    }


def describe_job(client: JobClient, job: Job, address: str) -> dict[str, Any]:
    """Describe a job as `JobDocument`.

    Args:
        client: reads its files.
        job: the job.
        address: its path of this service.
    """
    document = summarize_job(job, address)
    progress = client.read_progress(job)
    losses = progress.pop("losses")
    document["progress"] = progress
    if job.spec.kind == "optimize":
        document["losses"] = losses
    names = client.store.names(f"{job.id}/{PREVIEWS}")
    numbers = [int(name.partition(".")[0]) for name in names]
    links = document["links"]
    links["previews"] = [f"{address}/previews/{number}" for number in numbers]
    links["all_previews"] = f"{address}/previews" if numbers else None
    return document


def _timestamp(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
