"""ASGI middleware: the log of requests, and API keys with their rate limit."""

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
from fast_style.service.problems import CLIENT_CLOSED_REQUEST, Problem, problem_response

__all__ = ["CALLER", "LOGGER", "AuthMiddleware", "RequestLogMiddleware"]

LOGGER = logging.getLogger("fast_style.requests")
"""Logs one line of JSON per request; `server.serve` sends it to stderr."""

CALLER = "fast_style.caller"
"""The entry of the ASGI scope with the name of the API key."""

_PUBLIC_PATHS = ("/healthz", "/readyz", "/openapi.json")
_UNKNOWN = "unknown"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class RequestLogMiddleware:
    """Logs and counts each request, and gives it an id; its contents are not logged."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        """Wrap an app."""
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, identity = time.perf_counter(), secrets.token_hex(8)
        status, sent, received, complete = CLIENT_CLOSED_REQUEST, 0, 0, False

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            nonlocal status, sent, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = identity
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
                complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, counted_receive, counted_send)
        finally:
            if not complete:
                status = CLIENT_CLOSED_REQUEST
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


class AuthMiddleware:
    """Checks the API key of each request, and limits the rate of each caller."""

    def __init__(self, app: ASGIApp, keys: KeyFile | None, rate: RateLimit | None) -> None:
        """Wrap an app.

        Args:
            app: the app.
            keys: the keys; None if no key is needed.
            rate: the rate limit; None if there is none.
        """
        self._app, self._keys, self._rate = app, keys, rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in _PUBLIC_PATHS:
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
            name = self._keys.find_name(key)
            if name is None:
                raise Problem(
                    403, "The key is not known", "the API key is not known to this service"
                )
            scope[CALLER] = name
            caller = "key " + name
        # Monitoring does not count towards the rate of a client.
        if self._rate is not None and scope["path"] != "/metrics":
            seconds = self._rate.take_token(caller)
            if seconds:
                raise Problem(
                    429,
                    "Too many requests",
                    f"this client has sent too many requests: try again in {seconds} s",
                    headers={"Retry-After": str(seconds)},
                )


def _key_in(headers: Headers) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key") or None
