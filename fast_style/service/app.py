"""The service as an ASGI app: what it consists of, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from fast_style._version import __version__
from fast_style.service import openapi, problems
from fast_style.service.auth import KeyFile, RateLimit
from fast_style.service.middleware import Gatekeeper, RequestLog
from fast_style.service.routes.health import health_router
from fast_style.service.routes.styles import style_router
from fast_style.service.routes.stylize import stylize_router
from fast_style.service.settings import ServiceSettings
from fast_style.service.state import ServiceState

if TYPE_CHECKING:
    from fast_style.service.jobs.settings import JobSettings

__all__ = ["create_app"]


def create_app(settings: ServiceSettings, jobs: JobSettings | None = None) -> FastAPI:
    """Build the service.

    Args:
        settings: its options.
        jobs: the options of the jobs; None leaves them out.

    Returns:
        The app; `app.state.service` is its `ServiceState`.

    Raises:
        UsageError: the file of keys is not sound.
    """
    state = ServiceState(settings)
    keys = None if settings.keys is None else KeyFile(settings.keys)
    rate = RateLimit(settings.rate, settings.burst) if settings.rate else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await state.start()
        try:
            yield
        finally:
            await state.stop()

    # No pages of documentation: FastAPI's load their scripts from elsewhere.
    app = FastAPI(
        title="Fast Style",
        version=__version__,
        description=openapi.TEXT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = state
    app.include_router(stylize_router(state))
    app.include_router(style_router(state))
    app.include_router(health_router(state))
    if jobs is not None:
        from fast_style.service.routes.jobs import jobs_router

        app.include_router(jobs_router(settings, jobs))
    # The last one added is the first that a request meets.
    app.add_middleware(Gatekeeper, keys=keys, rate=rate)
    origins = [origin.strip() for origin in settings.cors.split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Idempotency-Key"],
            expose_headers=[*openapi.OWN_HEADERS, "Retry-After", "Location"],
        )
    app.add_middleware(RequestLog, metrics=state.metrics)
    problems.install(app)
    limited = {"with_keys": keys is not None, "with_rate": rate is not None}
    openapi.install(app, state, jobs, **limited)
    return app
