"""Multipart forms from the network: parsed by Starlette, within limits of size, number and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from fast_style.service.problems import Problem

__all__ = ["Form", "read_form"]

MAX_FIELDS = 64
MAX_FIELD_BYTES = 16 << 10
"""Bytes of a field that is not a file."""

_SPOOL_BYTES = 1 << 20
_MALFORMED = "The form is malformed"


@dataclass(frozen=True, slots=True)
class Form:
    """A form: fields by name, each once, and files by the name of their field."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[UploadFile]] = field(default_factory=dict)

    def close(self) -> None:
        """Close the files; those on disk are deleted."""
        for uploads in self.files.values():
            for upload in uploads:
                upload.file.close()


async def read_form(
    request: Request,
    *,
    max_bytes: int,
    max_files: int = 1,
    idle_seconds: float = 10.0,
    total_seconds: float = 60.0,
    on_disk: bool = False,
    on_bytes: Callable[[int], None] | None = None,
) -> Form:
    """Read a multipart form; whatever exceeds a limit is refused at once.

    Args:
        request: the request, whose body has not been read.
        max_bytes: the largest body, counted as it arrives, whatever its headers say.
        max_files: the most files in all.
        idle_seconds: the longest wait for the next bytes.
        total_seconds: the longest time for the whole body.
        on_disk: files of more than a megabyte are kept in temporary files, not in memory.
        on_bytes: called with the size of each chunk that arrives; what it raises ends the reading.

    Returns:
        Fields and files; to be closed.

    Raises:
        Problem: 415 another content type, 413 too large, 408 too slow, 400 a malformed form.
        ClientDisconnect: the client went away.
    """
    _check_headers(request.headers, max_bytes)
    clock = asyncio.get_running_loop().time
    end = clock() + total_seconds
    received = 0

    async def limited(stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        nonlocal received
        async for chunk in stream:
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes)
            if on_bytes is not None:
                on_bytes(len(chunk))
            yield chunk
            limit.reschedule(min(clock() + idle_seconds, end))
        if not parser.complete:
            raise MultiPartException("the form is cut off: its last boundary is missing at the end")

    try:
        async with (
            asyncio.timeout_at(min(clock() + idle_seconds, end)) as limit,
            aclosing(request.stream()) as stream,
        ):
            parser = _StrictParser(request.headers, limited(stream), max_files=max_files)
            parser.spool_max_size = _SPOOL_BYTES if on_disk else 0  # 0: all stay in memory
            return _collect(await parser.parse())
    except TimeoutError as error:
        raise _too_slow(received, total_seconds, idle_seconds) from error
    except MultiPartException as error:
        raise Problem(400, _MALFORMED, _sentence(error, max_files)) from error


class _StrictParser(MultiPartParser):
    """Starlette's parser, which also refuses text that is not UTF-8.

    Attributes:
        complete: whether the last boundary has been parsed.
    """

    def __init__(
        self, headers: Headers, stream: AsyncGenerator[bytes, None], *, max_files: int
    ) -> None:
        super().__init__(
            headers,
            stream,
            max_files=max_files,
            max_fields=MAX_FIELDS,
            max_part_size=MAX_FIELD_BYTES,
        )
        self.complete = False

    def on_headers_finished(self) -> None:
        part = self._current_part
        _, options = parse_options_header(part.content_disposition)
        _check_text(options.get(b"name", b""), "the name of a field")
        kind, _ = parse_options_header(dict(part.item_headers).get(b"content-type"))
        if b"filename" not in options and not (kind or b"text/").startswith(b"text/"):
            # A file is also what says so by its content type alone.
            part.content_disposition = (part.content_disposition or b"") + b'; filename=""'
        super().on_headers_finished()

    def on_part_end(self) -> None:
        if self._current_part.file is None:
            _check_text(self._current_part.data, f"the field {self._current_part.field_name!r}")
        super().on_part_end()

    def on_end(self) -> None:
        self.complete = True


def _check_headers(headers: Headers, max_bytes: int) -> None:
    kind, _ = parse_options_header(headers.get("content-type"))
    if kind != b"multipart/form-data":
        shown = kind.decode("latin-1")[:80] or "none"
        raise Problem(
            415,
            "The body is not a form",
            f"the body must be multipart/form-data, and its content type is {shown}",
        )
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> Problem:
    return Problem(
        413,
        "The body is too large",
        f"a request may have at most {max_bytes:,} bytes: send a smaller file",
    )


def _too_slow(received: int, total_seconds: float, idle_seconds: float) -> Problem:
    return Problem(
        408,
        "The body came too slowly",
        f"{received:,} bytes came, and then not enough in time: a body may take "
        f"{total_seconds:g} seconds, with pauses of at most {idle_seconds:g}",
    )


def _check_text(data: bytes | bytearray, what: str) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MultiPartException(f"{what} is not UTF-8 text") from error


def _collect(data: FormData) -> Form:
    form, repeated = Form(), None
    for name, value in data.multi_items():
        if isinstance(value, UploadFile):
            form.files.setdefault(name, []).append(value)
        elif name in form.fields:
            repeated = name
        else:
            form.fields[name] = value
    if repeated is not None:
        form.close()
        raise MultiPartException(f"the field {repeated[:60]!r} comes more than once")
    return form


def _sentence(error: MultiPartException, max_files: int) -> str:
    """Return in a sentence why a form was refused: Starlette's messages in our words."""
    message = error.message
    if message.startswith("Too many files"):
        files = f"{max_files} file{'s' if max_files > 1 else ''}"
        return f"the form has more files than expected, at most {files}"
    if message.startswith("Too many fields"):
        return f"the form has more than {MAX_FIELDS} fields"
    if message.startswith("Part exceeded"):
        return (
            f"a field has more than {MAX_FIELD_BYTES} bytes; a file needs a filename in its part "
            "of the form"
        )
    if '"name"' in message:
        return "a part of the form has no name"
    if message.startswith("Missing boundary"):
        return "the content type of the form names no boundary"
    if error.__cause__ is not None and message.startswith("Invalid"):
        return f"the body cannot be read as multipart/form-data: {error.__cause__}"
    return message
