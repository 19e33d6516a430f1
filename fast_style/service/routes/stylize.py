"""`POST /v1/stylize`: a photo in, its stylized self out."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Coroutine
from contextlib import nullcontext, suppress
from typing import Any, TypeVar

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fast_style.images import Photo, encode_image
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions
from fast_style.service.admission import Body
from fast_style.service.multipart import read_form
from fast_style.service.problems import Problem, documented
from fast_style.service.state import ServiceState
from fast_style.service.stylize_form import FORMATS, StylizeOrder, read_order

__all__ = ["stylize_router"]

_Result = TypeVar("_Result")

_LARGE_PIXELS = 2_000_000
"""Of photos with more, one is in the network at a time."""

_HEADERS = {
    "Fast-Style-Seconds": ("number", "Time taken from the whole body to the finished picture."),
    "Fast-Style-Engine": ("string", "What ran the network, with device and precision."),
    "Fast-Style-Size": ("string", "Width and height of the picture, such as 1024x682."),
    "Server-Timing": ("string", "Milliseconds of each stage: wait, decode, network, encode."),
}
_NOTES = "Fast-Style-Notes"


def stylize_router(state: ServiceState) -> APIRouter:
    """Make the route.

    Args:
        state: what the service works with.
    """
    router = APIRouter(tags=["pictures"])
    settings = state.settings

    @router.post(
        "/v1/stylize",
        summary="Put a style on a photo",
        operation_id="stylize",
        response_class=Response,
        responses={200: _ok(), **documented(400, 408, 413, 415, 422, 500, 503, 504)},
    )
    async def stylize(request: Request) -> Response:
        """Give the photo in a style, as a picture file without metadata unless asked for."""
        state.places.check()
        with state.places.body() as body:
            form = await read_form(
                request,
                max_bytes=settings.max_body_bytes,
                idle_seconds=settings.idle_seconds,
                total_seconds=settings.body_seconds,
                on_bytes=body.add,
            )
            order = read_order(form)
            del form
            try:
                async with asyncio.timeout(settings.request_seconds):
                    return await _unless_gone(request, _answer(state, order, body))
            except TimeoutError as error:
                raise Problem(
                    504,
                    "It took too long",
                    f"the picture was not ready within {settings.request_seconds:g} seconds: try "
                    "again, or with a smaller size",
                    headers={"Retry-After": "5"},
                ) from error

    return router


async def _answer(state: ServiceState, order: StylizeOrder, body: Body) -> Response:
    """Do the work, stage by stage."""
    start = time.perf_counter()
    times: dict[str, float] = {}
    timed = state.metrics.timed
    # What asks for a style that is not there should not wait for its turn.
    parts = await state.styles.parts(order.style)
    async with state.places.turn() as turn:
        waited = time.perf_counter() - start
        with timed("decode", times):
            photo = await state.decoders.decode(order.photo, order.size)
        body.free()
        order = dataclasses.replace(order, photo=b"")
        stylizer = await state.styles.get(order.style)  # it is loaded but for the first time
        asked = time.perf_counter()
        begun, done, photo = await turn.run(
            state.network, _painted, stylizer, photo, order, state.large
        )
        times["network"], times["wait"] = done - begun, waited + begun - asked
        for stage in ("network", "wait"):
            state.metrics.observe(stage, times[stage])
        with timed("encode", times):
            format = order.format or ("jpeg" if photo.alpha is None else "png")
            data, _ = await turn.run(state.writers, _encoded, photo, format)
    state.metrics.megapixels.inc(photo.width * photo.height / 1e6)
    state.metrics.pictures.labels(parts[0][0].name if len(parts) == 1 else "mixture").inc()
    engine = stylizer.engine
    headers = {
        "Fast-Style-Seconds": f"{time.perf_counter() - start:.4f}",
        "Fast-Style-Engine": f"{engine.name} ({engine.device}, {engine.precision})",
        "Fast-Style-Size": f"{photo.width}x{photo.height}",
        "Server-Timing": ", ".join(f"{stage};dur={1000 * s:.1f}" for stage, s in times.items()),
        "Cache-Control": "no-store",
    }
    if photo.notes:
        notes = "; ".join(photo.notes)
        headers[_NOTES] = notes.encode("ascii", "replace").decode("ascii")
    return Response(data, headers=headers, media_type=FORMATS[format])


def _painted(
    stylizer: Stylizer, photo: Photo, order: StylizeOrder, large: threading.Lock
) -> tuple[float, float, Photo]:
    """Run the network, in its thread; give when it began and ended, too."""
    pixels = photo.width * photo.height / min(1.0, order.stroke_size) ** 2
    with large if pixels > _LARGE_PIXELS else nullcontext():
        begun = time.perf_counter()
        options = StyleOptions(
            size=order.size,
            strength=order.strength,
            preserve_color=order.preserve_color,
            stroke_size=order.stroke_size,
        )
        stylized = stylizer.stylize_photo(photo, options)
    if not order.keep_metadata:
        stylized = dataclasses.replace(stylized, exif=None, icc_profile=None)
    return begun, time.perf_counter(), stylized


def _encoded(photo: Photo, format: str) -> tuple[bytes, tuple[str, ...]]:
    return encode_image(photo, format=format)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Do work for a request, and drop it if the client goes away.

    Raises:
        ClientDisconnect: it went away.
    """
    task = asyncio.create_task(work)
    watch = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _ok() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "description": "The picture.",
        "content": {media_type: binary for media_type in FORMATS.values()},
        "headers": {
            name: {"description": text, "required": True, "schema": {"type": kind}}
            for name, (kind, text) in _HEADERS.items()
        }
        | {_NOTES: {"description": "What became of the photo.", "schema": {"type": "string"}}},
    }
