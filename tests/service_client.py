"""A synchronous client that calls an app without a network, with its lifespan."""

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import Any

import httpx
from fastapi import FastAPI

PATIENCE = 60.0


class AppClient:
    """Calls an app; the app runs within `with`."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = AsyncExitStack()
        # Errors are answered as the service answers them, not raised here.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://testserver")

    def __enter__(self) -> "AppClient":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.wait_for(self._open.enter_async_context(self.app.router.lifespan_context(self.app)))
        return self

    def __exit__(self, *_: object) -> None:
        self.wait_for(self._open.aclose())
        self.wait_for(self._client.aclose())
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_for(self, work: Any) -> Any:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        request = self._client.request(method, path, **options)
        return asyncio.run(request) if self._loop is None else self.wait_for(request)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)
