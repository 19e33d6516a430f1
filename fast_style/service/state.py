"""What the routes of the service share; it is created, started and stopped with the app."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from fast_style.errors import FastStyleError
from fast_style.service.admission import Admission
from fast_style.service.decoder_pool import DecoderPool
from fast_style.service.metrics import ServiceMetrics, resident_bytes
from fast_style.service.settings import ServiceSettings
from fast_style.service.style_cache import StyleCache

__all__ = ["ServiceState"]

_WRITERS = 2
"""Threads that encode pictures; Pillow releases the interpreter lock meanwhile."""


class ServiceState:
    """The parts of one running service.

    Attributes:
        settings: its options.
        metrics: its counters.
        admission: the limits of concurrent requests.
        styles: its styles, and which of them are loaded.
        decoders: the processes that decode photos.
        network: the threads that run the networks. A single picture uses all cores; several share
            them, so that other work of a core delays one picture and not all. Batches would not be
            faster than one picture after the other.
        large: held while a photo that takes much memory is in the network.
        writers: the threads that encode pictures.
        failure: why the service cannot become ready; None if nothing failed.
        warm: whether the styles of `--warm` are loaded.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        """Create the parts; nothing is started."""
        self.settings = settings
        self.metrics = ServiceMetrics()
        self.admission = Admission(
            settings.in_flight, settings.queue, int(settings.hold_megabytes * 1e6)
        )
        self.styles = StyleCache(settings)
        self.decoders = DecoderPool(
            settings.decoders,
            max_megapixels=settings.max_megapixels,
            seconds=settings.decode_seconds,
            megabytes=settings.decode_megabytes,
        )
        self.network = ThreadPoolExecutor(settings.at_once, "network")
        self.large = threading.Lock()
        self.writers = ThreadPoolExecutor(_WRITERS, "writer")
        self.failure: str | None = None
        self.warm = False
        self._warming: asyncio.Task[None] | None = None
        gauge = self.metrics.gauge
        gauge("fast_style_queue_length", "Requests that wait.", lambda: self.admission.waiting)
        gauge(
            "fast_style_in_flight",
            "Requests that are being worked on.",
            lambda: self.admission.working,
        )
        gauge(
            "fast_style_held_bytes",
            "Memory of bodies that are being received or wait.",
            lambda: self.admission.body_bytes,
        )
        gauge("fast_style_loaded_styles", "Styles that are loaded.", lambda: len(self.styles))
        gauge(
            "fast_style_decoder_restarts",
            "Decoding processes that were replaced.",
            lambda: self.decoders.restarts,
        )
        gauge(
            "fast_style_resident_bytes",
            "Resident memory of the service and its decoding processes.",
            lambda: resident_bytes([os.getpid(), *self.decoders.process_ids]),
        )
        gauge("fast_style_threads", "Threads of the service.", threading.active_count)

    @property
    def ready(self) -> bool:
        """Whether requests should be sent to this service."""
        return self.warm and self.decoders.ready and not self.admission.draining

    async def start(self) -> None:
        """Start the processes, and load styles in the background."""
        await self.decoders.start()
        self._warming = asyncio.create_task(self._warm())

    async def stop(self) -> None:
        """Stop what was started."""
        if self._warming is not None:
            self._warming.cancel()
        await self.decoders.stop()
        for threads in (self.network, self.writers):
            threads.shutdown(wait=False, cancel_futures=True)
        self.styles.close()

    async def _warm(self) -> None:
        try:
            await self.styles.warm()
            await self.decoders.decode(_smallest_picture())
        except FastStyleError as error:
            self.failure = str(error)
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
        else:
            self.warm = True


def _smallest_picture() -> bytes:
    """Return a picture of one pixel for the first decoding, which loads the codecs."""
    return b"P6 1 1 255 \x00\x00\x00"
