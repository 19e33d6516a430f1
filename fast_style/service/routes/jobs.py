"""The service's routes for background jobs; no work is done in this process, and no torch loaded.

The router brings its own lifespan: with it the database is opened, as `app.state.jobs`, and the
service's own worker is started and ended.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import IO, TypeVar

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from fast_style.errors import ArchiveError, KeyReusedError, QueueFullError
from fast_style.service.job_form import largest_body, read_job
from fast_style.service.jobs.batch_job import PREVIEWS
from fast_style.service.jobs.client import ENDED, Desk, Job
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.supervisor import WorkerProcess
from fast_style.service.middleware import CALLER
from fast_style.service.multipart import read_form
from fast_style.service.problems import Problem, documented
from fast_style.service.routes.job_document import JOB_LINKS, JOB_SCHEMA, document, summary
from fast_style.service.settings import ServiceSettings
from fast_style.service.state import ServiceState

_UPLOADS_AT_ONCE = 4
_RETRY = {"Retry-After": "30"}
_CHUNK = 1 << 18

_MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "tif": "image/tiff",
    "zip": "application/zip",
}

_T = TypeVar("_T")


def jobs_router(settings: ServiceSettings, jobs: JobSettings) -> APIRouter:
    """Make the routes below `/v1/jobs`.

    Args:
        settings: of the service.
        jobs: of the jobs.

    Returns:
        A router for `include_router`, with a lifespan of its own: see the module.
    """
    uploads = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.jobs = desk = await run_in_threadpool(Desk, jobs)
        worker = WorkerProcess(jobs) if jobs.worker == "own" else None
        app.state.jobs_worker = worker
        service: ServiceState = app.state.service
        service.metrics.gauge(
            "fast_style_jobs_waiting", "Jobs that wait for a worker.", lambda: _count(desk)
        )
        if worker is not None:
            worker.start()
        try:
            yield
        finally:
            if worker is not None:
                await run_in_threadpool(worker.stop)
            desk.close()

    async def taken(request: Request, desk: Desk, key: str) -> Job:
        most = largest_body(settings, jobs)
        with ExitStack() as on_disk:
            form = await read_form(
                request,
                max_bytes=most,
                max_files=1 + jobs.optimize_paintings,
                idle_seconds=settings.idle_seconds,
                # A megabyte a second is to be enough of a line.
                total_seconds=max(settings.body_seconds, most / 1e6),
                on_disk=on_disk,
            )
            spec, files = await _asked(lambda: read_job(form, settings, jobs))
            if spec.kind == "optimize":
                # The photos of a batch fail one by one; these would fail the job.
                service: ServiceState = request.app.state.service
                for picture in files.values():
                    picture.seek(0)
                    await service.decoders.decode(await run_in_threadpool(picture.read), 64)
            owner = _owner(request)
            job, _ = await _asked(lambda: desk.submit(spec, files, owner=owner, key=key))
        return job

    router = APIRouter(prefix="/v1/jobs", tags=["jobs"], lifespan=lifespan)
    shown = {"content": {"application/json": {"schema": JOB_SCHEMA}}}
    by_id = documented(404, 503)

    @router.post(
        "",
        status_code=202,
        summary="Ask for a job",
        operation_id="ask_for_job",
        responses={
            202: {
                "description": "It is taken; Location says where to look for it.",
                "links": JOB_LINKS,
                **shown,
            },
            **documented(400, 408, 413, 415, 422, 503),
        },
        openapi_extra={
            "parameters": [
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "required": False,
                    "description": "The same key with the same form is the same job, however often "
                    "it is sent; best a UUID.",
                    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
                }
            ],
        },
    )
    async def ask(request: Request) -> Response:
        desk: Desk = request.app.state.jobs
        key = _idempotency_key(request)
        if uploads.locked():
            raise Problem(
                503, "All places are taken", "too many uploads at once: try again", headers=_RETRY
            )
        async with uploads:
            if not key and await _asked(desk.waiting) >= jobs.queue_limit:
                raise _full(f"{jobs.queue_limit} jobs wait already: try again later")
            job = await taken(request, desk, key)
        place = _place(request, job)
        shown = await _asked(lambda: document(desk, job, place))
        return JSONResponse(shown, 202, {"Location": place, "Cache-Control": "no-store"})

    @router.get(
        "",
        summary="List your own jobs, the newest first",
        operation_id="list_jobs",
        responses={
            200: {
                "description": "A hundred at most.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["jobs"],
                            "properties": {"jobs": {"type": "array", "items": JOB_SCHEMA}},
                        }
                    }
                },
            },
            **by_id,
        },
    )
    async def list_own(request: Request) -> Response:
        desk: Desk = request.app.state.jobs
        if settings.keys is None:
            raise Problem(
                404,
                "There is no list",
                "without API keys nobody is told apart, and jobs are known by their address only",
            )
        found = await _asked(lambda: desk.jobs_of(_owner(request)))
        listed = [summary(job, _place(request, job)) for job in found]
        return JSONResponse({"jobs": listed}, headers={"Cache-Control": "no-store"})

    @router.get(
        "/{job_id}",
        summary="Where a job stands",
        operation_id="job",
        responses={200: {"description": "As it is now.", **shown}, **by_id},
    )
    async def look(request: Request, job_id: str) -> Response:
        job = await _found(request, job_id)
        return await _shown(request, job)

    @router.delete(
        "/{job_id}",
        summary="Cancel a job; of one that has ended, delete the files",
        operation_id="cancel_job",
        responses={200: {"description": "As it is now.", **shown}, **by_id},
    )
    async def cancel(request: Request, job_id: str) -> Response:
        desk: Desk = request.app.state.jobs
        await _asked_about(desk.cancel, await _found(request, job_id))
        return await _shown(request, await _found(request, job_id))

    @router.get(
        "/{job_id}/result",
        response_class=Response,
        summary="The picture; of a batch, a ZIP of the pictures and a report",
        operation_id="job_result",
        responses={
            200: {
                "description": "The result.",
                "content": {
                    kind: {"schema": {"type": "string", "format": "binary"}}
                    for kind in sorted(set(_MEDIA_TYPES.values()))
                },
            },
            **documented(404, 409, 410, 503),
        },
    )
    async def result(request: Request, job_id: str) -> Response:
        job = await _found(request, job_id)
        if job.state != "done":
            why = {
                "queued": "it waits for a worker",
                "running": "it is being done",
                "cancelled": "it was cancelled",
                "failed": job.error,
            }
            headers = {} if job.state in ENDED else {"Retry-After": "2"}
            raise Problem(
                409,
                "There is no result",
                f"the job {job.id} has no result: {why[job.state]}",
                headers=headers,
            )
        name = str(job.output["result"])
        return await _file(request, job, name, f"job-{job.id[:8]}.{name.rpartition('.')[2]}")

    @router.get(
        "/{job_id}/previews",
        response_class=Response,
        summary="All intermediate pictures so far",
        operation_id="job_previews",
        responses={
            200: {
                "description": "A ZIP archive, empty if there are none yet.",
                "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
            },
            **documented(404, 410, 503),
        },
    )
    async def previews(request: Request, job_id: str) -> Response:
        desk: Desk = request.app.state.jobs
        job = await _found(request, job_id)
        file = await _asked(lambda: _packed(desk, job))
        headers = {"Content-Disposition": f'attachment; filename="previews-{job.id[:8]}.zip"'}
        return StreamingResponse(_pieces(file), 200, headers, "application/zip")

    @router.get(
        "/{job_id}/previews/{number}",
        response_class=Response,
        summary="One of them: after so many iterations, or of that photo of a batch",
        operation_id="job_preview",
        responses={
            200: {
                "description": "The picture.",
                "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
            },
            **documented(404, 410, 422, 503),
        },
    )
    async def preview(request: Request, job_id: str, number: int) -> Response:
        desk: Desk = request.app.state.jobs
        job = await _found(request, job_id)
        for name in await _asked(lambda: desk.store.names(f"{job.id}/{PREVIEWS}")):
            if name.partition(".")[0] == f"{number:05d}":
                return await _file(request, job, f"{PREVIEWS}/{name}", name)
        raise Problem(404, "No such preview", f"the job {job.id} has no picture {number} (yet)")

    return router


def _count(desk: Desk) -> float:
    try:
        return desk.waiting()
    except Exception:  # the database is away: the other metrics are of use all the same
        return float("nan")


async def _asked(question: Callable[[], _T]) -> _T:
    """Ask the desk, in a thread, and put what goes wrong there into a problem."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return await run_in_threadpool(question)
    except KeyReusedError as error:
        raise Problem(422, "The Idempotency-Key is taken", str(error)) from error
    except QueueFullError as error:
        raise _full(str(error)) from error
    except ArchiveError as error:
        raise Problem(422, "The archive cannot be used", str(error)) from error
    except SQLAlchemyError as error:
        raise Problem(
            503, "The jobs are away", "their database cannot be reached: try again", headers=_RETRY
        ) from error
    except OSError as error:
        raise Problem(
            503, "The jobs are away", "their files cannot be reached: try again", headers=_RETRY
        ) from error


