"""API keys from a file, and a rate limit for each caller."""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from fast_style.errors import UsageError

__all__ = ["KeyFile", "RateLimit"]

MIN_KEY_LENGTH = 16
_CHECK_SECONDS = 1.0
_MAX_CALLERS = 10_000
_NAME_DIGITS = 16


class KeyFile:
    """API keys, one per line, `KEY` or `NAME:KEY`; empty lines and lines with # are skipped.

    The file is read again when it changes. While it cannot be read or is malformed, the previous
    keys stay valid. A key without a name is named after its hash, so that what its holder owns does
    not depend on the other lines.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the keys.

        Args:
            path: the file.
            clock: returns the time in seconds.

        Raises:
            UsageError: the file cannot be read, has no key, or one that is too short.
        """
        self._path, self._clock = path, clock
        self._keys: list[tuple[str, bytes]] = []
        self._state: tuple[int, int] | None = None
        self._checked = float("-inf")
        self._read()

    def find_name(self, key: str) -> str | None:
        """Find the name of a key, in a time that does not depend on how much of it is right.

        Args:
            key: the key that a client sent.

        Returns:
            The name, or None if there is no such key.
        """
        if self._clock() - self._checked >= _CHECK_SECONDS:
            try:
                self._read()
            except UsageError:
                self._checked = self._clock()
        digest = _digest(key)
        found = None
        for name, known in self._keys:  # all of them, also after the right one
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _read(self) -> None:
        try:
            status = self._path.stat()
            state = (status.st_mtime_ns, status.st_size)
            self._checked = self._clock()
            if state == self._state:
                return
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"--keys {self._path} cannot be read: {reason}") from error
        keys = []
        for number, line in enumerate(map(str.strip, lines), 1):
            if not line or line.startswith("#"):
                continue
            name, colon, key = line.rpartition(":")
            if len(key) < MIN_KEY_LENGTH:
                raise UsageError(
                    f"--keys {self._path}, line {number}: a key has {len(key)} characters; "
                    f"expected {MIN_KEY_LENGTH} or more (`openssl rand -hex 16` makes one)"
                )
            digest = _digest(key)
            keys.append((name if colon else f"key-{digest.hex()[:_NAME_DIGITS]}", digest))
        if not keys:
            raise UsageError(f"--keys {self._path} has no key; expected one a line")
        self._keys, self._state = keys, state


class RateLimit:
    """A token bucket for each caller: a burst at once, and a steady rate from then on."""

    def __init__(
        self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Create full buckets.

        Args:
            per_minute: tokens that are added to a bucket per minute.
            burst: the largest number of tokens in a bucket.
            clock: returns the time in seconds.
        """
        self._rate, self._burst, self._clock = per_minute / 60, burst, clock
        # Buckets of callers who have not called for long are full and need not be stored.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take_token(self, caller: str) -> int:
        """Take a token out of a bucket.

        Args:
            caller: whose bucket it is.

        Returns:
            0 if there was one, else the whole seconds until there is one.
        """
        now = self._clock()
        tokens, seen = self._buckets.pop(caller, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - seen) * self._rate)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - allowed, now)
        while len(self._buckets) > _MAX_CALLERS:
            self._buckets.popitem(last=False)
        return 0 if allowed else max(1, math.ceil((1 - tokens) / self._rate))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
