"""What the routes of the service share: made when the app is, started and ended with it."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from fast_style.errors import FastStyleError
from fast_style.service.admission import Places
from fast_style.service.decoder_pool import DecoderPool
from fast_style.service.metrics import ServiceMetrics, resident_bytes
from fast_style.service.settings import ServiceSettings
from fast_style.service.style_cache import StyleCache

__all__ = ["ServiceState"]

_WRITERS = 2
"""Threads that encode: Pillow needs no turn of the interpreter for it."""


class ServiceState:
    """Everything that one running service has.

    Attributes:
        settings: its options.
        metrics: its counters.
        places: who is here.
        styles: its styles, and which of them are loaded.
        decoders: the processes that decode photos.
        network: the threads that run the networks. A picture that comes alone takes all cores;
            several share them out, since whatever else a core has to do then holds up one picture
            and not all cores. A batch of pictures takes no less time than one after the other.
        large: held while a photo is in the network that takes much memory there.
        writers: the threads that encode pictures.
        trouble: why the service is not ready and will not be; None if nothing is wrong.
        warm: whether the styles that should be are loaded.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        """Put it together; nothing is started."""
        self.settings = settings
        self.metrics = ServiceMetrics()
        self.places = Places(settings.in_flight, settings.queue, int(settings.hold_megabytes * 1e6))
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
        self.trouble: str | None = None
        self.warm = False
        self._warming: asyncio.Task[None] | None = None
        gauge = self.metrics.gauge
        gauge("fast_style_queue_length", "Requests that wait.", lambda: self.places.waiting)
        gauge("fast_style_in_flight", "Requests in work.", lambda: self.places.working)
        gauge(
            "fast_style_held_bytes",
            "Memory of bodies that are coming or waiting.",
            lambda: self.places.held_bytes,
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
        """Whether requests should be sent here."""
        return self.warm and not self.places.draining

    async def start(self) -> None:
        """Start the processes, and load styles while requests are already answered."""
        await self.decoders.start()
        self._warming = asyncio.create_task(self._warm())

    async def stop(self) -> None:
        """End what was started."""
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
            self.trouble = str(error)
        except Exception as error:
            self.trouble = f"{type(error).__name__}: {error}"
        else:
            self.warm = True


def _smallest_picture() -> bytes:
    """A file to try the decoders with; their codecs are loaded with the first."""
    return b"P6 1 1 255 \x00\x00\x00"
