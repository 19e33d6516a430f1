"""`POST /v1/stylize`: a photo in, the stylized photo out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Coroutine
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any, Literal, TypeVar

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fast_style.images import Photo, encode_image
from fast_style.images.color_transfer import measure_colors
from fast_style.images.masks import Mask, mask_of
from fast_style.inference.guides import ALPHA, Guides
from fast_style.inference.stylizer import Stylizer
from fast_style.service.admission import BodyMemory
from fast_style.service.multipart import read_form
from fast_style.service.problems import Problem, problem_responses
from fast_style.service.state import ServiceState
from fast_style.service.style_cache import STYLE_IMAGE
from fast_style.service.stylize_form import (
    FORMATS,
    MAX_FILES,
    StylizeFiles,
    StylizeRequest,
    parse_stylize_form,
    split_areas,
)

__all__ = ["router"]

_Result = TypeVar("_Result")

_COLOR_SIDE = 512
"""Long side at which a picture is read for its colours, in pixels."""

_LARGE_PIXELS = 2_000_000
"""Of photos with more pixels, one is in the network at a time."""

_HEADERS = {
    "Fast-Style-Seconds": ("number", "Seconds from the whole body to the finished picture."),
    "Fast-Style-Engine": ("string", "The engine that ran the network, its device and precision."),
    "Fast-Style-Size": ("string", "Width and height of the picture, such as 1024x682."),
    "Server-Timing": ("string", "Milliseconds of each stage: wait, decode, network, encode."),
}
_NOTES = "Fast-Style-Notes"

router = APIRouter(tags=["pictures"])


def _picture() -> dict[str, Any]:
    """Describe the response with the picture."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    headers = {
        name: {"description": text, "required": True, "schema": {"type": kind}}
        for name, (kind, text) in _HEADERS.items()
    }
    headers[_NOTES] = {"description": "Notes on the photo.", "schema": {"type": "string"}}
    content = {media_type: binary for media_type in FORMATS.values()}
    return {"description": "The picture.", "content": content, "headers": headers}


@router.post(
    "/v1/stylize",
    summary="Put a style on a photo",
    operation_id="stylize",
    response_class=Response,
    responses={200: _picture(), **problem_responses(400, 408, 413, 415, 422, 500, 503, 504)},
)
async def stylize(request: Request) -> Response:
    """Return the stylized photo as a picture file, without metadata unless requested."""
    state: ServiceState = request.app.state.service
    settings = state.settings
    state.admission.check()
    with state.admission.body() as memory:
        form = await read_form(
            request,
            max_bytes=settings.max_body_bytes,
            max_files=MAX_FILES,
            idle_seconds=settings.idle_seconds,
            total_seconds=settings.body_seconds,
            on_bytes=memory.reserve,
        )
        try:
            options, files = parse_stylize_form(form)
        finally:
            form.close()
        try:
            async with asyncio.timeout(settings.request_seconds):
                work = _Work(state, options, files, memory)
                del files
                return await _cancel_on_disconnect(request, work.run())
        except TimeoutError as error:
            raise Problem(
                504,
                "It took too long",
                f"the picture was not ready within {settings.request_seconds:g} seconds: try "
                "again, or with a smaller size",
                headers={"Retry-After": "5"},
            ) from error


