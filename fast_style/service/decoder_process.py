"""The process that decodes photos for the service, so that a hostile file harms nothing else.

    python -m fast_style.service.decoder_process MEGAPIXELS MEGABYTES SECONDS

It reads requests from stdin and answers on stdout, one after the other, until stdin ends. Answers
are plain data without pickles: an attacker who takes the process over by a flaw in a codec gains
only this process, which cannot write files and holds one photo and no secrets.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from typing import Any, BinaryIO

from fast_style.errors import ImageError, ImageTooLargeError
from fast_style.images import Photo, read_image
from fast_style.images.formats import detect_format, is_readable

__all__ = ["ACK", "ANSWER", "PHOTO", "REQUEST", "read_exactly"]

REQUEST = struct.Struct("<QI")
"""Header of a request: bytes of the file, long side to resize it to (0: none)."""

ANSWER = struct.Struct("<I")
"""Header of an answer: bytes of its JSON head; pixels, alpha, EXIF and profile follow."""

ACK = b"\x06"
"""Sent once when the process is ready, and each time it has received a whole file."""

PHOTO = "the photo"
"""What messages call the picture."""


def read_exactly(stream: BinaryIO, target: memoryview) -> None:
    """Fill a buffer from a stream.

    Raises:
        EOFError: the stream ended.
    """
    done = 0
    while done < len(target):
        count = stream.readinto(target[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count


def decode(body: bytes, size: int, max_megapixels: float) -> tuple[dict[str, Any], list[Any]]:
    """Decode a file; return the head of an answer and the blocks that follow it."""
    try:
        photo = read_image(body, max_megapixels=max_megapixels, name=PHOTO)
        if size:
            # As `Stylizer.paint` does it, but in parallel to the network.
            photo = photo.resize_long_side(size)
    except ImageTooLargeError:
        return {"problem": "size"}, []
    except ImageError as error:
        unknown = body and not is_readable(detect_format(body[:4096]))
        return {"problem": "kind" if unknown else "content", "detail": str(error)}, []
    return _head(photo), [photo.pixels, photo.alpha, photo.exif, photo.icc_profile]


def _head(photo: Photo) -> dict[str, Any]:
    return {
        "height": photo.height,
        "width": photo.width,
        "alpha": photo.alpha is not None,
        "exif": None if photo.exif is None else len(photo.exif),
        "icc_profile": None if photo.icc_profile is None else len(photo.icc_profile),
        "format": photo.format,
        "notes": photo.notes,
        "dpi": photo.dpi,
    }


def _confine(megabytes: int) -> None:
    """Limit the memory of this process, and forbid it to write files."""
    try:
        import resource
    except ImportError:  # Windows
        return
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # macOS, which ignores this limit anyway
        used = 1 << 30
    limits = {"RLIMIT_AS": used + megabytes * 10**6, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, limit in limits.items():
        try:
            resource.setrlimit(getattr(resource, name), (limit, limit))
        except (OSError, ValueError):  # a stricter limit is set
            continue


def _serve(max_megapixels: float, seconds: float) -> None:
    source = open(0, "rb", buffering=0)  # noqa: SIM115 (open as long as the process runs)
    sink = open(os.dup(1), "wb", buffering=0)  # noqa: SIM115
    os.dup2(2, 1)  # output of libraries must not get between the answers
    head = bytearray(REQUEST.size)
    sink.write(ACK)
    while True:
        try:
            read_exactly(source, memoryview(head))
            length, size = REQUEST.unpack(head)
            body = bytearray(length)
            read_exactly(source, memoryview(body))
        except EOFError:
            return
        if hasattr(signal, "setitimer"):
            # The service kills a process that takes too long; this is in case the service has
            # died. The signal's default action works even while C code runs.
            signal.setitimer(signal.ITIMER_REAL, seconds + 5)
        sink.write(ACK)
        answer, blocks = decode(bytes(body), size, max_megapixels)
        del body
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        text = json.dumps(answer).encode()
        for block in (ANSWER.pack(len(text)) + text, *blocks):
            view = memoryview(block if block is not None else b"").cast("B")
            while view:
                view = view[sink.write(view) :]


def main() -> None:
    """Decode until stdin ends."""
    max_megapixels, megabytes, seconds = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the service
    from PIL import features

    features.get_supported()  # loads the codec libraries before memory is limited
    _confine(int(megabytes))
    _serve(float(max_megapixels), float(seconds))


if __name__ == "__main__":
    main()
