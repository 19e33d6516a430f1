"""The process that decodes photos for the service, so that a hostile file can hurt nothing else.

    python -m fast_style.service.decoder_process MEGAPIXELS MEGABYTES SECONDS

It reads requests from stdin and answers on stdout, one after the other, until stdin ends. What it
says is data only, no pickles: whoever takes it over by a flaw in a codec has gained nothing but
this process, which may write no files, and holds one photo and no secrets.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from typing import Any, BinaryIO

from fast_style.errors import ImageError, ImageTooLargeError
from fast_style.images import Photo, read_image, resize_long_side
from fast_style.images.decoding import detect_format

__all__ = ["ANSWER", "MARK", "REQUEST", "read_exactly"]

REQUEST = struct.Struct("<QI")
"""Before each request: bytes of the file, long side to make it smaller to (0: leave it)."""

ANSWER = struct.Struct("<I")
"""Before each answer: bytes of its JSON head; pixels, alpha, EXIF and profile follow that."""

MARK = b"\x06"
"""Said once when the process is ready, and each time that it has a whole file."""

PHOTO = "the photo"


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


def decoded(body: bytes, size: int, max_megapixels: float) -> tuple[dict[str, Any], list[Any]]:
    """Decode a file into the head of an answer and the blocks that follow it."""
    try:
        photo = read_image(body, max_megapixels=max_megapixels, name=PHOTO)
        if size:
            # As `Stylizer.paint` would do it, but here it costs the others less.
            pixels = resize_long_side(photo.pixels, size)
            photo = photo if pixels is photo.pixels else photo.with_pixels(pixels)
    except ImageTooLargeError:
        return {"problem": "size"}, []
    except ImageError as error:
        unknown = body and detect_format(body[:4096]) is None
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
    }


def _confine(megabytes: int) -> None:
    """Give up what decoding needs not: memory beyond the limit, and writing to files."""
    try:
        import resource
    except ImportError:  # Windows
        return
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # macOS, which does not heed this limit anyway
        used = 1 << 30
    limits = {"RLIMIT_AS": used + megabytes * 10**6, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, limit in limits.items():
        try:
            resource.setrlimit(getattr(resource, name), (limit, limit))
        except (OSError, ValueError):  # a stricter one is in force
            continue


def _serve(max_megapixels: float, seconds: float) -> None:
    source = open(0, "rb", buffering=0)  # noqa: SIM115 (they live as long as the process)
    sink = open(os.dup(1), "wb", buffering=0)  # noqa: SIM115
    os.dup2(2, 1)  # what a library may print must not get between the answers
    head = bytearray(REQUEST.size)
    sink.write(MARK)
    while True:
        try:
            read_exactly(source, memoryview(head))
            length, size = REQUEST.unpack(head)
            body = bytearray(length)
            read_exactly(source, memoryview(body))
        except EOFError:
            return
        if hasattr(signal, "setitimer"):
            # The service ends what takes too long; this is for when it is not there any more. The
            # signal's default action needs no turn of the interpreter.
            signal.setitimer(signal.ITIMER_REAL, seconds + 5)
        sink.write(MARK)
        answer, blocks = decoded(bytes(body), size, max_megapixels)
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service
    from PIL import features

    features.get_supported()  # loads the codecs' libraries before memory is limited
    _confine(int(megabytes))
    _serve(float(max_megapixels), float(seconds))


if __name__ == "__main__":
    main()
