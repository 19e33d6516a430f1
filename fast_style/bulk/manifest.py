"""What a bulk run has done so far, kept beside its output, exact after a kill.

    OUTPUT/.fast-style-bulk/
        settings.json     what every picture of this output is made with
        parts/*.jsonl     a line for each picture that is done or has failed
        begun/            which pictures are being worked on, to find those that kill workers
        tmp/              files that are being written
        failures.csv      the pictures that have failed, with the reasons
        lock              held by the run at work (folders only)

A line is added once its picture is in place. In a folder that is one write to the end of a file, in
the hands of the system at once; an object store cannot append, and gets a part for each block. Each
worker writes parts of its own. A line that a kill cut short does not end in a line break, and is no
line; its picture is done again.
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

from fast_style.bulk.output_names import name_key, picture_id
from fast_style.errors import BulkError, FastStyleError, UsageError
from fast_style.storage.object_store import ObjectStore, short_reason

FOLDER = ".fast-style-bulk"
SCRATCH = f"{FOLDER}/tmp"
FAILURES = f"{FOLDER}/failures.csv"
VERSION = 1

_SETTINGS, _PARTS, _BEGUN = f"{FOLDER}/settings.json", f"{FOLDER}/parts", f"{FOLDER}/begun"
_SECONDS_UNWRITTEN = 5.0
"""How long lines may wait, where they cannot be appended, before they become a part."""
_MANY_PARTS = 512
"""From how many parts on they are put into one: on an object store each is a request to read."""


@dataclass(slots=True)
class History:
    """What earlier runs have left.

    Attributes:
        done: for each picture that is done, by its id, the key of its name in the output.
        failed: for each that failed, by its id, its path, its style and the reason.
    """

    done: dict[bytes, int] = field(default_factory=dict)
    failed: dict[bytes, tuple[str, str, str]] = field(default_factory=dict)


class Part:
    """The lines of one worker; safe to use from several threads."""

    def __init__(self, store: ObjectStore, run: str) -> None:
        """Name the part; it is made with the first line.

        Args:
            store: the output.
            run: the run's name; parts begin with it.
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
                    self._put()
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
        """Put all lines where not even a power cut takes them, as far as the system can say.

        Raises:
            Exception: they cannot be written.
        """
        with self._lock:
            if self._file is not None:
                os.fsync(self._file)
            if self._waiting:
                self._put()

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self.flush()
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _put(self) -> None:
        self._store.write(f"{self._stem}-{self._count:06}.jsonl", b"".join(self._waiting))
        self._waiting.clear()
        self._count += 1


class Manifest:
    """The manifest of one output."""

    def __init__(self, store: ObjectStore) -> None:
        """Take the output."""
        self.store = store

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out meanwhile, where the output is a folder and the system has locks.

        Raises:
            BulkError: another run is at work there.
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
                    f"another fast-style bulk is at work in {self.store.location}: wait for its "
                    "end, or give another output"
                ) from None
            except OSError:  # a network file system without locks
                pass
            yield

    def compared(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Compare what pictures are to be made with to what earlier runs made theirs with.

        Args:
            settings: plain JSON values; `styles` maps each style to the hash of its weights.

        Returns:
            The settings of all runs, for `begin`.

        Raises:
            UsageError: an earlier run made its pictures in another way.
            BulkError: the output cannot be reached.
        """
        wanted: dict[str, Any] = {"version": VERSION, **json.loads(json.dumps(settings))}
        anew = f"give another output, or remove {self.store.url(FOLDER)} to begin anew"
        with bulk_errors(self.store, "cannot be reached"):
            try:
                data = self.store.read(_SETTINGS)
            except FileNotFoundError:
                return wanted
        try:
            found = json.loads(data)
            before = dict(found["styles"])
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{self.store.url(_SETTINGS)} is damaged: {anew}") from None
        for name in sorted({*wanted, *found} - {"styles"}):
            if wanted.get(name) != found.get(name):
                raise UsageError(
                    f"{self.store.location} was begun with {_told(name, found.get(name))}, and now "
                    f"{_told(name, wanted.get(name))} is asked for: {anew}"
                )
        return wanted | {"styles": before | wanted["styles"]}

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write down what the pictures of this output are made with.

        Raises:
            BulkError: the output cannot be written.
        """
        with bulk_errors(self.store, "cannot be written"):
            data = json.dumps(settings, indent=2).encode()
            self.store.write(_SETTINGS, data)

    def read(self) -> History:
        """Read what earlier runs have left, and clear away what a kill left behind.

        Raises:
            BulkError: it cannot be read.
        """
        history = History()
        with bulk_errors(self.store, "has a manifest that cannot be read"):
            self.store.delete_folder(SCRATCH, ignore_errors=True)
            parts = self._parts()
            for record in self._records(parts):
                _take(history, record)
            if len(parts) > _MANY_PARTS:
                self._put_together(parts)
        return history

    def noted_by(self, run: str) -> dict[bytes, dict[str, Any]]:
        """Read the lines that workers of one run have written so far, by the pictures' ids."""
        parts = (name for name in self._parts() if name.startswith(f"{_PARTS}/{run}-"))
        return {picture_id(one["path"], one["style"]): one for one in self._records(parts)}

    def mark(self, name: str) -> int:
        """Write down that something is begun; tell how often it had been begun before.

        Marks stay to the end of the run: a worker may die when a block is done and its results have
        not been told of, and then the block comes again. Those of a run that was killed are there
        for the next one.
        """
        times = 0
        while self.store.exists(f"{_BEGUN}/{name}.{times}"):
            times += 1
        self.store.write(f"{_BEGUN}/{name}.{times}", b"")
        return times

    def unmark_all(self) -> None:
        """Forget what was begun, for nobody is at it any more."""
        self.store.delete_folder(_BEGUN, ignore_errors=True)

    def write_failures(self, failures: Iterable[tuple[str, str, str]]) -> str | None:
        """Write the table of failures; without any, there is none.

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
                except ValueError:  # damaged: as if it had not been written
                    continue
                if isinstance(record, dict) and {"path", "style"} <= record.keys():
                    yield record

    def _put_together(self, parts: Iterable[str]) -> None:
        # In the order of time, so that the last word on a picture stays the last. A kill on the way
        # leaves lines twice, which does no harm.
        whole = Part(self.store, "0-together")
        for record in self._records(parts):
            whole.add(record)
        whole.close()
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
    """Name a run; later runs have later names."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def _take(history: History, record: Mapping[str, Any]) -> None:
    path, style = record["path"], record["style"]
    identity = picture_id(path, style)
    if "target" in record:
        history.done[identity] = name_key(record["target"])
        history.failed.pop(identity, None)
    elif identity not in history.done:
        history.failed[identity] = (path, style, str(record.get("error", "")))


def _told(name: str, value: Any) -> str:
    return f"{name.replace('_', ' ')} {'as the default' if value is None else value}"
