"""The service as an ASGI app, put together from its parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from fast_style._version import __version__
from fast_style.service import openapi, problems
from fast_style.service.auth import KeyFile, RateLimit
from fast_style.service.middleware import AuthMiddleware, RequestLogMiddleware
from fast_style.service.routes import health, styles, stylize
from fast_style.service.settings import ServiceSettings
from fast_style.service.state import ServiceState

if TYPE_CHECKING:
    from fast_style.service.jobs.settings import JobSettings
    from fast_style.service.jobs_state import JobsState

__all__ = ["create_app"]


def create_app(settings: ServiceSettings, jobs: JobSettings | None = None) -> FastAPI:
    """Build the service.

    Args:
        settings: its options.
        jobs: the options of the jobs; None leaves them out.

    Returns:
        The app; `app.state.service` is its `ServiceState`, `app.state.jobs` its `JobsState`.

    Raises:
        UsageError: the file of keys cannot be read or has a malformed line.
    """
    keys = None if settings.keys is None else KeyFile(settings.keys)
    rate = RateLimit(settings.rate, settings.burst) if settings.rate else None
    state, jobs_state = ServiceState(settings), None
    if jobs is not None:
        from fast_style.service.jobs_state import JobsState

        jobs_state = JobsState(settings, jobs)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(state.stop)
            await state.start()
            if jobs_state is not None:
                await stack.enter_async_context(jobs_state.lifespan(state.metrics))
            yield

    # No pages of documentation: FastAPI's load their scripts from another host.
    app = FastAPI(
        title="Fast Style",
        version=__version__,
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service, app.state.jobs = state, jobs_state
    _add_routes(app, jobs_state)
    _add_middleware(app, settings, keys, rate)
    problems.install(app)
    job_forms = None if jobs_state is None else jobs_state.forms
    openapi.install(app, job_forms, with_keys=keys is not None, with_rate=rate is not None)
    return app


def _add_routes(app: FastAPI, jobs_state: JobsState | None) -> None:
    app.include_router(stylize.router)
    app.include_router(styles.router)
    app.include_router(health.router)
    if jobs_state is not None:
        from fast_style.service.routes import jobs

        app.include_router(jobs.router)


def _add_middleware(
    app: FastAPI, settings: ServiceSettings, keys: KeyFile | None, rate: RateLimit | None
) -> None:
    """Add the middleware; the one that is added last is called first."""
    state: ServiceState = app.state.service
    app.add_middleware(AuthMiddleware, keys=keys, rate=rate)
    origins = [origin.strip() for origin in settings.cors.split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Idempotency-Key"],
            expose_headers=[*openapi.OWN_HEADERS, "Retry-After", "Location"],
        )
    app.add_middleware(RequestLogMiddleware, metrics=state.metrics)
