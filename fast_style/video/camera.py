"""A camera's frames through a style, live: to a window, a virtual camera, or a file."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import cv2

from fast_style.errors import MissingExtraError, VideoError
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions
from fast_style.video.encoding import Encoding, choose_encoding, configure, to_frame
from fast_style.video.reading import ContainerSource
from fast_style.video.source import Pixels, VideoInfo
from fast_style.video.video_stylizer import VideoStylizer

__all__ = [
    "Recorder",
    "Screen",
    "VirtualCamera",
    "Window",
    "file_frames",
    "live_frames",
    "run_camera",
]

NEXT, PREVIOUS, QUIT = "next", "previous", "quit"
_KEYS = {"n": NEXT, "space": NEXT, "right": NEXT, "p": PREVIOUS, "left": PREVIOUS}
_KEYS |= {"q": QUIT, "escape": QUIT}

_MILLISECONDS = Fraction(1, 1000)


class Screen(Protocol):
    """Where live frames go."""

    def show(self, pixels: Pixels, style: str) -> Sequence[str]:
        """Show a frame; returns what keys ask for: `next`, `previous` or `quit`."""

    def close(self) -> None:
        """Close what is open."""


def live_frames(index: int) -> Iterator[Pixels]:
    """Return a camera's newest frames; those that come while one is stylized are dropped.

    Args:
        index: of the camera, 0 for the first.

    Raises:
        VideoError: there is no such camera.
    """
    camera = cv2.VideoCapture(index)
    if not camera.isOpened():
        raise VideoError(
            f"camera {index} cannot be opened: expected one that is connected and not in use by "
            "another program (--camera N, or --camera FILE for a video)"
        )
    newest: list[Any] = []
    arrived, stop = threading.Condition(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            fine, frame = camera.read()
            with arrived:
                newest[:] = [frame if fine else None]
                arrived.notify()
            if not fine:
                return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            with arrived:
                arrived.wait_for(lambda: newest)
                frame = newest.pop()
            if frame is None:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        stop.set()
        thread.join(timeout=2)
        camera.release()


def file_frames(path: str) -> Iterator[Pixels]:
    """Return all frames of a video file, as if it were a camera."""
    source = ContainerSource(path, path)
    try:
        for frame in source.frames():
            yield frame.pixels
    finally:
        source.close()


def run_camera(
    frames: Iterator[Pixels],
    styles: Sequence[str],
    load: Callable[[str], Stylizer],
    screens: Sequence[Screen],
    *,
    options: StyleOptions,
    steady: float,
    mirror: bool = False,
) -> int:
    """Stylize frames until they end, or a key asks to quit; returns how many were shown.

    Args:
        frames: RGB, shape (H, W, 3), uint8.
        styles: names, the first of which is applied; keys switch among them.
        load: makes the stylizer of a name; a style is loaded once.
        screens: where they go.
        options: how each is stylized.
        steady: from 0 to 1.
        mirror: whether left and right change sides, as in a mirror.
    """
    loaded: dict[str, VideoStylizer] = {}
    current, shown = 0, 0

    def video(name: str) -> VideoStylizer:
        if name not in loaded:
            loaded[name] = VideoStylizer(load(name), steady=steady, options=options)
        return loaded[name]

    with contextlib.closing(frames) as coming, contextlib.ExitStack() as stack:  # type: ignore[type-var]
        for screen in screens:
            stack.callback(screen.close)
        for frame in coming:
            name = styles[current % len(styles)]
            pixels = video(name).push(frame[:, ::-1] if mirror else frame)
            shown += 1
            asked = [key for screen in screens for key in screen.show(pixels, name)]
            if QUIT in asked:
                break
            step = asked.count(NEXT) - asked.count(PREVIOUS)
            if step:
                current += step
                video(styles[current % len(styles)]).reset()
    return shown


class Window:
    """A window by Tk, which opencv-python-headless cannot open."""

    def __init__(self) -> None:
        """Open it.

        Raises:
            VideoError: there is no screen, or no Tk.
        """
        try:
            import tkinter

            self._root = tkinter.Tk()
        except Exception as error:  # ImportError, or TclError, which needs the import to be named
            raise VideoError(
                f"no window can be opened here ({error}): give --record FILE or --virtual"
            ) from error
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._asked: list[str] = []
        self._root.bind("<Key>", lambda event: self._press(event.keysym))
        self._root.protocol("WM_DELETE_WINDOW", lambda: self._asked.append(QUIT))

    def show(self, pixels: Pixels, style: str) -> Sequence[str]:
        """Show a frame; see `Screen.show`."""
        from PIL import Image, ImageTk

        self._picture = ImageTk.PhotoImage(Image.fromarray(pixels))  # Tk keeps no reference
        self._label.configure(image=self._picture)
        self._root.title(f"{style} (n: next style, p: previous, q: quit)")
        self._root.update()
        asked, self._asked = self._asked, []
        return asked

    def close(self) -> None:
        """Close the window."""
        self._root.destroy()

    def _press(self, key: str) -> None:
        asked = _KEYS.get(key.lower())
        if asked is not None:
            self._asked.append(asked)


class VirtualCamera:
    """A camera that other programs see, by pyvirtualcam."""

    def __init__(self, rate: float = 20) -> None:
        """Store the rate that is claimed; the camera opens with the first frame.

        Raises:
            MissingExtraError: pyvirtualcam is not installed.
        """
        try:
            import pyvirtualcam
        except ImportError as error:
            raise MissingExtraError("--virtual", "pyvirtualcam", "webcam") from error
        self._module, self._rate = pyvirtualcam, rate
        self._camera: Any = None

    def show(self, pixels: Pixels, style: str) -> Sequence[str]:
        """Send a frame; see `Screen.show`."""
        height, width = pixels.shape[:2]
        if self._camera is None:
            try:
                self._camera = self._module.Camera(width=width, height=height, fps=self._rate)
            except RuntimeError as error:
                raise VideoError(
                    f"no virtual camera can be opened ({error}): it needs v4l2loopback on Linux, "
                    "and OBS on Windows and macOS"
                ) from error
        self._camera.send(pixels)
        return ()

    def close(self) -> None:
        """Close the camera."""
        if self._camera is not None:
            self._camera.close()


class Recorder:
    """A video file with the times at which frames were shown; it appears when it is complete."""

    def __init__(
        self, path: str | os.PathLike[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Store the path; the file begins with the first frame.

        Args:
            path: of the file; its suffix chooses the format.
            clock: returns the time in seconds.
        """
        self._path, self._clock = Path(path), clock
        self._temporary = self._path.parent / f".fast-style-{secrets.token_hex(8)}.tmp"
        self._output: Any = None
        self._encoding: Encoding | None = None
        self._last = -1

    def show(self, pixels: Pixels, style: str) -> Sequence[str]:
        """Write a frame; see `Screen.show`."""
        if self._output is None:
            self._begin(pixels)
        assert self._encoding is not None
        self._last = max(self._last + 1, round((self._clock() - self._start) * 1000))
        self._output.mux(self._stream.encode(to_frame(self._encoding, pixels, None, self._last, 0)))
        return ()

    def close(self) -> None:
        """Complete the file."""
        if self._output is None:
            return
        try:
            self._output.mux(self._stream.encode(None))
            self._output.close()
            os.replace(self._temporary, self._path)
        finally:
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def _begin(self, pixels: Pixels) -> None:
        height, width = pixels.shape[:2]
        info = VideoInfo(str(self._path), width, height, _MILLISECONDS, Fraction(25))
        self._encoding, _ = choose_encoding(self._path, info)
        try:
            self._output = av.open(str(self._temporary), "w", format=self._encoding.container)
        except av.error.FFmpegError as error:
            raise VideoError(f"{self._path}: it cannot be written ({error.strerror})") from error
        self._stream: Any = self._output.add_stream(self._encoding.encoder, rate=25)
        configure(self._stream.codec_context, self._encoding)
        self._start = self._clock()
