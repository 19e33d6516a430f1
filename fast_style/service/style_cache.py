"""The styles that the service offers, and those of them that are loaded."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from fast_style.errors import StyleNotFoundError, UsageError, shorten
from fast_style.images import Photo, to_pil
from fast_style.inference.stylizer import Stylizer
from fast_style.inference.stylizer_cache import StylizerCache, StylizerKey
from fast_style.models.predictor import load_predictor
from fast_style.service.problems import Problem
from fast_style.service.settings import ServiceSettings
from fast_style.styles.mixing import looks_like_mixture, parse_mixture
from fast_style.styles.registry import StyleEntry, list_styles

__all__ = ["STYLE_IMAGE", "StyleCache"]

_LISTING_SECONDS = 2.0
"""How long a listing of the styles is used; models may come and go while the service runs."""

_SHOWN = 5

_MAX_PREDICTED = 4
"""Styles predicted from clients' pictures that stay loaded."""

STYLE_IMAGE = "style_image"
"""What messages call such a picture."""


class StyleCache:
    """The styles by name, and a bounded number of them loaded."""

    def __init__(self, settings: ServiceSettings) -> None:
        """Make an empty cache for the engine that the settings choose."""
        self._settings, self._options = settings, settings.engine_options()
        self._stylizers = StylizerCache(settings.loaded, warm_up=_predict_once)
        # Pictures of clients must not displace the styles that are loaded.
        self._predicted = StylizerCache(_MAX_PREDICTED)
        self._loader = ThreadPoolExecutor(1, "loader")  # loading uses all cores by itself
        self._entries: dict[str, StyleEntry] = {}
        self._listed = float("-inf")

    def __len__(self) -> int:
        """Count the styles that are loaded."""
        return len(self._stylizers) + len(self._predicted)

    async def entries(self) -> Mapping[str, StyleEntry]:
        """Return all styles of the registry by name, including those that cannot be used."""
        if time.monotonic() - self._listed > _LISTING_SECONDS:
            found = await asyncio.to_thread(list_styles)
            self._entries = {entry.name: entry for entry in found}
            self._listed = time.monotonic()
        return self._entries

    async def parts(self, style: str) -> tuple[tuple[StyleEntry, float], ...]:
        """Find the styles of a name or a mixture. Paths are not accepted: files stay private.

        Args:
            style: a name, or a mixture such as `starry-night:0.6,great-wave:0.4`.

        Returns:
            Entries, all of them usable, and their shares.

        Raises:
            Problem: 422, there is no such style, it cannot be used, or the mixture is malformed.
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
                    f"there is no style named {shorten(repr(name))}; "
                    f"there are {some} (GET /v1/styles lists them all)",
                )
            if entries[name].card is None:
                raise Problem(
                    422, "No such style", f"the file of the style {name} cannot be used at present"
                )
        return tuple((entries[name], share) for name, share in parts if share > 0)

    async def get(self, style: str) -> Stylizer:
        """Return the stylizer of a style, and load it first if necessary.

        Args:
            style: as for `parts`.

        Raises:
            Problem: as `parts`.
            FastStyleError: the style cannot be loaded.
        """
        parts = await self.parts(style)
        # Clients invent mixtures freely; compiled networks of them would fill the disk.
        options = dataclasses.replace(self._options, cache=len(parts) == 1)
        try:
            key = StylizerKey.of(
                [(entry.path, share) for entry, share in parts],
                options,
                self._settings.max_megapixels,
            )
        except StyleNotFoundError as error:  # its message has the path
            raise Problem(
                422, "No such style", f"the file of the style {style} is not there any more"
            ) from error
        loaded = self._stylizers.find(key)
        if loaded is not None:
            return loaded
        load = partial(self._stylizers.load, style, key)
        loop = asyncio.get_running_loop()
        # A load that has begun is completed for others even if this request is cancelled.
        return await loop.run_in_executor(self._loader, self._stylizers.get_or_load, key, load)

    async def get_predicted(
        self, file: bytes, style_size: int | None, decode: Callable[[], Awaitable[Photo]]
    ) -> Stylizer:
        """Return the stylizer of a style that is a picture, and predict it first if necessary.

        Args:
            file: the picture's file; its hash identifies the style.
            style_size: see `predict_style`.
            decode: decodes the file; not called for a style that is loaded.

        Raises:
            Problem: the picture cannot be read, or is no style.
            FastStyleError: the style cannot be loaded.
        """
        predictor = await asyncio.to_thread(load_predictor)
        size = style_size or predictor.style_size
        key = (hashlib.sha256(file).hexdigest(), size, predictor.digest)
        loaded = self._predicted.find(key)
        if loaded is not None:
            return loaded
        picture = await decode()
        load = partial(self._predict, picture, size)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._loader, self._predicted.get_or_load, key, load)

    def _predict(self, picture: Photo, size: int) -> Stylizer:
        """Predict a style; its compiled network is not kept on disk, its parameters are."""
        from fast_style.styles.prediction import predict_style  # it loads an engine

        model = predict_style(to_pil(picture), name=STYLE_IMAGE, style_size=size)
        return Stylizer.from_options(
            model,
            dataclasses.replace(self._options, cache=False),
            max_megapixels=self._settings.max_megapixels,
        )

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
        """Stop loading, and drop all styles."""
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._stylizers.clear()
        self._predicted.clear()


def _predict_once(stylizer: Stylizer) -> None:
    """Run the network on a blank picture: the first one takes longer than the second."""
    stylizer.engine.predict(np.zeros((1, 256, 256, 3), np.uint8))
