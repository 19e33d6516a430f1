"""What the page keeps in memory: models for everybody, pictures for whom they belong to.

Everything here is bounded for the process as a whole, so that it does not matter how many visitors
there are: so many models, so many bytes of pictures for so many minutes, one picture at a time in
the network. A picture is found only by the visitor that it was made for; those made of the sample
photos are everybody's.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import dataclass

import streamlit as st

from fast_style import Painted, StyleModel, Stylizer, read_image
from fast_style.demo.backend import Painter, engine_words, painter, service
from fast_style.demo.session import MEGAPIXELS, Shot, Style

PICTURES = 256 << 20
"""Bytes of pictures that are kept, so that strength and colours can be changed at once."""

SECONDS = 600.0
"""How long a picture is kept after it was last looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A painted photo, and how that went.

    Attributes:
        painted: the photo and its full style.
        seconds: from the bytes of the photo to the stylized picture.
        engine: who or what did it, in words.
    """

    painted: Painted
    seconds: float
    engine: str

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        content = self.painted.content
        alpha = 0 if content.alpha is None else content.alpha.nbytes
        return content.pixels.nbytes + alpha + self.painted.pixels.nbytes


class Shelf:
    """Pictures by key, the least recently used going first."""

    def __init__(
        self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make an empty one.

        Args:
            limit: bytes of pictures that may be on it.
            seconds: how long one stays that nobody asks for.
            clock: tells the time.
        """
        self._limit, self._seconds, self._clock = limit, seconds, clock
        self._lock = threading.Lock()
        self._works: OrderedDict[Hashable, tuple[Work, float]] = OrderedDict()

    @property
    def bytes(self) -> int:
        """What is on it."""
        return sum(work.bytes for work, _ in self._works.values())

    def get(self, key: Hashable) -> Work | None:
        """Give what was put there under a key, if it is still there."""
        with self._lock:
            self._tidy()
            found = self._works.pop(key, None)
            if found is None:
                return None
            self._works[key] = found[0], self._clock()
            return found[0]

    def put(self, key: Hashable, work: Work) -> None:
        """Keep a picture; older ones go where there is no room."""
        with self._lock:
            self._works.pop(key, None)
            self._works[key] = work, self._clock()
            self._tidy()

    def _tidy(self) -> None:
        limit, now = self._limit, self._clock()
        while self._works:
            _, seen = next(iter(self._works.values()))
            if self.bytes <= limit and now - seen <= self._seconds:
                return
            self._works.popitem(last=False)


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """The one shelf of the process."""
    return Shelf(PICTURES, SECONDS)


@st.cache_resource(show_spinner=False)
def gate() -> threading.Lock:
    """Held while a network is at work: it uses all cores, and much memory."""
    return threading.Lock()


@st.cache_resource(max_entries=1, show_spinner=False)
def _uploaded(key: str, _model: StyleModel) -> Stylizer:
    # What a visitor brings is not written to disk, compiled or not.
    return Stylizer(_model, cache=False)


def paint(shot: Shot, style: Style, size: int, stroke_size: float) -> Work:
    """Put a style on a photo, or find that it was done before.

    Args:
        shot: the photo.
        style: the style.
        size: longest side to work at, in pixels.
        stroke_size: as for `Stylizer.stylize`.

    Raises:
        FastStyleError: the photo or the style cannot be used.
    """
    key = (shot.owner, shot.digest, style.key, size, stroke_size)
    work = shelf().get(key)
    if work is not None:
        return work
    # A service has limits of its own.
    with gate() if service() is None else nullcontext():
        work = shelf().get(key)  # while this one waited
        if work is not None:
            return work
        who, words = _painter(style)
        start = time.perf_counter()
        photo = read_image(shot.content, max_megapixels=MEGAPIXELS, name=shot.name)
        painted = who.paint(photo, size=size, stroke_size=stroke_size)
        work = Work(painted, time.perf_counter() - start, words)
        shelf().put(key, work)
    return work


def _painter(style: Style) -> tuple[Painter, str]:
    if style.model is None:
        return painter(style.key)
    stylizer = _uploaded(style.key, style.model)
    return stylizer, engine_words(stylizer)
