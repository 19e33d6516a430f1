"""Stylize with a service: like `Stylizer`, but `fast-style serve` runs the network elsewhere.

A photo is sent at its working size, without its metadata, and as PNG both ways, so that the result
is bit for bit that of the service's engine.
"""

import base64
import json
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3

from fast_style.errors import (
    FastStyleError,
    ImageTooLargeError,
    ServiceError,
    StyleNotFoundError,
    UsageError,
)
from fast_style.images import Photo, encode_image, read_image
from fast_style.inference.guides import Guides, find_areas
from fast_style.inference.stylizer import Painted
from fast_style.models.card import METADATA_KEY, ModelCard, card_from_metadata
from fast_style.options import StyleOptions
from fast_style.storage.downloads import check_url, connection_pool, reason_of
from fast_style.styles.mixing import how_to_mix, looks_like_mixture, mixed_card, parse_mixture

_ATTEMPTS = 4
_MAX_PAUSE = 8.0  # seconds, even if Retry-After is longer
_BUSY = (429, 503)

# The exceptions for errors of the request; all other statuses are failures of the service.
_ERRORS_BY_STATUS: Mapping[int, type[FastStyleError]] = {
    404: StyleNotFoundError,
    413: ImageTooLargeError,
    422: UsageError,
}


class RemoteStylizer:
    """A style of a service.

    ::

        stylizer = RemoteStylizer("https://style.example.com", "starry-night")
        options = StyleOptions(size=1024, strength=0.7)
        stylizer.paint(read_image("photo.jpg"), options).finish(options)
    """

    def __init__(
        self, url: str, style: str, *, api_key: str | None = None, timeout: float = 60.0
    ) -> None:
        """Store the service's URL and the style; no request is sent yet.

        Args:
            url: of the service, such as `http://localhost:8000`.
            style: a style's name there, or a mixture such as `starry-night:0.6,great-wave:0.4`.
            api_key: the API key, if the service needs one.
            timeout: seconds that a response may take, including retries while the service is busy.

        Raises:
            UsageError: not a URL of http or https, or a timeout that is not above 0.
        """
        self._service = _Service(url, api_key, timeout)
        self._style = style

    @cached_property
    def card(self) -> ModelCard:
        """The style's card; fetched on first use.

        Raises:
            StyleNotFoundError: the service has no such style.
            ServiceError: it cannot be reached, or fails.
        """
        if not looks_like_mixture(self._style):
            return self._service.fetch_card(self._style)
        parts = [
            (self._service.fetch_card(name), share) for name, share in parse_mixture(self._style)
        ]
        return mixed_card(parts, how_to_mix([card for card, _ in parts]))

    def paint(
        self, photo: Photo, options: StyleOptions | None = None, guides: Guides | None = None
    ) -> Painted:
        """Have the service run the network on a photo, at full strength.

        Args:
            photo: as in `Stylizer.stylize_photo`.
            options: `size` and `stroke_size` are used, the defaults if None; the photo is resized
                here, before it is sent.
            guides: as in `Stylizer.stylize_photo`; masks are applied here, and not sent.

        Returns:
            What `Stylizer.paint` returns with the same engine.

        Raises:
            ImageTooLargeError: the photo exceeds the service's limits.
            ServiceError: the service cannot be reached, stays busy, or fails.
            StyleNotFoundError: the service has no such style (404).
            UsageError: the service refuses a value (422).
        """
        options, content = options or StyleOptions(), photo
        if options.size is not None:
            content = photo.resize_long_side(options.size)
        content, areas = find_areas(content, guides, options, 1)
        # With its transparency, of which the network sees nothing, but as the library does.
        sent, _ = encode_image(Photo(content.pixels, content.alpha), format="PNG")
        # Strength, colours and masks are applied here, by `Painted.finish`.
        longest = max(content.width, content.height)
        asked = {"size": longest, "stroke_size": options.stroke_size}
        if options.variant:
            asked["variant"] = options.variant
        answer = self._service.request(
            "POST",
            "/v1/stylize",
            {
                "photo": ("photo.png", sent, "image/png"),
                "style": self._style,
                **{
                    name: value if isinstance(value, str) else json.dumps(value)
                    for name, value in asked.items()
                },
                "format": "png",
            },
        )
        pixels = read_image(answer, name="the service's picture").pixels
        if pixels.shape != content.pixels.shape:
            raise ServiceError(
                f"{self._service.name} sent a picture of {pixels.shape[1]}x{pixels.shape[0]} "
                f"pixels for a photo of {content.width}x{content.height}"
            )
        return Painted(content, pixels, areas.coverage, guides.colors if guides else None)


