"""What every request passes on its way in and out: the log, and who may come in."""

from __future__ import annotations

import json
import logging
import secrets
import time
from datetime import UTC, datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fast_style.service.auth import KeyFile, RateLimit
from fast_style.service.metrics import ServiceMetrics
from fast_style.service.problems import Problem, problem_response

__all__ = ["LOGGER", "Gatekeeper", "RequestLog"]

LOGGER = logging.getLogger("fast_style.requests")
"""Gets one line of JSON a request; where it goes is for who runs the app to say."""

CALLER = "fast_style.caller"
_OPEN = ("/healthz", "/readyz", "/openapi.json")
_UNKNOWN = "unknown"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_GONE = 499  # as web servers log a client that did not wait


class RequestLog:
    """Logs and counts each request, and gives it an id; nothing of what is in it is logged."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        """Stand before an app."""
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, identity = time.perf_counter(), secrets.token_hex(8)
        status, sent, received, over = _GONE, 0, 0, False

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            nonlocal status, sent, over
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = identity
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
                over = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, counted_receive, counted_send)
        finally:
            if not over:
                status = _GONE
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", _UNKNOWN)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(seconds)
            if LOGGER.isEnabledFor(logging.INFO):
                line = {
                    "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "id": identity,
                    "client": (scope.get("client") or ("",))[0],
                    "key": scope.get(CALLER),
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "seconds": round(seconds, 4),
                    "bytes_in": received,
                    "bytes_out": sent,
                }
                LOGGER.info(json.dumps(line))


class Gatekeeper:
    """Asks for a key where keys are in force, and limits how often each caller may come."""

    def __init__(self, app: ASGIApp, keys: KeyFile | None, rate: RateLimit | None) -> None:
        """Stand before an app.

        Args:
            app: the app.
            keys: the keys; None asks for none.
            rate: how often a caller may come; None does not limit it.
        """
        self._app, self._keys, self._rate = app, keys, rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that it may not be."""
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            try:
                self._admit(scope)
            except Problem as problem:
                await problem_response(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        caller = "address " + (scope.get("client") or ("",))[0]
        if self._keys is not None:
            key = _key_in(Headers(scope=scope))
            if key is None:
                raise Problem(
                    401,
                    "A key is needed",
                    "send an API key as Authorization: Bearer KEY, or as X-API-Key: KEY",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            name = self._keys.name_of(key)
            if name is None:
                raise Problem(403, "The key is not known", "the API key is not known here")
            scope[CALLER] = name
            caller = "key " + name
        # Whoever watches the service should not use up its own clients' rate.
        if self._rate is not None and scope["path"] != "/metrics":
            seconds = self._rate.wait(caller)
            if seconds:
                raise Problem(
                    429,
                    "Too many requests",
                    f"that was too often: try again in {seconds} s",
                    headers={"Retry-After": str(seconds)},
                )


def _key_in(headers: Headers) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key") or None