async def _asked_about(question: Callable[[Job], _T], job: Job) -> _T:
    return await _asked(lambda: question(job))


async def _found(request: Request, job_id: str) -> Job:
    """Find a job of whoever asks; another's is not there for them."""
    desk: Desk = request.app.state.jobs
    job = None
    if re.fullmatch("[0-9a-f]{32}", job_id):
        job = await _asked(lambda: desk.find(job_id, owner=_owner(request)))
    if job is None:
        raise Problem(404, "No such job", f"there is no job {job_id[:80]!r}: check its address")
    parts = request.url.path.removesuffix("/").rpartition(job_id)[2]
    if job.state == "expired" and parts:
        raise _gone(job)
    return job


def _owner(request: Request) -> str:
    """Tell whose request it is: the name of the API key, "" without keys."""
    return str(request.scope.get(CALLER, ""))


def _gone(job: Job) -> Problem:
    return Problem(410, "The job has expired", f"the files of the job {job.id} have been deleted")


def _full(sentence: str) -> Problem:
    return Problem(503, "All places are taken", sentence, headers=_RETRY)


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


def _place(request: Request, job: Job) -> str:
    return f"{request.scope.get('root_path', '')}/v1/jobs/{job.id}"


async def _shown(request: Request, job: Job) -> Response:
    desk: Desk = request.app.state.jobs
    shown = await _asked(lambda: document(desk, job, _place(request, job)))
    return JSONResponse(shown, headers={"Cache-Control": "no-store"})


async def _file(request: Request, job: Job, name: str, shown: str) -> Response:
    """Send a file of a job, from the folder or through the store."""
    desk: Desk = request.app.state.jobs
    headers = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
    media_type = _MEDIA_TYPES[shown.rpartition(".")[2]]
    path = desk.store.path(f"{job.id}/{name}")
    if path is not None:
        if not path.is_file():
            raise _gone(job)
        return FileResponse(path, 200, headers, media_type, filename=shown)
    headers["Content-Disposition"] = f'attachment; filename="{shown}"'
    try:
        stream = await run_in_threadpool(desk.store.open, f"{job.id}/{name}")
    except FileNotFoundError as error:
        raise _gone(job) from error
    return StreamingResponse(_pieces(stream), 200, headers, media_type)


def _packed(desk: Desk, job: Job) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed once it is sent
    with zipfile.ZipFile(file, "w") as archive:  # stored: pictures do not get smaller
        for name in desk.store.names(f"{job.id}/{PREVIEWS}"):
            archive.writestr(zipfile.ZipInfo(name), desk.store.read(f"{job.id}/{PREVIEWS}/{name}"))
    file.seek(0)
    return file


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    with stream:
        while piece := stream.read(_CHUNK):
            yield piece
