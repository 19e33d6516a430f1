"""Forms from the network: parsed while they stream in, within limits of size, number and time."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from fast_style.service.problems import Problem

__all__ = ["Form", "Upload", "read_form"]

MOST_FIELDS = 64
LONGEST_FIELD = 16 << 10
"""Bytes of a field that is no file."""

_NO_FORM = "The body is no sound form"


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """A file of a form.

    Attributes:
        filename: what the client calls it; not to be trusted with anything but messages.
        content: its bytes; none if they were put on disk.
        file: the bytes on disk, at their beginning; None if they were not put there.
    """

    filename: str
    content: bytes
    file: IO[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """What a form holds: fields by name, each once, and files by the name of their field."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[Upload]] = field(default_factory=dict)


async def read_form(
    request: Request,
    *,
    max_bytes: int,
    max_files: int = 1,
    idle_seconds: float = 10.0,
    total_seconds: float = 60.0,
    on_disk: ExitStack | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Form:
    """Read a multipart form; what is over a limit is refused as soon as it is.

    Args:
        request: the request, whose body nobody has touched.
        max_bytes: the most that the body may have, counted as it comes, whatever its headers say.
        max_files: the most files in all.
        idle_seconds: the longest wait for the next bytes.
        total_seconds: the longest that the whole body may take.
        on_disk: files go to disk as they come, if they have more than a megabyte; closing this
            deletes them.
        on_bytes: is told of each piece that has come, how many bytes it has; what it raises ends
            the reading.

    Returns:
        Fields and files.

    Raises:
        Problem: 415 another content type, 413 too large, 408 too slow, 400 no sound form.
        ClientDisconnect: the client went away.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        shown = kind.decode("latin-1")[:80] or "none"
        raise Problem(
            415,
            "The body is no form",
            f"the body must be multipart/form-data, and its content type is {shown}",
        )
    try:
        reader = _Reader(options.get(b"boundary", b""), max_files, on_disk=on_disk)
    except FormParserError as error:
        raise Problem(400, _NO_FORM, f"the boundary of the form is not valid: {error}") from error
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    clock = asyncio.get_running_loop().time
    end = clock() + total_seconds
    received = 0
    try:
        async with asyncio.timeout_at(min(clock() + idle_seconds, end)) as limit:
            async with aclosing(request.stream()) as stream:
                async for chunk in stream:
                    received += len(chunk)
                    if received > max_bytes:
                        raise _too_large(max_bytes)
                    if on_bytes is not None:
                        on_bytes(len(chunk))
                    reader.feed(chunk)
                    limit.reschedule(min(clock() + idle_seconds, end))
    except TimeoutError as error:
        raise Problem(
            408,
            "The body came too slowly",
            f"{received:,} bytes came, and then not enough in time: a body may take "
            f"{total_seconds:g} seconds, with pauses of at most {idle_seconds:g}",
        ) from error
    return reader.finish()


def _too_large(max_bytes: int) -> Problem:
    return Problem(
        413,
        "The body is too large",
        f"a request may have at most {max_bytes:,} bytes: send a smaller file",
    )


class _Reader:
    """Collects the parts of a form as the parser finds them."""

    def __init__(
        self, boundary: bytes, max_files: int, *, on_disk: ExitStack | None = None
    ) -> None:
        if not boundary:
            raise FormParserError("there is none")
        self._max_files, self._on_disk = max_files, on_disk
        self._file: IO[bytes] | None = None
        self._form = Form()
        self._count = 0
        self._header = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._filename: str | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Problem(
                400, _NO_FORM, f"the body cannot be read as multipart/form-data: {error}"
            ) from error

    def finish(self) -> Form:
        if not self._ended:
            raise Problem(
                400, _NO_FORM, "the form is cut off: its last boundary is missing at the end"
            )
        return self._form

    def _part_begin(self) -> None:
        self._headers, self._pieces, self._size = {}, [], 0

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise Problem(400, _NO_FORM, "a part of the form has no name")
        self._name = _text(options[b"name"], "the name of a field")
        kind, _ = parse_options_header(self._headers.get(b"content-type"))
        is_file = b"filename" in options or not (kind or b"text/").startswith(b"text/")
        self._filename = None
        self._file = None
        if is_file and self._on_disk is not None:
            file = tempfile.SpooledTemporaryFile(1 << 20)  # noqa: SIM115 - `on_disk` closes it
            self._file = self._on_disk.enter_context(file)
        if is_file:
            self._filename = options.get(b"filename", b"").decode("utf-8", "replace")
        files = sum(map(len, self._form.files.values()))
        if is_file and files >= self._max_files:
            most = f"{self._max_files} file{'s' if self._max_files > 1 else ''}"
            raise Problem(400, _NO_FORM, f"the form has more files than expected, at most {most}")
        if not is_file and len(self._form.fields) >= MOST_FIELDS:
            raise Problem(400, _NO_FORM, f"the form has more than {MOST_FIELDS} fields")
        if not is_file and self._name in self._form.fields:
            raise Problem(400, _NO_FORM, f"the field {self._name!r} comes more than once")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._filename is None and self._size > LONGEST_FIELD:
            raise Problem(
                400,
                _NO_FORM,
                f"the field {self._name!r} has more than {LONGEST_FIELD} bytes; a file needs a "
                "filename in its part of the form",
            )
        if self._file is not None:
            self._file.write(data[start:end])
        else:
            self._pieces.append(data[start:end])

    def _part_end(self) -> None:
        content = b"".join(self._pieces)
        self._pieces = []
        if self._filename is None:
            self._form.fields[self._name] = _text(content, f"the field {self._name!r}")
        else:
            if self._file is not None:
                self._file.seek(0)
            upload = Upload(self._filename, content, self._file)
            self._form.files.setdefault(self._name, []).append(upload)

    def _end(self) -> None:
        self._ended = True


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(400, _NO_FORM, f"{what} is not UTF-8 text") from error
