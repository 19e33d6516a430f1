"""The routes for background jobs; no work is done in this process, and torch is not imported."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from fast_style.errors import ArchiveError, KeyReusedError, QueueFullError
from fast_style.service.jobs.batch_job import PREVIEWS
from fast_style.service.jobs.client import ENDED, Job, JobClient
from fast_style.service.jobs_state import JobsState
from fast_style.service.middleware import CALLER
from fast_style.service.multipart import read_form
from fast_style.service.problems import Problem, busy_problem, problem_responses
from fast_style.service.routes.job_document import (
    JOB_LINKS,
    JobDocument,
    JobListDocument,
    describe_job,
    summarize_job,
)
from fast_style.service.state import ServiceState

__all__ = ["router"]

_RETRY_SECONDS = 30
_CHUNK = 1 << 18
_NO_STORE = {"Cache-Control": "no-store"}

_MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "tif": "image/tiff",
    "zip": "application/zip",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "gif": "image/gif",
}

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_JOB: dict[int | str, dict[str, Any]] = {
    200: {"model": JobDocument, "description": "The job as it is now."}
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same form is the same job, however often it is sent; "
    "best a UUID.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}

_T = TypeVar("_T")

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "",
    status_code=202,
    summary="Request a job",
    operation_id="ask_for_job",
    response_class=JSONResponse,
    responses={
        202: {
            "model": JobDocument,
            "description": "The job is accepted; Location is its address.",
            "links": JOB_LINKS,
        },
        **problem_responses(400, 408, 413, 415, 422, 503),
    },
    openapi_extra={"parameters": [_IDEMPOTENCY_KEY]},
)
async def create_job(request: Request) -> Response:
    """Accept a job, or return the one that was accepted for the same idempotency key."""
    state = _state(request)
    key = _idempotency_key(request)
    if state.uploads.locked():
        raise busy_problem("too many uploads at once: try again", _RETRY_SECONDS)
    async with state.uploads:
        if not key and await _in_thread(state.client.count_waiting) >= state.jobs.queue_limit:
            raise busy_problem(
                f"{state.jobs.queue_limit} jobs wait already: try again later", _RETRY_SECONDS
            )
        job = await _submit(request, state, key)
    address = _address(request, job)
    document = await _in_thread(lambda: describe_job(state.client, job, address))
    return JSONResponse(document, 202, {"Location": address, **_NO_STORE})


@router.get(
    "",
    summary="List your own jobs, the newest first",
    operation_id="list_jobs",
    response_class=JSONResponse,
    responses={
        200: {"model": JobListDocument, "description": "A hundred at most."},
        **problem_responses(404, 503),
    },
)
async def list_jobs(request: Request) -> Response:
    """List the jobs of the API key of the request."""
    state = _state(request)
    if state.settings.keys is None:
        raise Problem(
            404,
            "There is no list",
            "without API keys clients cannot be told apart: ask for a job by its address",
        )
    jobs = await _in_thread(lambda: state.client.list_jobs(_owner(request)))
    listed = [summarize_job(job, _address(request, job)) for job in jobs]
    return JSONResponse({"jobs": listed}, headers=_NO_STORE)


@router.get(
    "/{job_id}",
    summary="Show a job: its state, progress and links",
    operation_id="job",
    response_class=JSONResponse,
    responses={**_JOB, **problem_responses(404, 503)},
)
async def show_job(request: Request, job_id: str) -> Response:
    """Describe a job as it is now."""
    return await _describe(request, await _find(request, job_id))


@router.delete(
    "/{job_id}",
    summary="Cancel a job; of one that has ended, delete the files",
    operation_id="cancel_job",
    response_class=JSONResponse,
    responses={**_JOB, **problem_responses(404, 503)},
)
async def cancel_job(request: Request, job_id: str) -> Response:
    """Cancel a job, or delete its files if it has ended."""
    job = await _find(request, job_id)
    await _in_thread(lambda: _state(request).client.cancel(job))
    return await _describe(request, await _find(request, job_id))


@router.get(
    "/{job_id}/result",
    summary="The picture or the video; of a batch, a ZIP of the pictures and a report",
    operation_id="job_result",
    response_class=Response,
    responses={
        200: {
            "description": "The result.",
            "content": {kind: _BINARY for kind in sorted(set(_MEDIA_TYPES.values()))},
        },
        **problem_responses(404, 409, 410, 503),
    },
)
async def send_result(request: Request, job_id: str) -> Response:
    """Send the result of a job that is done."""
    job = await _find(request, job_id)
    if job.state != "done":
        reasons = {
            "queued": "it waits for a worker",
            "running": "it is not finished yet",
            "cancelled": "it was cancelled",
            "failed": job.error,
        }
        raise Problem(
            409,
            "There is no result",
            f"the job {job.id} has no result: {reasons[job.state]}",
            headers={} if job.state in ENDED else {"Retry-After": "2"},
        )
    name = str(job.output["result"])
    return await _send_file(request, job, name, f"job-{job.id[:8]}.{name.rpartition('.')[2]}")


@router.get(
    "/{job_id}/previews",
    summary="All intermediate pictures so far",
    operation_id="job_previews",
    response_class=Response,
    responses={
        200: {
            "description": "A ZIP archive, empty if there are none yet.",
            "content": {"application/zip": _BINARY},
        },
        **problem_responses(404, 410, 503),
    },
)
async def send_previews(request: Request, job_id: str) -> Response:
    """Send the intermediate pictures of a job, or the finished ones of a batch, as a ZIP."""
    client, job = _state(request).client, await _find(request, job_id)
    file = await _in_thread(lambda: _zip_previews(client, job))
    headers = {"Content-Disposition": f'attachment; filename="previews-{job.id[:8]}.zip"'}
    return StreamingResponse(_read_chunks(file), 200, headers, "application/zip")


@router.get(
    "/{job_id}/previews/{number}",
    summary="One of them: after that many iterations, or of that photo of a batch",
    operation_id="job_preview",
    response_class=Response,
    responses={
        200: {"description": "The picture.", "content": {"image/*": _BINARY}},
        **problem_responses(404, 410, 422, 503),
    },
)
async def send_preview(request: Request, job_id: str, number: int) -> Response:
    """Send one intermediate picture of a job, or one finished picture of a batch."""
    client, job = _state(request).client, await _find(request, job_id)
    for name in await _in_thread(lambda: client.store.names(f"{job.id}/{PREVIEWS}")):
        if name.partition(".")[0] == f"{number:05d}":
            return await _send_file(request, job, f"{PREVIEWS}/{name}", name)
    raise Problem(404, "No such preview", f"the job {job.id} has no picture {number} (yet)")


def _state(request: Request) -> JobsState:
    state: JobsState = request.app.state.jobs
    return state


async def _in_thread(call: Callable[[], _T]) -> _T:
    """Call the job client in a thread, and raise its errors as problems."""
    from sqlalchemy.exc import SQLAlchemyError

    retry = {"Retry-After": str(_RETRY_SECONDS)}
    try:
        return await run_in_threadpool(call)
    except KeyReusedError as error:
        raise Problem(422, "The Idempotency-Key is in use", str(error)) from error
    except QueueFullError as error:
        raise busy_problem(str(error), _RETRY_SECONDS) from error
    except ArchiveError as error:
        raise Problem(422, "The archive cannot be used", str(error)) from error
    except SQLAlchemyError as error:
        sentence = "the database of the jobs cannot be reached: try again"
        raise Problem(503, "The jobs cannot be reached", sentence, headers=retry) from error
    except OSError as error:
        sentence = "the files of the jobs cannot be reached: try again"
        raise Problem(503, "The jobs cannot be reached", sentence, headers=retry) from error


async def _submit(request: Request, state: JobsState, key: str) -> Job:
    """Receive the form of a job, check it, and enqueue the job."""
    settings, max_bytes = state.settings, state.forms.max_bytes
    form = await read_form(
        request,
        max_bytes=max_bytes,
        max_files=state.forms.max_files,
        idle_seconds=settings.idle_seconds,
        # A client needs an upload rate of a megabyte a second.
        total_seconds=max(settings.body_seconds, max_bytes / 1e6),
        on_disk=True,
    )
    try:
        spec, files = await _in_thread(lambda: state.forms.parse(form))
        if spec.kind == "optimize":
            # In a batch a broken photo fails alone; here it would fail the job.
            service: ServiceState = request.app.state.service
            for picture in files.values():
                picture.seek(0)
                await service.decoders.decode(await run_in_threadpool(picture.read), 64)
        owner = _owner(request)
        job, _ = await _in_thread(lambda: state.client.submit(spec, files, owner=owner, key=key))
        return job
    finally:
        form.close()


async def _find(request: Request, job_id: str) -> Job:
    """Find a job of the client; those of other API keys do not exist for it."""
    job = None
    if re.fullmatch("[0-9a-f]{32}", job_id):
        client, owner = _state(request).client, _owner(request)
        job = await _in_thread(lambda: client.find(job_id, owner=owner))
    if job is None:
        raise Problem(404, "No such job", f"there is no job {job_id[:80]!r}: check its address")
    is_file = bool(request.url.path.removesuffix("/").rpartition(job_id)[2])
    if job.state == "expired" and is_file:
        raise _expired(job)
    return job


def _owner(request: Request) -> str:
    """Return the name of the API key of a request, "" without keys."""
    return str(request.scope.get(CALLER, ""))


def _expired(job: Job) -> Problem:
    return Problem(410, "The job has expired", f"the files of the job {job.id} have been deleted")


def _idempotency_key(request: Request) -> str:
    sent = request.headers.get("idempotency-key", "")
    key = sent.strip().strip('"')
    if "idempotency-key" in request.headers and not (
        key and len(sent) <= 255 and key.isprintable()
    ):
        raise Problem(
            422, "A header is wrong", "the Idempotency-Key must have 1 to 255 printable characters"
        )
    return key


def _address(request: Request, job: Job) -> str:
    return f"{request.scope.get('root_path', '')}/v1/jobs/{job.id}"


async def _describe(request: Request, job: Job) -> Response:
    client, address = _state(request).client, _address(request, job)
    document = await _in_thread(lambda: describe_job(client, job, address))
    return JSONResponse(document, headers=_NO_STORE)


async def _send_file(request: Request, job: Job, name: str, filename: str) -> Response:
    """Send a file of a job, from the folder or from the object store."""
    store = _state(request).client.store
    headers = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
    media_type = _MEDIA_TYPES[filename.rpartition(".")[2]]
    path = store.path(f"{job.id}/{name}")
    if path is not None:
        if not path.is_file():
            raise _expired(job)
        return FileResponse(path, 200, headers, media_type, filename=filename)
    headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    try:
        stream = await run_in_threadpool(store.open, f"{job.id}/{name}")
    except FileNotFoundError as error:
        raise _expired(job) from error
    return StreamingResponse(_read_chunks(stream), 200, headers, media_type)


def _zip_previews(client: JobClient, job: Job) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed once it is sent
    with zipfile.ZipFile(file, "w") as archive:  # stored: pictures cannot be compressed further
        for name in client.store.names(f"{job.id}/{PREVIEWS}"):
            data = client.store.read(f"{job.id}/{PREVIEWS}/{name}")
            archive.writestr(zipfile.ZipInfo(name), data)
    file.seek(0)
    return file


def _read_chunks(stream: IO[bytes]) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
