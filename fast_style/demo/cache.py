"""Stylized photos in memory, so that strength and colours can be changed without the network.

All limits are for the process, whatever the number of visitors: a number of bytes of pictures,
which are kept for some minutes, and one picture at a time in the network. Pictures of uploaded
photos are found only by the visitor they were made for; those of the samples are shared.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import streamlit as st

from fast_style import Painted, StyleOptions, read_image
from fast_style.demo.backend import service_url
from fast_style.demo.masks import Placement
from fast_style.demo.session import MAX_MEGAPIXELS, SourceImage
from fast_style.demo.styles import Style
from fast_style.demo.stylizers import load_stylizer
from fast_style.demo.turns import get_turns

MAX_BYTES = 256 << 20
"""Bytes of pictures that are kept."""

MAX_AGE = 600.0
"""Seconds for which a picture is kept after its last use."""


@dataclass(frozen=True, slots=True, eq=False)
class StylizedPhoto:
    """A stylized photo, and what it took.

    Attributes:
        painted: the photo, and the picture at full strength.
        seconds: from the bytes of the photo's file to the picture.
        engine: a description of what computed it.
        full_size: width and height of the photo in its file.
    """

    painted: Painted
    seconds: float
    engine: str
    full_size: tuple[int, int] = (0, 0)

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        content = self.painted.content
        alpha = 0 if content.alpha is None else content.alpha.nbytes
        return content.pixels.nbytes + alpha + self.painted.pixels.nbytes


class Sized(Protocol):
    """Something whose size in memory is known."""

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        ...


Result = TypeVar("Result", bound=Sized)


class ResultCache(Generic[Result]):
    """Results by key; the least recently used are dropped first."""

    def __init__(
        self, max_bytes: int, max_age: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make an empty cache.

        Args:
            max_bytes: limit on the results' bytes.
            max_age: seconds after its last use at which a result is dropped.
            clock: returns the time in seconds.
        """
        self._max_bytes, self._max_age, self._clock = max_bytes, max_age, clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Result, float]] = OrderedDict()

    @property
    def bytes(self) -> int:
        """The bytes of all results in the cache."""
        return sum(result.bytes for result, _ in self._entries.values())

    def get(self, key: Hashable) -> Result | None:
        """Return the entry of a key, or None if it is not in the cache any more."""
        with self._lock:
            self._evict()
            entry = self._entries.pop(key, None)
            if entry is None:
                return None
            self._entries[key] = entry[0], self._clock()
            return entry[0]

    def put(self, key: Hashable, result: Result) -> None:
        """Store an entry, dropping older ones to make room."""
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = result, self._clock()
            self._evict()

    def _evict(self) -> None:
        now = self._clock()
        while self._entries:
            _, last_use = next(iter(self._entries.values()))
            if self.bytes <= self._max_bytes and now - last_use <= self._max_age:
                return
            self._entries.popitem(last=False)


@st.cache_resource(show_spinner=False)
def get_result_cache() -> ResultCache[StylizedPhoto]:
    """Return the one cache of the process."""
    return ResultCache(MAX_BYTES, MAX_AGE)


def stylize(
    image: SourceImage,
    style: Style,
    options: StyleOptions,
    placement: Placement | None = None,
    *,
    keep: bool = True,
) -> StylizedPhoto:
    """Stylize a photo, or return the result from the cache.

    Args:
        image: the photo.
        style: the style.
        options: all but strength and colours are used; `Painted.finish` applies these.
        placement: where the style goes; None for everywhere.
        keep: whether the result is kept in the cache.

    Raises:
        FastStyleError: the photo, the style or the mask cannot be used.
    """
    cache = get_result_cache()
    key: tuple[Hashable, ...] = (
        image.owner, image.digest, style.key, options.size, options.stroke_size
    )  # fmt: skip
    if placement is not None:
        key += (*placement.key, options.feather, options.invert_mask)
    result = cache.get(key)
    if result is not None:
        return result
    # A service has limits of its own.
    with get_turns().asked() if service_url() is None else nullcontext():
        result = cache.get(key)  # it may have been computed while this one waited
        if result is not None:
            return result
        elsewhere = placement.elsewhere if placement else None
        stylizer, description = load_stylizer(style, elsewhere)
        start = time.perf_counter()
        photo = read_image(image.content, max_megapixels=MAX_MEGAPIXELS, name=image.name)
        painted = stylizer.paint(photo, options, placement.mask.read() if placement else None)
        seconds = time.perf_counter() - start
        result = StylizedPhoto(painted, seconds, description, (photo.width, photo.height))
        if keep:
            cache.put(key, result)
    return result
