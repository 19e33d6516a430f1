"""Limits of concurrent requests, and of the memory that their bodies take."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from fast_style.service.problems import Problem, busy_problem

__all__ = ["Admission", "BodyMemory", "Slot"]

_Result = TypeVar("_Result")

_SMOOTHING = 0.1  # of the running mean of a request's seconds
_MAX_RETRY_SECONDS = 60


class BodyMemory:
    """The memory that the body of one request takes."""

    def __init__(self, admission: Admission) -> None:
        self._admission, self._bytes = admission, 0

    def reserve(self, count: int) -> None:
        """Reserve memory for more bytes.

        Raises:
            Problem: 503, there is none left.
        """
        admission = self._admission
        if admission.body_bytes + count > admission.max_body_bytes:
            raise admission.busy("the bodies of other requests take all memory that there is")
        admission.body_bytes += count
        self._bytes += count

    def release(self) -> None:
        """Release all of it; a second call does nothing."""
        self._admission.body_bytes -= self._bytes
        self._bytes = 0


class Slot:
    """The right of one request to be worked on."""

    def __init__(self) -> None:
        self.future: Future[Any] | None = None

    async def run(
        self, executor: Executor, work: Callable[..., _Result], *arguments: object
    ) -> _Result:
        """Run a part of the work in a thread.

        What has begun runs to its end even if the request is cancelled; the slot is occupied until
        then, as its memory is.
        """
        self.future = executor.submit(work, *arguments)
        result: _Result = await asyncio.wrap_future(self.future)
        return result


class Admission:
    """Counts requests, and refuses those beyond the limits.

    Attributes:
        waiting: requests that wait for a slot.
        working: requests that have a slot.
        body_bytes: memory of the bodies that are being received or wait.
        max_body_bytes: the limit of that.
        draining: whether all requests are refused because the service shuts down.
    """

    def __init__(self, slots: int, queue: int, max_body_bytes: int) -> None:
        """Set the limits.

        Args:
            slots: requests that are worked on at once.
            queue: requests that may wait for a slot.
            max_body_bytes: memory for bodies.
        """
        self.waiting = self.working = self.body_bytes = 0
        self.max_body_bytes, self.draining = max_body_bytes, False
        self._slots, self._queue = slots, queue
        self._semaphore = asyncio.Semaphore(slots)
        self._mean_seconds = 0.0

    def check(self) -> None:
        """Refuse a request for which there is no room, if possible before its body is read.

        Raises:
            Problem: 503 with Retry-After.
        """
        if self.draining:
            raise Problem(
                503, "Shutting down", "the service is shutting down", headers={"Retry-After": "5"}
            )
        if self._semaphore.locked() and self.waiting >= self._queue:
            raise self.busy(f"{self.working} requests are being worked on and {self.waiting} wait")

    def busy(self, reason: str) -> Problem:
        """Return the problem of a request that is refused, with an estimate of when to retry."""
        seconds = self._mean_seconds * (self.waiting + self.working) / self._slots
        retry = min(max(1, math.ceil(seconds)), _MAX_RETRY_SECONDS)
        return busy_problem(f"{reason}: try again in {retry} s", retry)

    @contextmanager
    def body(self) -> Iterator[BodyMemory]:
        """Account for the memory of one body; it is released at the end at the latest."""
        memory = BodyMemory(self)
        try:
            yield memory
        finally:
            memory.release()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """Wait for a slot, first come, first served, and occupy it.

        Raises:
            Problem: 503, too many requests wait.
        """
        self.check()
        loop = asyncio.get_running_loop()
        self.waiting += 1
        try:
            await self._semaphore.acquire()
        finally:
            self.waiting -= 1
        self.working += 1
        start, slot = loop.time(), Slot()
        try:
            yield slot
        finally:
            future = slot.future
            if future is None or future.cancel() or future.done():
                self._release(loop.time() - start)
            else:
                future.add_done_callback(
                    lambda _: loop.call_soon_threadsafe(self._release, loop.time() - start)
                )

    def _release(self, seconds: float) -> None:
        self.working -= 1
        self._mean_seconds += _SMOOTHING * (seconds - self._mean_seconds)
        self._semaphore.release()