def remote_styles(
    url: str, *, api_key: str | None = None, timeout: float = 60.0
) -> list[ModelCard]:
    """Return the cards of a service's styles, in the order in which it lists them.

    Args:
        url: as for `RemoteStylizer`.
        api_key: as for `RemoteStylizer`.
        timeout: as for `RemoteStylizer`, for each request.

    Raises:
        ServiceError: the service cannot be reached, or fails.
        UsageError: not a URL of http or https, or a timeout that is not above 0.
    """
    service = _Service(url, api_key, timeout)
    listed = service.fetch_json("/v1/styles").get("styles")
    if not isinstance(listed, list):
        raise ServiceError(f"{service.name} does not list styles: it is no service of Fast Style")
    names = [one.get("name") for one in listed if isinstance(one, dict)]
    return [service.fetch_card(name) for name in names if isinstance(name, str)]


class _Service:
    """Connections to a service.

    Attributes:
        name: names the service in messages, without the password of its URL.
    """

    def __init__(self, url: str, api_key: str | None, timeout: float) -> None:
        check_url(url)
        if not 0 < timeout < float("inf"):
            raise UsageError(f"timeout is {timeout}; expected seconds above 0")
        self.name = f"the service at {urlsplit(url).netloc.rpartition('@')[2]}"
        self._url, self._timeout = url.rstrip("/"), timeout
        self._headers = {"X-API-Key": api_key} if api_key else {}
        self._pool = connection_pool(url)

    def fetch_card(self, name: str) -> ModelCard:
        """Fetch a style's card, and the thumbnail whose path it contains."""
        path = f"/v1/styles/{quote(name, safe='')}"
        document = self.fetch_json(path)
        thumbnail = document.get("thumbnail")
        if isinstance(thumbnail, str) and thumbnail.startswith("/"):
            picture = base64.b64encode(self.request("GET", thumbnail)).decode("ascii")
            document["thumbnail"] = picture
        label = Path(f"the card of {name}")
        return card_from_metadata(label, {METADATA_KEY: json.dumps(document)})

    def fetch_json(self, path: str) -> dict[str, Any]:
        """Fetch a JSON object."""
        try:
            document = json.loads(self.request("GET", path))
        except (ValueError, RecursionError) as error:
            raise ServiceError(
                f"{self.name} does not answer in JSON: it is no service of Fast Style"
            ) from error
        if not isinstance(document, dict):
            raise ServiceError(f"{self.name} does not answer as a service of Fast Style does")
        return document

    def request(self, method: str, path: str, fields: Mapping[str, Any] | None = None) -> bytes:
        """Send a request, again while the service is busy, and return the response's body."""
        end = time.monotonic() + self._timeout
        for attempt in range(_ATTEMPTS):
            try:
                response = self._pool.request(
                    method,
                    self._url + path,
                    fields=fields,
                    headers=self._headers,
                    timeout=urllib3.Timeout(total=max(0.001, end - time.monotonic())),
                    retries=False,
                    redirect=False,
                )
            except urllib3.exceptions.HTTPError as error:
                raise ServiceError(f"{self.name} cannot be used: {reason_of(error)}") from error
            if response.status == 200:
                return response.data
            pause = _pause(response, attempt)
            last = attempt == _ATTEMPTS - 1 or time.monotonic() + pause > end
            if last or response.status not in _BUSY:
                break
            time.sleep(pause)
        raise self._error_of(response)

    def _error_of(self, response: urllib3.BaseHTTPResponse) -> FastStyleError:
        """Return the exception for a response with another status than 200."""
        status, detail = response.status, ""
        if response.headers.get("Content-Type", "").startswith("application/problem+json"):
            try:
                detail = str(json.loads(response.data).get("detail") or "")
            except (ValueError, RecursionError, AttributeError):
                detail = ""
        sentence = " ".join(detail.split())[:300]
        if sentence and status in _ERRORS_BY_STATUS:
            return _ERRORS_BY_STATUS[status](sentence)
        if status in _BUSY:
            return ServiceError(f"{self.name} is busy: try again in a moment")
        reason = sentence or " ".join((response.reason or "").split())[:100]
        return ServiceError(f"{self.name} answers {status}{f': {reason}' if reason else ''}")


def _pause(response: urllib3.BaseHTTPResponse, attempt: int) -> float:
    """Return the seconds to wait before the next attempt."""
    asked = response.headers.get("Retry-After", "")
    try:
        seconds = urllib3.Retry().parse_retry_after(asked) if asked else 2.0**attempt / 2
    except urllib3.exceptions.InvalidHeader:
        seconds = 1.0
    return min(max(seconds, 0.1), _MAX_PAUSE)
