"""Downloads: limited in size, checked by SHA-256, and resumed where they broke off."""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from fast_style._version import __version__
from fast_style.errors import DownloadError, UsageError
from fast_style.storage.hardware import installed

OFFLINE_VARIABLE = "FAST_STYLE_OFFLINE"
"""The environment variable that forbids connections, unless it is empty, 0, no or false."""

SIZE_LIMIT = 200 * 1000 * 1000
"""The default limit of a download, in bytes; the usual models have 0.3 to 7 MB."""

_ATTEMPTS = 5
_LONGEST_PAUSE = 4
_REDIRECTS = 5
_CHUNK = 1 << 16
_TIMEOUT = urllib3.Timeout(connect=10, read=30)


def is_offline() -> bool:
    """Return whether the environment forbids connections."""
    return os.environ.get(OFFLINE_VARIABLE, "").casefold() not in ("", "0", "no", "false")


def check_url(url: str) -> None:
    """Refuse URLs that cannot be downloaded.

    Raises:
        UsageError: it is not a URL of http or https with a host.
    """
    try:
        parts = urlsplit(url)
        fetchable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fetchable = False
    if not fetchable:
        raise UsageError(f"{url} is not a URL of http or https, and only those can be downloaded")


def download(
    url: str,
    part: Path,
    *,
    sha256: str | None = None,
    limit: int = SIZE_LIMIT,
    pause: float = 1.0,
    note: Callable[[str], None] = lambda _: None,
) -> str:
    """Download a file.

    A download that breaks off is resumed by HTTP Range, within this call and in a later one, if the
    server can confirm that the file is still the same or its SHA-256 is known.

    Args:
        url: of http or https.
        part: the file to write; after a failure it may have the first bytes, and `part` + `.json`
            their URL. Nothing else may write there.
        sha256: the expected SHA-256, in hexadecimal digits.
        limit: the largest size, in bytes.
        pause: seconds before the second attempt; each further pause is twice as long, up to four
            times.
        note: called with a sentence for each failed attempt that is repeated.

    Returns:
        The file's SHA-256.

    Raises:
        DownloadError: there is no connection, it breaks off again and again, or the file is too
            large or has another SHA-256.
        UsageError: the URL is not one of http or https.
    """
    check_url(url)
    fetch = _Fetch(url, part, sha256, limit)
    problem = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            note(f"{problem}; trying again")
            time.sleep(pause * min(2 ** (attempt - 1), _LONGEST_PAUSE))
        try:
            fetch.resume()
            break
        except (urllib3.exceptions.HTTPError, _TryAgainError) as error:
            problem = f"{url}: {reason_of(error)}"
        except OSError as error:
            raise DownloadError(f"{part} cannot be written: {error.strerror or error}") from error
    else:
        have = part.stat().st_size if part.exists() else 0
        later = f"; {have} bytes are kept, and the same command resumes there" if have else ""
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
    """A failure that may pass: the server is busy, or the first bytes are of another file."""


