"""A cache of loaded styles, shared by the threads of a process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fast_style.errors import EngineError, StyleNotFoundError
from fast_style.images import DEFAULT_MAX_MEGAPIXELS
from fast_style.inference.stylizer import Stylizer
from fast_style.options import EngineOptions
from fast_style.styles.registry import find_parts

__all__ = ["StylizerCache", "StylizerKey"]


@dataclass(frozen=True, slots=True)
class StylizerKey:
    """What a stylizer is loaded from.

    Attributes:
        parts: for each model file its path and its share.
        files: for each model file its time of change and its size; a file that was replaced by
            another has other values.
        options: those of the engine.
        max_megapixels: as for `Stylizer`.
    """

    parts: tuple[tuple[Path, float], ...]
    files: tuple[tuple[int, int], ...]
    options: EngineOptions
    max_megapixels: float

    @classmethod
    def of(
        cls,
        parts: Sequence[tuple[Path, float]],
        options: EngineOptions,
        max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    ) -> StylizerKey:
        """Make the key of model files in the state that they are in now.

        Args:
            parts: paths and shares, as `fast_style.styles.registry.find_parts` returns them.
            options: those of the engine.
            max_megapixels: as for `Stylizer`.

        Raises:
            StyleNotFoundError: a file is not there any more.
        """
        files = []
        for path, _ in parts:
            try:
                status = path.stat()
            except OSError as error:
                raise StyleNotFoundError(
                    f"the model file {path} cannot be reached ({error.strerror}): check the path"
                ) from error
            files.append((status.st_mtime_ns, status.st_size))
        return cls(tuple(parts), tuple(files), options, max_megapixels)


@dataclass(slots=True, eq=False)
class _Entry:
    """A stylizer that is loaded or being loaded, and the lock for its exclusive use."""

    stylizer: Future[Stylizer] = field(default_factory=Future)
    in_use: threading.Lock = field(default_factory=threading.Lock)


class StylizerCache:
    """Loaded styles, of which the least recently used are dropped; safe for threads.

    A style that several threads ask for at once is loaded once. While it loads, only those that ask
    for it wait; the lock of the cache is not held.
    """

    def __init__(
        self, max_styles: int, *, warm_up: Callable[[Stylizer], object] | None = None
    ) -> None:
        """Make an empty cache.

        Args:
            max_styles: styles and mixtures that stay loaded, 1 or more.
            warm_up: called with each stylizer that was loaded, before it is used.
        """
        self._max_styles, self._warm_up = max_styles, warm_up
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()  # the last one used is last
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Count the styles that are loaded."""
        with self._lock:
            return sum(entry.stylizer.done() for entry in self._entries.values())

    def get(
        self,
        style: str | os.PathLike[str],
        options: EngineOptions | None = None,
        *,
        max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    ) -> Stylizer:
        """Return the stylizer of a style, and load it first if necessary.

        Args:
            style: a style's name, the path of a model file, or a mixture, as for `Stylizer`.
            options: those of the engine; the defaults if None.
            max_megapixels: as for `Stylizer`.

        Raises:
            FastStyleError: the style cannot be found or loaded, see `Stylizer`.
        """
        options = options or EngineOptions()
        key = StylizerKey.of(find_parts(style), options, max_megapixels)
        return self.get_or_load(key, lambda: self.load(style, key))

    @contextmanager
    def exclusive(
        self,
        style: str | os.PathLike[str],
        options: EngineOptions | None = None,
        *,
        max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    ) -> Iterator[Stylizer]:
        """Return a stylizer that no other caller of this method uses until the block ends.

        This is for engines that work on one picture at a time.

        Args:
            style: as in `get`.
            options: as in `get`.
            max_megapixels: as in `get`.

        Raises:
            FastStyleError: as `get`.
        """
        options = options or EngineOptions()
        key = StylizerKey.of(find_parts(style), options, max_megapixels)
        entry = self._entry(key, lambda: self.load(style, key))
        stylizer = entry.stylizer.result()
        with entry.in_use:
            yield stylizer

    def find(self, key: Hashable) -> Stylizer | None:
        """Return the stylizer of a key if it is loaded, without waiting; else None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not entry.stylizer.done():
                return None
            self._entries.move_to_end(key)
        return entry.stylizer.result()

    def get_or_load(self, key: Hashable, load: Callable[[], Stylizer]) -> Stylizer:
        """Return the stylizer of a key, and load it first if necessary.

        Args:
            key: identifies the style and all options it is loaded with: a `StylizerKey`, or
                anything else for styles that do not come from files.
            load: loads it.

        Raises:
            Exception: what `load` raises; the next call tries again.
        """
        return self._entry(key, load).stylizer.result()

    def load(self, style: str | os.PathLike[str], key: StylizerKey) -> Stylizer:
        """Load a style with the options of a key; nothing is kept."""
        return Stylizer.from_options(style, key.options, max_megapixels=key.max_megapixels)

    def clear(self) -> None:
        """Drop all styles; those in use stay alive until their users are done."""
        with self._lock:
            self._entries.clear()

    def _entry(self, key: Hashable, load: Callable[[], Stylizer]) -> _Entry:
        """Return the entry of a key with its stylizer loaded, or being loaded by another thread."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                return entry
            entry = _Entry()
            self._drop_replaced(key)
            self._drop_least_recently_used()
            self._entries[key] = entry
        try:
            stylizer = load()
            if self._warm_up is not None:
                self._warm_up(stylizer)
        except BaseException as error:
            with self._lock:
                if self._entries.get(key) is entry:
                    del self._entries[key]
            # Ctrl-C in one thread must not look like one in those that wait for it.
            interrupted = EngineError("the loading of the style was interrupted: try again")
            entry.stylizer.set_exception(error if isinstance(error, Exception) else interrupted)
            raise
        entry.stylizer.set_result(stylizer)
        return entry

    def _drop_replaced(self, key: Hashable) -> None:
        """Drop what was loaded from the same files before they were replaced."""
        if isinstance(key, StylizerKey):
            for other in list(self._entries):
                if isinstance(other, StylizerKey) and (
                    (other.parts, other.options, other.max_megapixels)
                    == (key.parts, key.options, key.max_megapixels)
                ):
                    del self._entries[other]

    def _drop_least_recently_used(self) -> None:
        """Make room for one more; those that are being loaded are not dropped.

        A bound in megabytes would be another condition of this loop.
        """
        for key in list(self._entries):
            if len(self._entries) < self._max_styles:
                return
            if self._entries[key].stylizer.done():
                del self._entries[key]
