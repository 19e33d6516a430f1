"""Running the service under uvicorn: its log, time limits for slow clients, and shutdown."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from contextlib import suppress
from types import FrameType
from typing import ClassVar

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from fast_style.service.middleware import LOGGER
from fast_style.service.problems import MEDIA_TYPE
from fast_style.service.settings import ServiceSettings
from fast_style.service.state import ServiceState

__all__ = ["serve"]

_KEEP_ALIVE_SECONDS = 15

_ACCEPTED_AT_ONCE = 16
"""Connections that asyncio accepts before their protocols are created, which is where they are
counted. Without a free descriptor it fails as often as this, and each time logs a traceback."""

_WAITING_IN_KERNEL = 2048
"""Connections that may wait to be accepted."""

_MOST_CONNECTIONS = 10_000
_OTHER_DESCRIPTORS = 128
"""Descriptors for processes, files of forms, the database and models, at the least."""


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve until SIGINT or SIGTERM, which are raised again once all requests are answered.

    Args:
        app: the app that `create_app` built.
        settings: the same settings as there.

    Raises:
        OSError: the service cannot listen on the address.
    """
    _log_to_stderr(requests=not settings.quiet)
    listener = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        http=_protocol_class(settings.idle_seconds, _most_connections()),
        ws="none",
        loop="auto",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=settings.trust_proxy,
        forwarded_allow_ips="*" if settings.trust_proxy else None,
        backlog=_ACCEPTED_AT_ONCE,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    state: ServiceState = app.state.service
    with listener:
        _Server(config, state, _address(listener)).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Prints its address, and refuses requests as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, state: ServiceState, address: str) -> None:
        super().__init__(config)
        self._service, self._address = state, address
        self._reported = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_WAITING_IN_KERNEL)
        if self.started and not self._service.settings.quiet:
            print(f"fast-style: serving on {self._address}", file=sys.stderr, flush=True)

    async def on_tick(self, counter: int) -> bool:
        if self._service.failure is not None and not self._reported:
            print(f"fast-style: not ready: {self._service.failure}", file=sys.stderr, flush=True)
            self._reported = True
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.admission.draining = True
        super().handle_exit(sig, frame)


def _most_connections() -> int:
    """Return the number of connections that leaves enough descriptors for everything else.

    The soft limit of descriptors is raised to the hard one first.
    """
    try:
        import resource
    except ImportError:  # Windows, where descriptors are not the limit
        return _MOST_CONNECTIONS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return min(_MOST_CONNECTIONS, max(1, soft - max(_OTHER_DESCRIPTORS, soft // 4)))


def _protocol_class(seconds: float, most_connections: int) -> type[asyncio.Protocol]:
    class Protocol(_TimedProtocol):
        idle_seconds = seconds
        most = most_connections
        waiting: ClassVar[dict[_TimedProtocol, None]] = {}

    return Protocol


class _TimedProtocol(H11Protocol):
    """Limits the time for the head of a request, for which uvicorn would wait forever.

    The same timer limits how long a client may go on sending after its response. Until then the
    bytes are read and dropped: if the connection were closed at once, the client might not see the
    response.

    There are at most `most` connections. For one more, that which has waited longest for its client
    is closed, so that idle connections cannot keep others out.
    """

    idle_seconds: float
    most: int
    waiting: ClassVar[dict[_TimedProtocol, None]]
    """The connections that wait for their clients, in order, of all instances of the class."""

    _timer: asyncio.TimerHandle | None = None
    _reading = False  # bytes of a request have arrived, but not its whole head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does so only for sockets of a known protocol number, which those of `_listen` have
        # not. Without it, each response on a reused connection waits 40 ms for an acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._start_timer(self.idle_seconds)
        if len(self.connections) > self.most:
            oldest = next(iter(self.waiting))  # maybe this one, if all others are being served
            oldest._stop_timer()
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_responding():
            self._stop_timer()
        elif not self._reading:
            self._start_timer(self.idle_seconds)
            self._reading = True

    def on_response_complete(self) -> None:
        self._start_timer(max(self.idle_seconds, self.timeout_keep_alive))
        super().on_response_complete()
        if self._is_responding():  # the next request has arrived already
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # a response is being sent
            return
        document = {
            "type": "about:blank",
            "title": "Not HTTP",
            "status": 400,
            "detail": "the request is not valid HTTP/1.1",
        }
        body = json.dumps(document).encode()
        headers = [("Content-Type", MEDIA_TYPE), ("Connection", "close")]
        headers.append(("Content-Length", str(len(body))))
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.transport.close)
        self.waiting[self] = None

    def _stop_timer(self) -> None:
        self._reading = False
        self.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _log_to_stderr(*, requests: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.handlers[:] = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(logging.INFO if requests else logging.CRITICAL)
    errors = logging.getLogger("uvicorn.error")
    errors.handlers[:] = [handler]
    errors.propagate = False
    errors.setLevel(logging.WARNING)
