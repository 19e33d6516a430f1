"""Stylizing by a service: `Stylizer`'s work, done by `fast-style serve` on another machine.

A photo goes over the network at the size that is worked at, without its metadata, and losslessly
both ways, so that the picture is the one that the service's engine would make here, bit for bit.
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
from fast_style.images import Photo, encode_image, read_image, resize_long_side
from fast_style.inference.stroke_size import check_stroke_size
from fast_style.inference.stylizer import Painted
from fast_style.models.model_file import METADATA_KEY, ModelCard, card_from_metadata
from fast_style.storage.downloads import check_url, connection_pool, reason_of
from fast_style.styles.mixing import how_to_mix, looks_like_mixture, mixed_card, parse_mixture

_ATTEMPTS = 4
_LONGEST_PAUSE = 8.0  # seconds, whatever Retry-After says
_BUSY = (429, 503)

# What a service says of a request, as the library says it; anything else is the service's trouble.
_MEANINGS: Mapping[int, type[FastStyleError]] = {
    404: StyleNotFoundError,
    413: ImageTooLargeError,
    422: UsageError,
}


class RemoteStylizer:
    """One style of a service.

    ::

        stylizer = RemoteStylizer("https://style.example.com", "starry-night")
        stylizer.paint(read_image("photo.jpg"), size=1024).finish(strength=0.7)
    """

    def __init__(
        self, url: str, style: str, *, api_key: str | None = None, timeout: float = 60.0
    ) -> None:
        """Name the service and the style; nothing is asked yet.

        Args:
            url: of the service, such as `http://localhost:8000`.
            style: a style's name there, or a mixture such as `starry-night:0.6,great-wave:0.4`.
            api_key: where the service wants one.
            timeout: seconds that an answer may take, waiting for a free place included.

        Raises:
            UsageError: not a URL of http or https, or a timeout that is not above 0.
        """
        self._service = _Service(url, api_key, timeout)
        self._style = style

    @cached_property
    def card(self) -> ModelCard:
        """What is known of the style; asked for when it is first looked at.

        Raises:
            StyleNotFoundError: the service has no such style.
            ServiceError: it cannot be reached, or fails.
        """
        if not looks_like_mixture(self._style):
            return self._service.card(self._style)
        parts = [(self._service.card(name), share) for name, share in parse_mixture(self._style)]
        return mixed_card(parts, how_to_mix([card for card, _ in parts]))

    def paint(self, photo: Photo, *, size: int | None = None, stroke_size: float = 1.0) -> Painted:
        """Have the service run the network on a photo, in full style.

        Args:
            photo: as in `Stylizer.stylize_photo`.
            size: as in `Stylizer.stylize`; the photo is made smaller here, before it is sent.
            stroke_size: as in `Stylizer.stylize`.

        Returns:
            What `Stylizer.paint` gives with the same engine.

        Raises:
            ImageTooLargeError: the photo is beyond the service's limits.
            ServiceError: it cannot be reached, is too busy for too long, or fails.
            StyleNotFoundError: the service has no such style, where it says so by 404.
            UsageError: an argument is out of its range, or the service can make nothing of it.
        """
        check_stroke_size(stroke_size)
        content = photo
        if size is not None:
            content = photo.with_pixels(resize_long_side(photo.pixels, size))
        sent, _ = encode_image(Photo(content.pixels), format="PNG")
        answer = self._service.ask(
            "POST",
            "/v1/stylize",
            {
                "photo": ("photo.png", sent, "image/png"),
                "style": self._style,
                "strength": "1",
                "preserve_color": "false",
                "size": str(max(content.width, content.height)),
                "stroke_size": str(float(stroke_size)),
                "format": "png",
            },
        )
        pixels = read_image(answer, name="the service's picture").pixels
        if pixels.shape != content.pixels.shape:
            raise ServiceError(
                f"{self._service.name} sent a picture of {pixels.shape[1]}x{pixels.shape[0]} "
                f"pixels for a photo of {content.width}x{content.height}"
            )
        return Painted(content, pixels)


def remote_styles(
    url: str, *, api_key: str | None = None, timeout: float = 60.0
) -> list[ModelCard]:
    """List the styles of a service by their cards, in the order in which it names them.

    Args:
        url: as for `RemoteStylizer`.
        api_key: as for `RemoteStylizer`.
        timeout: as for `RemoteStylizer`, for each of its answers.

    Raises:
        ServiceError: the service cannot be reached, or fails.
        UsageError: not a URL of http or https, or a timeout that is not above 0.
    """
    service = _Service(url, api_key, timeout)
    listed = service.document("/v1/styles").get("styles")
    if not isinstance(listed, list):
        raise ServiceError(f"{service.name} lists no styles: it is no service of Fast Style")
    names = [one.get("name") for one in listed if isinstance(one, dict)]
    return [service.card(name) for name in names if isinstance(name, str)]


class _Service:
    """The connections to a service."""

    def __init__(self, url: str, api_key: str | None, timeout: float) -> None:
        check_url(url)
        if not 0 < timeout < float("inf"):
            raise UsageError(f"timeout is {timeout}; expected seconds above 0")
        self.name = f"the service at {urlsplit(url).netloc.rpartition('@')[2]}"
        self._url, self._timeout = url.rstrip("/"), timeout
        self._headers = {"X-API-Key": api_key} if api_key else {}
        self._pool = connection_pool(url)

    def card(self, name: str) -> ModelCard:
        """Ask for a style's card; its thumbnail is given by its address, and asked for too."""
        path = f"/v1/styles/{quote(name, safe='')}"
        document = self.document(path)
        thumbnail = document.get("thumbnail")
        if isinstance(thumbnail, str) and thumbnail.startswith("/"):
            picture = base64.b64encode(self.ask("GET", thumbnail)).decode("ascii")
            document["thumbnail"] = picture
        label = Path(f"the card of {name}")
        return card_from_metadata(label, {METADATA_KEY: json.dumps(document)})

    def document(self, path: str) -> dict[str, Any]:
        """Ask for a JSON object."""
        try:
            document = json.loads(self.ask("GET", path))
        except (ValueError, RecursionError) as error:
            raise ServiceError(
                f"{self.name} does not answer in JSON: it is no service of Fast Style"
            ) from error
        if not isinstance(document, dict):
            raise ServiceError(f"{self.name} does not answer as a service of Fast Style does")
        return document

    def ask(self, method: str, path: str, fields: Mapping[str, Any] | None = None) -> bytes:
        """Send a request, again where the service is busy; give the body of its answer."""
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
        raise self._problem(response)

    def _problem(self, response: urllib3.BaseHTTPResponse) -> FastStyleError:
        """Put what is no picture and no document into one sentence."""
        status, detail = response.status, ""
        if response.headers.get("Content-Type", "").startswith("application/problem+json"):
            try:
                detail = str(json.loads(response.data).get("detail") or "")
            except (ValueError, RecursionError, AttributeError):
                detail = ""
        sentence = " ".join(detail.split())[:300]
        if sentence and status in _MEANINGS:
            return _MEANINGS[status](sentence)
        if status in _BUSY:
            return ServiceError(f"{self.name} is busy: try again in a moment")
        reason = sentence or " ".join((response.reason or "").split())[:100]
        return ServiceError(f"{self.name} answers {status}{f': {reason}' if reason else ''}")


def _pause(response: urllib3.BaseHTTPResponse, attempt: int) -> float:
    """Seconds until the next attempt."""
    asked = response.headers.get("Retry-After", "")
    try:
        seconds = urllib3.Retry().parse_retry_after(asked) if asked else 2.0**attempt / 2
    except urllib3.exceptions.InvalidHeader:
        seconds = 1.0
    return min(max(seconds, 0.1), _LONGEST_PAUSE)