class _Fetch:
    """The download of one file over any number of connections."""

    def __init__(self, url: str, part: Path, sha256: str | None, limit: int) -> None:
        self.url, self.part, self.sha256, self.limit = url, part, sha256, limit

    def resume(self) -> None:
        """Open a connection and receive the rest of the file."""
        have, validator = self._read_state()
        headers = {"User-Agent": f"fast-style/{__version__}", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        response = _open(self.url, headers)
        try:
            self._check_status(response, have)
            if response.status == 200:
                have = 0  # the server sends the whole file
            length = response.headers.get("Content-Length", "")
            if length.isdigit() and have + int(length) > self.limit:
                self._discard()
                raise DownloadError(
                    f"{self.url} has {have + int(length)} bytes, more than the limit of "
                    f"{self.limit}: raise it with --max-size"
                )
            self._write_state(response.headers)
            with self.part.open("ab" if have else "wb") as file:
                for chunk in response.stream(_CHUNK, decode_content=False):
                    have += len(chunk)
                    if have > self.limit:
                        break
                    file.write(chunk)
            if have > self.limit:
                self._discard()
                raise DownloadError(
                    f"{self.url} has more than {self.limit} bytes: raise the limit with --max-size"
                )
        finally:
            response.close()

    def _read_state(self) -> tuple[int, str]:
        """Return the number of bytes to resume after, and the validator of their file."""
        about: Any = {}
        with suppress(OSError, ValueError):
            about = json.loads(_sidecar(self.part).read_text(encoding="utf-8"))
        same = isinstance(about, dict) and about.get("url") == self.url and self.part.is_file()
        validator = about.get("validator") if same else None
        if not same or (not validator and self.sha256 is None):
            return 0, ""
        return self.part.stat().st_size, validator if isinstance(validator, str) else ""

    def _write_state(self, headers: Mapping[str, str]) -> None:
        etag = headers.get("ETag", "")
        # A weak ETag does not guarantee that the bytes are the same.
        validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
        about = {"url": self.url, "validator": validator}
        _sidecar(self.part).write_text(json.dumps(about), encoding="utf-8")

    def _check_status(self, response: urllib3.BaseHTTPResponse, have: int) -> None:
        status = response.status
        if status == 416 or (status == 206 and not self._continues(response, have)):
            self._discard()
            raise _TryAgainError("the server has another file now")
        if status in (408, 425, 429) or status >= 500:
            raise _TryAgainError(f"the server answers {status} {response.reason or ''}".strip())
        if status not in (200, 206):
            raise DownloadError(
                f"{self.url} cannot be downloaded: the server answers {status} "
                f"{response.reason or ''}"
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(
                f"{self.url}: the server sends it compressed, which was not requested"
            )

    @staticmethod
    def _continues(response: urllib3.BaseHTTPResponse, have: int) -> bool:
        return have > 0 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        _sidecar(self.part).unlink(missing_ok=True)


def _open(url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
    """Send a request; follow redirects, but not from https to http."""
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
            raise DownloadError(
                f"{url} redirects to {target}, which is not http or https or less secure"
            )
        url = target
    raise DownloadError(f"{url}: the server redirects without end")


def connection_pool(url: str) -> urllib3.PoolManager:
    """Return connections to a server, through the proxy that the environment names for it.

    The variables are HTTP_PROXY, HTTPS_PROXY, ALL_PROXY for both, and NO_PROXY. A proxy is a URL,
    or HOST:PORT; it may contain a user and a password.

    Raises:
        UsageError: the environment names a proxy that cannot be used.
    """
    parts = urlsplit(url)
    known = getproxies()
    proxy = known.get(parts.scheme) or known.get("all")
    if not proxy or proxy_bypass(parts.hostname or ""):
        return urllib3.PoolManager()
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        return _proxy_pool(proxy)
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise UsageError(
            f"the proxy {_without_password(proxy)} in the environment cannot be used; expected "
            "HOST:PORT, http://HOST:PORT or socks5h://HOST:PORT"
        ) from error


def _proxy_pool(proxy: str) -> urllib3.PoolManager:
    parts = urlsplit(proxy)
    if not parts.hostname or parts.port == 0:
        raise ValueError(proxy)
    if parts.scheme.startswith("socks"):
        if not installed("socks"):
            raise UsageError(
                f"the proxy {_without_password(proxy)} in the environment needs PySocks: pip "
                "install pysocks, or set HTTPS_PROXY to an HTTP proxy"
            )
        from urllib3.contrib.socks import SOCKSProxyManager

        return SOCKSProxyManager(proxy)
    headers = None
    if parts.username is not None:  # urllib3 ignores it in the URL
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=user)
    return urllib3.ProxyManager(proxy, proxy_headers=headers)


def _without_password(proxy: str) -> str:
    return re.sub(r"//[^/]*@", "//", proxy)


def _sidecar(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def reason_of(error: BaseException) -> str:
    """Return in a few words why a request failed."""
    if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ProxyError):
        return "there is no connection to the server"  # a TimeoutError too, to urllib3
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "the server does not answer in time"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return "the connection broke off"
    return " ".join(str(error).split())[:200] or type(error).__name__
