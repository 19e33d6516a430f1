"""How many requests may be here at once, and how much of them in memory."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from fast_style.service.problems import Problem

__all__ = ["Body", "Places", "Turn"]

_Result = TypeVar("_Result")

_SLOWNESS = 0.1  # of the running mean of a turn's seconds
_LONGEST_ADVICE = 60


class Body:
    """What one request holds of the memory for bodies."""

    def __init__(self, places: Places) -> None:
        self._places, self._bytes = places, 0

    def add(self, count: int) -> None:
        """Take memory for more bytes.

        Raises:
            Problem: 503, there is none left.
        """
        if self._places.held_bytes + count > self._places.most_bytes:
            raise self._places.full(
                "the bodies of other requests take all memory there is for them"
            )
        self._places.held_bytes += count
        self._bytes += count

    def free(self) -> None:
        """Give it all back; a second time does nothing."""
        self._places.held_bytes -= self._bytes
        self._bytes = 0


class Turn:
    """A place among those that are worked on."""

    def __init__(self) -> None:
        self.job: Future[Any] | None = None

    async def run(
        self, executor: Executor, work: Callable[..., _Result], *arguments: object
    ) -> _Result:
        """Do a part of the work in a thread.

        What has begun there goes on to its end even if nobody waits any more; the place is kept
        until then, since the memory is.
        """
        self.job = executor.submit(work, *arguments)
        result: _Result = await asyncio.wrap_future(self.job)
        return result


class Places:
    """Counts who is here, and lets in no more than fit.

    Attributes:
        waiting: requests that wait for their turn.
        working: requests whose turn it is.
        held_bytes: memory that bodies take, which are coming or waiting.
        most_bytes: the most that they may take.
        draining: whether nobody is let in any more, because the service ends.
    """

    def __init__(self, in_flight: int, queue: int, most_bytes: int) -> None:
        """Open so many places.

        Args:
            in_flight: turns at once.
            queue: requests that may wait for a turn.
            most_bytes: memory for bodies.
        """
        self.waiting = self.working = self.held_bytes = 0
        self.most_bytes, self.draining = most_bytes, False
        self._in_flight, self._queue = in_flight, queue
        self._turns = asyncio.Semaphore(in_flight)
        self._mean_seconds = 0.0

    def check(self) -> None:
        """Refuse a request for which there would be no place, at best before its body is read.

        Raises:
            Problem: 503 with Retry-After.
        """
        if self.draining:
            raise Problem(
                503, "Shutting down", "the service is shutting down", headers={"Retry-After": "5"}
            )
        if self._turns.locked() and self.waiting >= self._queue:
            raise self.full(f"{self.working} requests are in work and {self.waiting} wait")

    def full(self, reason: str) -> Problem:
        """Say that there is no place, and when there should be one."""
        seconds = self._mean_seconds * (self.waiting + self.working) / self._in_flight
        advice = min(max(1, math.ceil(seconds)), _LONGEST_ADVICE)
        return Problem(
            503,
            "All places are taken",
            f"{reason}: try again in {advice} s",
            headers={"Retry-After": str(advice)},
        )

    @contextmanager
    def body(self) -> Iterator[Body]:
        """Hold the body of a request, until the end at the latest."""
        held = Body(self)
        try:
            yield held
        finally:
            held.free()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Wait for a place among those that are worked on; first come, first served.

        Raises:
            Problem: 503, too many wait.
        """
        self.check()
        loop = asyncio.get_running_loop()
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        self.working += 1
        start, turn = loop.time(), Turn()
        try:
            yield turn
        finally:
            job = turn.job
            if job is None or job.cancel() or job.done():
                self._leave(loop.time() - start)
            else:
                job.add_done_callback(
                    lambda _: loop.call_soon_threadsafe(self._leave, loop.time() - start)
                )

    def _leave(self, seconds: float) -> None:
        self.working -= 1
        self._mean_seconds += _SLOWNESS * (seconds - self._mean_seconds)
        self._turns.release()
