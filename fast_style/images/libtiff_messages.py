"""Collect what libtiff says about a damaged file, which it would print to stderr.

libtiff has one handler of errors for the whole process. The one that is installed here, when the
first TIFF is decoded, keeps the messages of threads that collect them, and passes those of all
other threads to the handler that was there before. Where Pillow contains libtiff instead of loading
it, as on Windows, nothing is collected.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

__all__ = ["collect_messages"]

_PILLOWS_NAME = b"tempfile.tif"  # what it calls every file
_LONGEST = 200  # bytes of a message
_MOST = 1000  # messages of a file that are counted
_collecting = threading.local()


@contextlib.contextmanager
def collect_messages() -> Iterator[list[str]]:
    """Collect libtiff's messages in this thread.

    Yields:
        A list; when the context ends it holds one sentence, or none if there were no messages. If
        it ends with an exception, that gets the sentence as a note (`BaseException.add_note`).
    """
    _install()
    said: list[str] = []
    _collecting.messages = said
    try:
        yield said
    except Exception as error:
        if said:
            error.add_note(_summarize(said))
        raise
    finally:
        _collecting.messages = None
        if said:
            said[:] = [_summarize(said)]


def _summarize(said: list[str]) -> str:
    more = f" (and {len(said) - 1} more such messages)" if len(said) > 1 else ""
    return f"the decoder says: {said[0]}{more}"


@cache
def _install() -> Any:
    """Install the handler of errors; return it, so that it is kept."""
    if sys.platform == "win32":
        return None
    from PIL import _imaging  # type: ignore[attr-defined,unused-ignore]

    prototype = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
    try:
        # A symbol is searched in the library and in all that it has loaded.
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        print_to = ctypes.CDLL(None).vsnprintf
    except (AttributeError, OSError):
        return None
    set_handler.restype, set_handler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    print_to.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    before: list[Any] = []

    def handle(module: bytes | None, form: bytes | None, values: int | None) -> None:
        messages = getattr(_collecting, "messages", None)
        if messages is None:
            for earlier in before:
                earlier(module, form, values)
        elif len(messages) < _MOST and form:
            text = ctypes.create_string_buffer(_LONGEST)
            print_to(text, _LONGEST, form, values)
            words = text.value.decode("utf-8", "replace").split()
            if module and module != _PILLOWS_NAME:
                words.insert(0, f"{module.decode('ascii', 'replace')}:")
            messages.append(" ".join(word for word in words if word.isprintable()).rstrip("."))

    handler = prototype(handle)
    address = set_handler(ctypes.cast(handler, ctypes.c_void_p))
    if address:
        before.append(prototype(address))
    return handler, before
