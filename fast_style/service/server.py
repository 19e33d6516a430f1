"""Running the service under uvicorn: its log, patience with slow clients, and how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from types import FrameType

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


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve until SIGINT or SIGTERM, which are passed on once what is in flight is finished.

    Args:
        app: what `create_app` gives.
        settings: the same as there.

    Raises:
        OSError: the address cannot be listened on.
    """
    _log_to_stderr(requests=not settings.quiet)
    listener = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        http=_patient_for(settings.idle_seconds),
        ws="none",
        loop="auto",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=settings.trust_proxy,
        forwarded_allow_ips="*" if settings.trust_proxy else None,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    state: ServiceState = app.state.service
    with listener:
        _Server(config, state, _shown(listener)).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says where it listens, and lets no request in from the moment that it is to end."""

    def __init__(self, config: uvicorn.Config, state: ServiceState, address: str) -> None:
        super().__init__(config)
        self._service, self._address = state, address
        self._told = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self._service.settings.quiet:
            print(f"fast-style: serving on {self._address}", file=sys.stderr, flush=True)

    async def on_tick(self, counter: int) -> bool:
        if self._service.trouble is not None and not self._told:
            print(f"fast-style: not ready: {self._service.trouble}", file=sys.stderr, flush=True)
            self._told = True
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.places.draining = True
        super().handle_exit(sig, frame)


def _patient_for(seconds: float) -> type[asyncio.Protocol]:
    class Protocol(_Protocol):
        patience = seconds

    return Protocol


class _Protocol(H11Protocol):
    """Does not wait forever for the head of a request, which uvicorn would.

    The same clock ends the reading of what a client goes on sending after its answer: for so long
    it is read and dropped, since closing at once would take the answer from the client's hands.
    """

    patience: float
    _clock: asyncio.TimerHandle | None = None
    _reading = False  # bytes have come since the last answer, and no head of a request is complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wind(self.patience)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._at_work():
            self._stop()
        elif not self._reading:
            self._wind(self.patience)
            self._reading = True

    def on_response_complete(self) -> None:
        self._wind(max(self.patience, self.timeout_keep_alive))
        super().on_response_complete()
        if self._at_work():  # the next request was there already
            self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # an answer is on its way already
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

    def _at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wind(self, seconds: float) -> None:
        self._stop()
        self._clock = self.loop.call_later(seconds, self.transport.close)

    def _stop(self) -> None:
        self._reading = False
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _shown(listener: socket.socket) -> str:
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
