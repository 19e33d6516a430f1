"""The styles that the service offers, and those of them that are loaded."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fast_style.errors import UsageError
from fast_style.inference.stylizer import Stylizer
from fast_style.service.problems import Problem
from fast_style.service.settings import ServiceSettings
from fast_style.styles.mixing import looks_like_mixture, parse_mixture
from fast_style.styles.registry import StyleEntry, list_styles

__all__ = ["StyleShelf"]

_FRESH_SECONDS = 2.0
"""How long a look at the catalogue holds: models may come and go while the service runs."""

_SHOWN = 5

_Key = tuple[tuple[str, float, Path, int, int], ...]


class StyleShelf:
    """Styles by name, and a bounded number of them ready to be used."""

    def __init__(self, settings: ServiceSettings) -> None:
        """Make an empty one, for the engine that the settings ask for."""
        self._settings = settings
        self._loaded: OrderedDict[_Key, Stylizer] = OrderedDict()
        self._loading: dict[_Key, asyncio.Task[Stylizer]] = {}
        self._thread = ThreadPoolExecutor(1, "loader")  # loading uses all cores by itself
        self._entries: dict[str, StyleEntry] = {}
        self._seen = float("-inf")

    def __len__(self) -> int:
        """Say how many are loaded."""
        return len(self._loaded)

    async def entries(self) -> Mapping[str, StyleEntry]:
        """Give all styles of the catalogue by name, with those that cannot be used."""
        if time.monotonic() - self._seen > _FRESH_SECONDS:
            found = await asyncio.to_thread(list_styles)
            self._entries = {entry.name: entry for entry in found}
            self._seen = time.monotonic()
        return self._entries

    async def parts(self, style: str) -> tuple[tuple[StyleEntry, float], ...]:
        """Find the styles of a name or a mixture. Paths are not names: files stay private.

        Args:
            style: a name, or a mixture such as `starry-night:0.6,great-wave:0.4`.

        Returns:
            Entries, all of them usable, and their shares.

        Raises:
            Problem: 422, there is no such style, it cannot be used, or the mixture is not sound.
        """
        entries = await self.entries()
        parts = [(style, 1.0)]
        if style not in entries and looks_like_mixture(style):
            try:
                parts = parse_mixture(style)
            except UsageError as error:
                raise Problem(422, "A field is wrong", str(error)) from error
        for name, _ in parts:
            if name not in entries:
                some = ", ".join(list(entries)[:_SHOWN]) or "none"
                raise Problem(
                    422,
                    "No such style",
                    f"there is no style named {name!r}; there are {some} (GET /v1/styles lists "
                    "them all)",
                )
            if entries[name].card is None:
                raise Problem(
                    422, "No such style", f"the file of the style {name} cannot be used at present"
                )
        return tuple((entries[name], share) for name, share in parts if share > 0)

    async def get(self, style: str) -> Stylizer:
        """Give a style ready to be used.

        Args:
            style: as for `parts`.

        Raises:
            Problem: as for `parts`.
            FastStyleError: it cannot be loaded.
        """
        parts = await self.parts(style)
        key = tuple(_key(entry, share) for entry, share in parts)
        found = self._loaded.get(key)
        if found is not None:
            self._loaded.move_to_end(key)
            return found
        task = self._loading.get(key)
        if task is None:
            # A task of its own: others may wait for it when this request is given up.
            task = asyncio.create_task(self._load(key, style))
            self._loading[key] = task
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(task)

    async def warm(self) -> None:
        """Load the styles that are to be ready before the first request.

        Raises:
            FastStyleError: one cannot be loaded, or there is none of that name.
        """
        entries = await self.entries()
        names = [name.strip() for name in self._settings.warm.split(",") if name.strip()]
        if names == ["none"]:
            return
        if names == ["all"]:
            names = [name for name, entry in entries.items() if entry.card is not None]
        for name in names[: self._settings.loaded]:
            try:
                await self.get(name)
            except Problem as problem:
                raise UsageError(f"--warm: {problem.detail}") from problem

    def close(self) -> None:
        """Let go of everything."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._loaded.clear()

    async def _load(self, key: _Key, style: str) -> Stylizer:
        loop = asyncio.get_running_loop()
        stylizer = await loop.run_in_executor(self._thread, self._build, style, len(key) == 1)
        self._loaded[key] = stylizer
        while len(self._loaded) > self._settings.loaded:
            self._loaded.popitem(last=False)
        return stylizer

    def _build(self, style: str, single: bool) -> Stylizer:
        import numpy as np

        settings = self._settings
        stylizer = Stylizer(
            style,
            engine=settings.engine,
            device=settings.device,
            precision=settings.precision,
            max_megapixels=settings.max_megapixels,
            # Clients think up mixtures as they like: not each is worth a file in the cache.
            cache=single,
            concurrency=settings.at_once,
        )
        # The first picture takes longer than the second.
        stylizer.engine.predict(np.zeros((1, 256, 256, 3), np.uint8))
        return stylizer


def _key(entry: StyleEntry, share: float) -> tuple[str, float, Path, int, int]:
    """What a loaded style was loaded from; a file that was replaced is another one."""
    try:
        state = entry.path.stat()
    except OSError as error:
        raise Problem(
            422, "No such style", f"the file of the style {entry.name} is not there any more"
        ) from error
    return entry.name, share, entry.path, state.st_mtime_ns, state.st_size
