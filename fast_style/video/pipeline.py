"""Frames through a style, in three threads with short queues between them.

One decodes and estimates motion, this one runs the network, one steadies and encodes: the network
should not have to wait for either. What is in memory does not depend on the length of the video.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

import cv2

from fast_style.inference.stylizer import Painted
from fast_style.video.source import SourceFrame
from fast_style.video.video_stylizer import Prepared, VideoStylizer

if TYPE_CHECKING:
    from fast_style.video.source import Pixels

__all__ = ["run_pipeline"]

_QUEUE_FRAMES = 4

_T = TypeVar("_T")
Finished = Callable[[SourceFrame, Prepared, "Pixels"], None]


class _StoppedError(Exception):
    """Another thread has failed, or the caller has had enough."""


class _Queue(Generic[_T]):
    """A bounded queue that ends, and that a stop flag interrupts."""

    def __init__(self, stop: threading.Event) -> None:
        self._items: queue.Queue[_T | None] = queue.Queue(_QUEUE_FRAMES)
        self._stop = stop

    def put(self, item: _T | None) -> None:
        while not self._stop.is_set():
            try:
                self._items.put(item, timeout=0.1)
                return
            except queue.Full:
                continue
        raise _StoppedError

    def __iter__(self) -> Iterator[_T]:
        while True:
            try:
                item = self._items.get(timeout=0.1)
            except queue.Empty:
                if self._stop.is_set():
                    raise _StoppedError from None
                continue
            if item is None:
                return
            yield item


def run_pipeline(
    frames: Iterator[SourceFrame],
    video: VideoStylizer,
    finished: Finished,
    *,
    is_fresh: Callable[[int], bool] = lambda _: False,
) -> None:
    """Stylize frames; returns when all are finished.

    Args:
        frames: read in a thread of their own.
        video: its three steps are called from three threads.
        finished: is called for every frame in order, in a thread of its own, with the frame, what
            was prepared of it, and the stylized picture.
        is_fresh: whether a frame, by its number from 0, is painted in any case.

    Raises:
        Exception: whatever one of the three raised first.
    """
    stop = threading.Event()
    coming: _Queue[tuple[SourceFrame, Prepared]] = _Queue(stop)
    painted: _Queue[tuple[SourceFrame, Prepared, Painted | None]] = _Queue(stop)
    failures: list[BaseException] = []

    def prepare() -> None:
        for index, frame in enumerate(frames):
            fresh = is_fresh(index)
            coming.put((frame, video.prepare(frame.pixels, alpha=frame.alpha, fresh=fresh)))
        coming.put(None)

    def finish() -> None:
        for frame, prepared, picture in painted:
            finished(frame, prepared, video.finish(prepared, picture))

    threads = [
        threading.Thread(target=_run_guarded, args=(work, stop, failures))
        for work in (prepare, finish)
    ]
    with _single_threaded_opencv():
        for thread in threads:
            thread.start()
        try:
            for frame, prepared in coming:
                painted.put((frame, prepared, video.paint(prepared)))
            painted.put(None)
        except _StoppedError:
            pass
        except BaseException:
            stop.set()
            raise
        finally:
            for thread in threads:
                thread.join()
    if failures:
        raise failures[0]


def _run_guarded(
    work: Callable[[], None], stop: threading.Event, failures: list[BaseException]
) -> None:
    """Run one part of the pipeline; its error stops the others, and is kept."""
    try:
        work()
    except _StoppedError:
        pass
    except BaseException as error:
        failures.append(error)
        stop.set()


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Keep OpenCV to the threads that call it, for the network needs the cores."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
