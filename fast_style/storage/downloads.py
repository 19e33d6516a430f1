"""Fetching a model file: within a limit, checked, and going on where it broke off."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from fast_style._version import __version__
from fast_style.errors import DownloadError, UsageError

OFFLINE_VARIABLE = "FAST_STYLE_OFFLINE"
"""The environment variable that forbids connections, unless it is empty, 0, no or false."""

SIZE_LIMIT = 200 * 1000 * 1000
"""Largest download, in bytes, unless another limit is given; the usual models have 0.3 to 7 MB."""

_ATTEMPTS = 5
_LONGEST_PAUSE = 4
_REDIRECTS = 5
_CHUNK = 1 << 16
_TIMEOUT = urllib3.Timeout(connect=10, read=30)


def is_offline() -> bool:
    """Tell whether the environment forbids connections."""
    return os.environ.get(OFFLINE_VARIABLE, "").casefold() not in ("", "0", "no", "false")


def check_url(url: str) -> None:
    """Refuse what cannot be fetched.

    Raises:
        UsageError: not a URL of http or https with a server in it.
    """
    try:
        parts = urlsplit(url)
        fetchable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fetchable = False
    if not fetchable:
        raise UsageError(f"{url} is no URL of http or https, and only those are fetched")


def download(
    url: str,
    part: Path,
    *,
    sha256: str | None = None,
    limit: int = SIZE_LIMIT,
    pause: float = 1.0,
    note: Callable[[str], None] = lambda _: None,
) -> str:
    """Fetch a file.

    A connection that breaks off is taken up again where it broke, by HTTP Range, within this call
    and in a later one; but only where the server can tell that the file is still the same, or its
    SHA-256 is known.

    Args:
        url: of http or https.
        part: where to; after a failure it may hold what has come so far, and `part` + `.json` what
            it belongs to. Nobody else may write there.
        sha256: what the file must have, in hexadecimal digits.
        limit: the most bytes that are taken.
        pause: seconds before the second attempt; each further pause is twice as long, up to four
            times.
        note: is told, in a sentence, of what went wrong and was tried again.

    Returns:
        The file's SHA-256.

    Raises:
        DownloadError: no connection, broken off again and again, too large, or other bytes than
            those that the SHA-256 belongs to.
        UsageError: not a URL that can be fetched.
    """
    check_url(url)
    fetch = _Fetch(url, part, sha256, limit)
    problem = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            note(f"{problem}; trying again")
            time.sleep(pause * min(2 ** (attempt - 1), _LONGEST_PAUSE))
        try:
            fetch.go_on()
            break
        except (urllib3.exceptions.HTTPError, _TryAgainError) as error:
            problem = f"{url}: {reason_of(error)}"
        except OSError as error:
            raise DownloadError(f"{part} cannot be written: {error.strerror or error}") from error
    else:
        have = part.stat().st_size if part.exists() else 0
        later = f"; {have} bytes are kept, the same command goes on with them" if have else ""
        raise DownloadError(f"{problem}, {_ATTEMPTS} times in a row{later}")
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _sidecar(part).unlink(missing_ok=True)
    if sha256 is not None and found != sha256.lower():
        part.unlink()
        raise DownloadError(
            f"{url} is not the file that was expected: its SHA-256 is {found}, not {sha256.lower()}"
        )
    return found


class _TryAgainError(Exception):
    """Something that may pass: the server is busy, or what is here belongs to another file."""


class _Fetch:
    """One file on its way, over any number of connections."""

    def __init__(self, url: str, part: Path, sha256: str | None, limit: int) -> None:
        self.url, self.part, self.sha256, self.limit = url, part, sha256, limit

    def go_on(self) -> None:
        """Open a connection and take what comes until the file is whole."""
        have, validator = self._kept()
        headers = {"User-Agent": f"fast-style/{__version__}", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        response = _open(self.url, headers)
        try:
            self._check_status(response, have)
            if response.status == 200:
                have = 0  # from the start, whatever was asked for
            length = response.headers.get("Content-Length", "")
            if length.isdigit() and have + int(length) > self.limit:
                self._forget()
                raise DownloadError(
                    f"{self.url} has {have + int(length)} bytes, and at most {self.limit} are "
                    "taken (--max-size)"
                )
            self._remember(response.headers)
            with self.part.open("ab" if have else "wb") as file:
                for chunk in response.stream(_CHUNK, decode_content=False):
                    have += len(chunk)
                    if have > self.limit:
                        break
                    file.write(chunk)
            if have > self.limit:
                self._forget()
                raise DownloadError(
                    f"{self.url} has more than the {self.limit} bytes that are taken (--max-size)"
                )
        finally:
            response.close()

    def _kept(self) -> tuple[int, str]:
        """How many bytes are here already that can be built upon, and what proves them current."""
        about: Any = {}
        with suppress(OSError, ValueError):
            about = json.loads(_sidecar(self.part).read_text(encoding="utf-8"))
        same = isinstance(about, dict) and about.get("url") == self.url and self.part.is_file()
        validator = about.get("validator") if same else None
        if not same or (not validator and self.sha256 is None):
            return 0, ""
        return self.part.stat().st_size, validator if isinstance(validator, str) else ""

    def _remember(self, headers: Mapping[str, str]) -> None:
        etag = headers.get("ETag", "")
        # A weak one says that two files are alike, not that their bytes are the same.
        validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
        about = {"url": self.url, "validator": validator}
        _sidecar(self.part).write_text(json.dumps(about), encoding="utf-8")

    def _check_status(self, response: urllib3.BaseHTTPResponse, have: int) -> None:
        status = response.status
        if status == 416 or (status == 206 and not self._continues(response, have)):
            self._forget()
            raise _TryAgainError("the server has another file by now")
        if status in (408, 425, 429) or status >= 500:
            raise _TryAgainError(f"the server answers {status} {response.reason or ''}".strip())
        if status not in (200, 206):
            raise DownloadError(
                f"{self.url} cannot be fetched: the server answers {status} {response.reason or ''}"
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(f"{self.url}: the server sends it compressed, unasked")

    @staticmethod
    def _continues(response: urllib3.BaseHTTPResponse, have: int) -> bool:
        return have > 0 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        _sidecar(self.part).unlink(missing_ok=True)


def _open(url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
    """Send a request and give the answer, following redirections, but not from https to http."""
    for _ in range(_REDIRECTS + 1):
        with_timeout: dict[str, Any] = {"timeout": _TIMEOUT, "retries": False, "redirect": False}
        response = connection_pool(url).request(
            "GET", url, headers=headers, preload_content=False, **with_timeout
        )
        target = response.get_redirect_location()
        if not target:
            return response
        response.close()
        target = urljoin(url, target)
        schemes = urlsplit(url).scheme, urlsplit(target).scheme
        if schemes not in (("http", "http"), ("http", "https"), ("https", "https")):
            raise DownloadError(f"{url} leads to {target}, which is not fetched")
        url = target
    raise DownloadError(f"{url}: the server redirects without end")


def connection_pool(url: str) -> urllib3.PoolManager:
    """The connections to a server, by the proxy that the environment names for it."""
    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    return urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()


def _sidecar(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def reason_of(error: BaseException) -> str:
    """Say in a few words why a request failed."""
    if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ProxyError):
        return "there is no connection to the server"  # a TimeoutError too, to urllib3
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "the server does not answer in time"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return "the connection broke off"
    return " ".join(str(error).split())[:200] or type(error).__name__
