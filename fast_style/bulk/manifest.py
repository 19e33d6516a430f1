"""The manifest of a bulk run, kept in its output; exact even after a kill.

    OUTPUT/.fast-style-bulk/
        settings.json     the options with which all pictures of this output are made
        parts/*.jsonl     a line for each picture that is done or has failed
        begun/            marks of blocks and pictures in work, to find those that kill workers
        tmp/              files that are being written
        failures.csv      the failed pictures with the reasons
        lock              locked by the running command (folders only)

A line is added when its picture has been written. In a folder that is one write to the end of a
file; an object store cannot append, so that it gets a part for each block. Each worker writes parts
of its own. A line that a kill cut short lacks the line break and is ignored; its picture is done
again.
"""

import csv
import io
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fast_style.bulk.listing import FOLDER
from fast_style.bulk.output_names import name_key, picture_id
from fast_style.errors import BulkError, FastStyleError, UsageError
from fast_style.storage.object_store import ObjectStore, short_reason

SCRATCH = f"{FOLDER}/tmp"
FAILURES = f"{FOLDER}/failures.csv"
VERSION = 1

_SETTINGS, _PARTS, _BEGUN = f"{FOLDER}/settings.json", f"{FOLDER}/parts", f"{FOLDER}/begun"
_SECONDS_UNWRITTEN = 5.0
"""How long lines may wait before they are written as a part, where they cannot be appended."""
_MANY_PARTS = 512
"""More parts than this are merged into one: on an object store, reading each takes a request."""


@dataclass(slots=True)
class History:
    """The results of earlier runs, by the ids of the pictures.

    Attributes:
        done: for each picture that is done, the key of its name in the output.
        failed: for each picture that failed, its path, its style and the reason.
    """

    done: dict[bytes, int] = field(default_factory=dict)
    failed: dict[bytes, tuple[str, str, str]] = field(default_factory=dict)


