"""A pool of processes that decode photos; one that is killed or dies is replaced."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from fast_style.images import Photo
from fast_style.service.decoder_process import ACK, ANSWER, PHOTO, REQUEST, read_exactly
from fast_style.service.problems import Problem

__all__ = ["DecoderPool"]

_PIPE_BYTES = 1 << 20
"""Capacity of the pipes on Linux: a photo of 512 pixels fits in one piece."""

_MAX_HEAD_BYTES = 1 << 20
_RESTART_SECONDS = 1.0
"""Pause before a process that failed to start is started again."""

_MIN_LIMIT = 1 << 26  # metadata may be larger than the pixels of a small photo
_ATTEMPTS = 2  # if a process dies before it has received the photo, the photo is not the cause
_UNUSABLE = "The picture cannot be used"


class _DeadError(Exception):
    """The process ended; `started` is whether it had received the whole photo."""

    def __init__(self, started: bool) -> None:
        super().__init__()
        self.started = started


@dataclass(eq=False)
class _Decoder:
    """One process, and the pipes to it; `ready` once it has acknowledged its start."""

    command: list[str]
    ready: bool = False
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pipesize=_PIPE_BYTES if sys.platform == "linux" else -1,
            env=_bare_environment(),
            # A process group of its own: Ctrl-C in a terminal is for the service only.
            process_group=0 if os.name == "posix" else None,
        )

    def wait(self) -> bool:
        """Wait for the process's acknowledgement; return False if it has ended instead."""
        mark = bytearray(len(ACK))
        try:
            read_exactly(cast(BinaryIO, self.process.stdout), memoryview(mark))
        except (OSError, EOFError, ValueError):
            return False
        return mark == ACK

    def exchange(self, body: bytes, size: int, limit: int) -> tuple[dict[str, Any], list[Any]]:
        """Send a file and receive its pixels and metadata; blocks, so it is called in a thread.

        Args:
            body: the file.
            size: long side to which a larger photo is resized, or 0.
            limit: the most pixels, and the most bytes of each kind of metadata.
        """
        stdin = cast(BinaryIO, self.process.stdin)
        stdout = cast(BinaryIO, self.process.stdout)
        try:
            for block in (REQUEST.pack(len(body), size), body):
                view = memoryview(block)
                while view:
                    view = view[stdin.write(view) :]
        except OSError as error:
            raise _DeadError(started=False) from error
        if not self.wait():
            raise _DeadError(started=False)
        try:
            length = bytearray(ANSWER.size)
            read_exactly(stdout, memoryview(length))
            (size_of_head,) = ANSWER.unpack(length)
            if size_of_head > _MAX_HEAD_BYTES:
                raise _DeadError(started=True)
            text = bytearray(size_of_head)
            read_exactly(stdout, memoryview(text))
            head = json.loads(text)
            if "problem" in head:
                return head, []
            height, width = head["height"], head["width"]
            sizes = (height * width, head["exif"] or 0, head["icc_profile"] or 0)
            if not all(0 <= size <= limit for size in sizes):
                raise _DeadError(
                    started=True
                )  # not an answer of our code: the process was taken over
            blocks: list[Any] = [np.empty((height, width, 3), np.uint8)]
            blocks.append(np.empty((height, width), np.uint8) if head["alpha"] else None)
            for name in ("exif", "icc_profile"):
                blocks.append(None if head[name] is None else bytearray(head[name]))
            for block in blocks:
                if block is not None and len(block):
                    read_exactly(stdout, memoryview(block).cast("B"))
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise _DeadError(started=True) from error
        return head, blocks

    def kill(self) -> None:
        """Kill the process and close the pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                cast(BinaryIO, pipe).close()


class DecoderPool:
    """Decodes photos in processes of their own.

    Attributes:
        restarts: the number of processes that were replaced.
    """

    def __init__(
        self,
        processes: int,
        *,
        max_megapixels: float,
        seconds: float,
        megabytes: int,
    ) -> None:
        """Set the limits; nothing is started.

        Args:
            processes: the number of photos that are decoded at once.
            max_megapixels: photos whose header claims more are refused before they are decoded.
            seconds: the time limit of one photo.
            megabytes: the memory limit of one photo, in millions of bytes.
        """
        self.restarts = 0
        self._count, self._max_megapixels, self._seconds = processes, max_megapixels, seconds
        self._command = [
            sys.executable,
            "-m",
            "fast_style.service.decoder_process",
            *map(str, (max_megapixels, megabytes, seconds)),
        ]
        self._idle: asyncio.Queue[_Decoder] = asyncio.Queue()
        self._all: set[_Decoder] = set()
        self._threads = ThreadPoolExecutor(processes, "decoder")
        self._stopped = False

    async def start(self) -> None:
        """Start the processes."""
        for _ in range(self._count):
            self._add()

    async def stop(self) -> None:
        """Kill the processes."""
        self._stopped = True
        for decoder in list(self._all):
            decoder.kill()
        self._all.clear()
        self._threads.shutdown(wait=False)

    @property
    def ready(self) -> bool:
        """Whether a process runs that can decode, be it busy or idle."""
        return any(decoder.ready for decoder in self._all)

    @property
    def process_ids(self) -> list[int]:
        """The ids of the running processes."""
        return [decoder.process.pid for decoder in self._all]

    async def decode(self, body: bytes, size: int | None = None, name: str = PHOTO) -> Photo:
        """Decode a photo.

        Args:
            body: the bytes of its file.
            size: the longest long side, in pixels, as for `Stylizer.stylize`.
            name: what to call the photo in messages.

        Returns:
            The photo as `read_image` returns it, resized if it is larger than `size`.

        Raises:
            Problem: 415 not a picture; 422 too large, damaged, or beyond the limits of its process;
                503 no process runs.
        """
        for _ in range(_ATTEMPTS):
            decoder = await self._idle.get()
            limit = max(int(self._max_megapixels * 1e6), _MIN_LIMIT)
            job = self._threads.submit(decoder.exchange, body, size or 0, limit)
            timer = asyncio.get_running_loop().call_later(self._seconds, decoder.process.kill)
            # Even if this coroutine is cancelled, the decoder is reused once its thread is done.
            self._call_in_loop(job, partial(self._on_decoded, decoder, timer))
            try:
                head, blocks = await asyncio.wrap_future(job)
            except _DeadError as death:
                if death.started:
                    raise Problem(
                        422,
                        _UNUSABLE,
                        f"{name}'s file cannot be decoded: decoding it took more than "
                        f"{self._seconds:g} seconds, or ended its process; convert it to PNG or "
                        "JPEG",
                    ) from death
                continue
            return self._photo(head, blocks, name)
        raise Problem(
            503, "No decoder", "photos cannot be decoded now", headers={"Retry-After": "1"}
        )

    def _photo(self, head: dict[str, Any], blocks: list[Any], name: str) -> Photo:
        problem = head.get("problem")
        if problem == "size":
            raise Problem(
                422,
                "The picture is too large",
                f"{name} has more than {self._max_megapixels:g} megapixels by its header: make it "
                "smaller first",
            )
        if problem is not None:
            # The process calls every picture the photo.
            detail = str(head["detail"]).replace(PHOTO, name)
            if problem == "kind":
                raise Problem(415, "Not a picture", detail)
            raise Problem(422, _UNUSABLE, detail)
        pixels, alpha, exif, profile = blocks
        return Photo(
            pixels,
            alpha,
            None if exif is None else bytes(exif),
            None if profile is None else bytes(profile),
            head["format"],
            tuple(head["notes"]),
            None if head["dpi"] is None else (float(head["dpi"][0]), float(head["dpi"][1])),
        )

    def _add(self) -> None:
        """Start a process; where that fails, for want of descriptors or memory, try again later."""
        if self._stopped:
            return
        try:
            decoder = _Decoder(self._command)
        except OSError:
            asyncio.get_running_loop().call_later(_RESTART_SECONDS, self._add)
            return
        self._all.add(decoder)
        job = self._threads.submit(decoder.wait)
        self._call_in_loop(job, lambda started: self._on_started(decoder, started))

    def _on_started(self, decoder: _Decoder, started: bool) -> None:
        if decoder not in self._all:  # the pool was stopped
            return
        if started:
            decoder.ready = True
            self._idle.put_nowait(decoder)
            return
        decoder.kill()
        self._all.discard(decoder)
        asyncio.get_running_loop().call_later(_RESTART_SECONDS, self._add)

    def _on_decoded(self, decoder: _Decoder, timer: asyncio.TimerHandle, alive: bool) -> None:
        timer.cancel()
        if decoder not in self._all:
            return
        if alive:
            self._idle.put_nowait(decoder)
            return
        decoder.kill()
        self._all.discard(decoder)
        self.restarts += 1
        self._add()

    def _call_in_loop(self, job: Future[Any], callback: Callable[[bool], None]) -> None:
        """Call a function in the event loop when a thread's job ends, with its success."""
        loop = asyncio.get_running_loop()

        def done(job: Future[Any]) -> None:
            success = not job.cancelled() and job.exception() is None and job.result() is not False
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(callback, success)

        job.add_done_callback(done)


def _bare_environment() -> dict[str, str]:
    """Return the environment that Python needs, without the secrets of the service."""
    kept = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
    package = str(Path(__file__).parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "PYTHONPATH": os.pathsep.join(paths),
        # Linear algebra is not used, and would reserve memory for a thread per core.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        # glibc: reuse the memory of a photo for the next one; new memory would be zeroed by the
        # kernel each time, which takes longer than decoding.
        "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    }