class _Work:
    """One picture on its way through the stages."""

    def __init__(
        self, state: ServiceState, options: StylizeRequest, files: StylizeFiles, memory: BodyMemory
    ) -> None:
        self._state, self._options, self._memory = state, options, memory
        self._files = files

    async def run(self) -> Response:
        """Decode, stylize and encode the photo."""
        state, options = self._state, self._options
        start = time.perf_counter()
        times: dict[str, float] = {}
        # 1) Check the style: a request for one that does not exist need not wait for a slot.
        label = await self._check_style() if options.style else "predicted"
        label = "predicted" if self._files.style_image is not None else label
        async with state.admission.slot() as slot:
            waited = time.perf_counter() - start
            # 2) Decode in another process, and load the style; then the body is not needed.
            with state.metrics.timed("decode", times):
                photo = await state.decoders.decode(self._files.photo, options.size)
                guides = await self._decode_guides(photo)
            stylizer = await self._load_style()
            self._files.clear()
            self._memory.release()
            # 3) Stylize in a thread, which may have to wait for others.
            submitted = time.perf_counter()
            began, ended, photo = await slot.run(
                state.network, _stylize, stylizer, photo, options, guides, state.large
            )
            times["network"], times["wait"] = ended - began, waited + began - submitted
            for stage in ("network", "wait"):
                state.metrics.observe(stage, times[stage])
            # 4) Encode.
            with state.metrics.timed("encode", times):
                format = options.format or ("jpeg" if photo.alpha is None else "png")
                data, _ = await slot.run(state.writers, _encode, photo, format)
        state.metrics.megapixels.inc(photo.width * photo.height / 1e6)
        state.metrics.pictures.labels(label).inc()
        headers = _headers(photo, stylizer, times, time.perf_counter() - start)
        return Response(data, headers=headers, media_type=FORMATS[format])

    async def _check_style(self) -> str:
        """Check that the style exists, and return its label in the metrics."""
        styles = split_areas(self._options.style)
        parts = [part for style in styles for part in await self._state.styles.parts(style)]
        return parts[0][0].name if len(parts) == 1 else "mixture"

    async def _load_style(self) -> Stylizer:
        """Return the style's stylizer, loaded or predicted."""
        state, file = self._state, self._files.style_image
        if file is None:
            styles = split_areas(self._options.style)
            return Stylizer.combined([await state.styles.get(style) for style in styles])

        def decode() -> Awaitable[Photo]:
            return state.decoders.decode(file, name=STYLE_IMAGE)

        return await state.styles.get_predicted(file, self._options.style_size, decode)

    async def _decode_guides(self, content: Photo) -> Guides:
        """Decode the masks and the picture whose colours are taken."""
        decode, files = self._state.decoders.decode, self._files
        masks: list[Mask | Literal["alpha"]] = [
            mask_of(await decode(mask, self._options.size)) for mask in files.masks
        ]
        if self._options.alpha_mask and not masks and content.alpha is not None:
            masks = [ALPHA]
        if files.colors_of is None:
            return Guides(masks)
        photo = await decode(files.colors_of, _COLOR_SIDE)
        return Guides(masks, measure_colors(photo.pixels, photo.alpha))


def _headers(
    photo: Photo, stylizer: Stylizer, times: dict[str, float], seconds: float
) -> dict[str, str]:
    engine = stylizer.engine
    headers = {
        "Fast-Style-Seconds": f"{seconds:.4f}",
        "Fast-Style-Engine": f"{engine.name} ({engine.device}, {engine.precision})",
        "Fast-Style-Size": f"{photo.width}x{photo.height}",
        "Server-Timing": ", ".join(f"{stage};dur={1000 * s:.1f}" for stage, s in times.items()),
        "Cache-Control": "no-store",
    }
    if photo.notes:
        headers[_NOTES] = "; ".join(photo.notes).encode("ascii", "replace").decode("ascii")
    return headers


def _stylize(
    stylizer: Stylizer,
    photo: Photo,
    options: StylizeRequest,
    guides: Guides,
    large: threading.Lock,
) -> tuple[float, float, Photo]:
    """Run the network; return when it began and ended, and the picture."""
    times = 1.0 if options.stroke_size == "auto" else min(1.0, options.stroke_size)
    pixels = photo.width * photo.height / times**2
    with large if pixels > _LARGE_PIXELS else nullcontext():
        began = time.perf_counter()
        stylized = stylizer.stylize_photo(photo, options, guides)
    if not options.keep_metadata:
        stylized = replace(stylized, exif=None, icc_profile=None)
    return began, time.perf_counter(), stylized


def _encode(photo: Photo, format: str) -> tuple[bytes, tuple[str, ...]]:
    return encode_image(photo, format=format)


async def _cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Do work for a request, and cancel it if the client disconnects.

    Raises:
        ClientDisconnect: the client disconnected.
    """
    task = asyncio.create_task(work)
    watch = asyncio.create_task(_wait_for_disconnect(request))
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


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