class ManifestPart:
    """The lines that one worker writes; safe to use from several threads."""

    def __init__(self, store: ObjectStore, run: str) -> None:
        """Name the part; it is created with the first line.

        Args:
            store: the output.
            run: the run's name, with which the part's name begins.
        """
        self._store, self._lock = store, threading.Lock()
        self._stem = f"{_PARTS}/{run}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._file: int | None = None
        self._waiting: list[bytes] = []
        self._since, self._count = 0.0, 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a line.

        Raises:
            Exception: it cannot be written.
        """
        line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            if self._store.folder is None:
                self._since = self._since if self._waiting else time.monotonic()
                self._waiting.append(line)
                if time.monotonic() - self._since > _SECONDS_UNWRITTEN:
                    self._write_waiting()
                return
            if self._file is None:
                path = self._store.folder / f"{self._stem}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
                self._file = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
            written = os.write(self._file, line)
            if written < len(line):  # the disk is full
                os.write(self._file, line[written:])  # raises

    def flush(self) -> None:
        """Write all lines to the disk or the store, so that they survive a power cut.

        Raises:
            Exception: they cannot be written.
        """
        with self._lock:
            if self._file is not None:
                os.fsync(self._file)
            if self._waiting:
                self._write_waiting()

    def close(self) -> None:
        """Write the waiting lines and close the file."""
        self.flush()
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _write_waiting(self) -> None:
        self._store.write(f"{self._stem}-{self._count:06}.jsonl", b"".join(self._waiting))
        self._waiting.clear()
        self._count += 1


class Manifest:
    """The manifest of one output.

    Attributes:
        store: the output.
    """

    def __init__(self, store: ObjectStore) -> None:
        """Store the output; nothing is read yet."""
        self.store = store

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the output during the block, if it is a folder and the system has file locks.

        Raises:
            BulkError: another run has locked it.
        """
        if self.store.folder is None or sys.platform == "win32":
            yield
            return
        import fcntl

        with bulk_errors(self.store, "cannot be written"):
            path = self.store.folder / FOLDER / "lock"
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "ab")  # noqa: SIM115 (closed below)
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BulkError(
                    f"another fast-style bulk is writing to {self.store.location}: wait for it to "
                    "end, or give another output"
                ) from None
            except OSError:  # a network file system without locks
                pass
            yield

    def merge_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Compare the settings of this run to those of earlier runs.

        Args:
            settings: JSON values; `styles` maps each style to the hash of its weights.

        Returns:
            The settings with the styles of all runs, for `write_settings`.

        Raises:
            UsageError: an earlier run had other settings.
            BulkError: the output cannot be reached.
        """
        wanted: dict[str, Any] = {"version": VERSION, **json.loads(json.dumps(settings))}
        remedy = f"give another output, or delete {self.store.url(FOLDER)} to start over"
        with bulk_errors(self.store, "cannot be reached"):
            try:
                data = self.store.read(_SETTINGS)
            except FileNotFoundError:
                return wanted
        try:
            found = json.loads(data)
            before = dict(found["styles"])
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{self.store.url(_SETTINGS)} is damaged: {remedy}") from None
        for name in sorted({*wanted, *found} - {"styles"}):
            if wanted.get(name) != found.get(name):
                raise UsageError(
                    f"{self.store.location} was started with {_setting(name, found.get(name))}, "
                    f"and this command has {_setting(name, wanted.get(name))}: {remedy}"
                )
        return wanted | {"styles": before | wanted["styles"]}

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write the settings of this output.

        Raises:
            BulkError: the output cannot be written.
        """
        with bulk_errors(self.store, "cannot be written"):
            data = json.dumps(settings, indent=2).encode()
            self.store.write(_SETTINGS, data)

    def read(self) -> History:
        """Read the results of earlier runs, and delete the temporary files of killed ones.

        Raises:
            BulkError: it cannot be read.
        """
        history = History()
        with bulk_errors(self.store, "has a manifest that cannot be read"):
            self.store.delete_folder(SCRATCH, ignore_errors=True)
            parts = self._parts()
            for record in self._records(parts):
                _add_record(history, record)
            if len(parts) > _MANY_PARTS:
                self._merge(parts)
        return history

    def records_of_run(self, run: str) -> dict[bytes, dict[str, Any]]:
        """Return the records that the workers of a run have written, by the pictures' ids."""
        parts = (name for name in self._parts() if name.startswith(f"{_PARTS}/{run}-"))
        return {picture_id(one["path"], one["style"]): one for one in self._records(parts)}

    def mark_begun(self, name: str) -> int:
        """Mark a block or picture as begun, and return how often it was begun before.

        Marks remain until the run ends: a worker may die after a block is done and before its
        results are sent, and then the block is sent again. The marks of a killed run remain for the
        next one.
        """
        times = 0
        while self.store.exists(f"{_BEGUN}/{name}.{times}"):
            times += 1
        self.store.write(f"{_BEGUN}/{name}.{times}", b"")
        return times

    def clear_begun(self) -> None:
        """Delete all marks of begun blocks and pictures."""
        self.store.delete_folder(_BEGUN, ignore_errors=True)

    def write_failures(self, failures: Iterable[tuple[str, str, str]]) -> str | None:
        """Write the table of failures; delete it if there are none.

        Args:
            failures: path, style and reason of each.

        Returns:
            The table's path or URL; None if there are no failures.

        Raises:
            BulkError: it cannot be written.
        """
        rows = sorted(failures)
        with bulk_errors(self.store, "cannot be written"):
            if not rows:
                self.store.delete_file(FAILURES)
                return None
            text = io.StringIO(newline="")
            table = csv.writer(text)
            table.writerow(["path", "style", "reason"])
            table.writerows(rows)
            data = text.getvalue().encode(errors="backslashreplace")
            self.store.write(FAILURES, data)
        return self.store.url(FAILURES)

    def _parts(self) -> list[str]:
        return [f"{_PARTS}/{name}" for name in self.store.names(_PARTS)]

    def _records(self, parts: Iterable[str]) -> Iterator[dict[str, Any]]:
        for name in parts:
            data = self.store.read(name)
            for line in data[: data.rfind(b"\n") + 1].splitlines():
                try:
                    record = json.loads(line)
                except ValueError:  # damaged: ignore it, as if it had not been written
                    continue
                if isinstance(record, dict) and {"path", "style"} <= record.keys():
                    yield record

    def _merge(self, parts: Iterable[str]) -> None:
        # In the order of time, since the last line about a picture counts. A kill during this
        # leaves some lines twice, which does no harm.
        merged = ManifestPart(self.store, "0-together")
        for record in self._records(parts):
            merged.add(record)
        merged.close()
        for name in parts:
            self.store.delete_file(name)


def open_output(location: str) -> ObjectStore:
    """Open the output of a bulk run; temporary files go into one folder of it.

    Raises:
        MissingExtraError: it is a URL, and fsspec is not installed.
        UsageError: fsspec does not know such URLs.
    """
    return ObjectStore(location, temporary_folder=SCRATCH, extra="bulk")


@contextmanager
def bulk_errors(store: ObjectStore, problem: str) -> Iterator[None]:
    """Raise errors of the block as a `BulkError` that says what the output's problem is.

    Args:
        store: the output.
        problem: such as "cannot be written".
    """
    try:
        yield
    except FastStyleError:
        raise
    except Exception as error:  # remote file systems raise anything
        raise BulkError(f"{store.location} {problem}: {short_reason(error)}") from error


def new_run() -> str:
    """Return a name for a run; names sort by time."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def _add_record(history: History, record: Mapping[str, Any]) -> None:
    path, style = record["path"], record["style"]
    identity = picture_id(path, style)
    if "target" in record:
        history.done[identity] = name_key(record["target"])
        history.failed.pop(identity, None)
    elif identity not in history.done:
        history.failed[identity] = (path, style, str(record.get("error", "")))


def _setting(name: str, value: Any) -> str:
    return f"{name.replace('_', ' ')} {'as the default' if value is None else value}"
