"""Putting a style on a picture: the one inference facade, which everything else goes through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fast_style.engines import Engine, GraphEngine, create_engine
from fast_style.errors import EngineError, ImageTooLargeError, UsageError
from fast_style.images import (
    DEFAULT_MAX_MEGAPIXELS,
    ImageSource,
    Photo,
    read_image,
    resize_long_side,
    to_pil,
)
from fast_style.images.color import blend
from fast_style.images.color import preserve_color as keep_color
from fast_style.images.grain import add_grain
from fast_style.images.resampling import BICUBIC, HAMMING, resize_in_strips
from fast_style.inference.strips import STRIP_PIXELS, shortest_side, sweep
from fast_style.inference.stroke_size import COARSEST, bring_back, check_stroke_size, working_size
from fast_style.models.model_file import ModelCard, StyleModel
from fast_style.options import EngineOptions
from fast_style.storage.hardware import available_memory
from fast_style.styles.mixing import MixedBy, how_to_mix, mix_models, mix_pictures, mixed_card
from fast_style.styles.registry import load_parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_WHOLE_LIMIT, _ALWAYS_WHOLE = 2 << 30, 32 << 20
"""Bytes that a picture may take as a whole, however much memory there is, and however little."""

Tile = Literal["auto", "off"] | int
"""How large pictures are taken on a CPU, see `Stylizer`."""

SHORTEST_TILE = 64
"""The smallest `tile`; strips of fewer pixels are all halo."""

# What the allocators of torch, OpenVINO, ONNX Runtime and C++ say; none raises MemoryError.
_OUT_OF_MEMORY = ("out of memory", "bad_alloc", "allocate memory", "failed to allocate")


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """A photo and what the network made of it, to be finished in any way without another pass.

    Attributes:
        content: the photo, at the size that was worked at.
        pixels: the same in full style, of the shape of `content.pixels`, uint8, sRGB.
    """

    content: Photo
    pixels: NDArray[np.uint8]

    def finish(self, *, strength: float = 1.0, preserve_color: bool = False) -> Photo:
        """Give the stylized photo; it takes some milliseconds.

        Args:
            strength: as in `Stylizer.stylize`.
            preserve_color: as in `Stylizer.stylize`.

        Returns:
            What `Stylizer.stylize_photo` gives with the same arguments, bit for bit.

        Raises:
            UsageError: an argument is out of its range.
        """
        pixels = self.pixels
        if preserve_color:
            pixels = keep_color(pixels, self.content.pixels)
        return self.content.with_pixels(blend(pixels, self.content.pixels, strength))


class Stylizer:
    """One style, loaded and ready to be put on any number of pictures.

    Building it takes most of the time of a first picture; keep it for the second.

    ::

        stylizer = Stylizer("starry-night")
        stylizer.stylize("photo.jpg").save("stylized.jpg")
        stylizer.stylize(frame, size=1024, strength=0.7, preserve_color=True)

    Attributes:
        card: what is known of the style.
        engine: what runs the network; it tells its `name`, `device` and `precision`.
        max_megapixels: the largest picture that is read, in millions of pixels.
        mixed_by: how a mixture is made: by `weights`, as one network, where its styles grew from
            one base, else by `pictures`, one network a style; None for a single style.
    """

    mixed_by: MixedBy | None = None
    card: ModelCard
    engine: Engine
    max_megapixels: float

    def __init__(
        self,
        style: str | os.PathLike[str] | StyleModel,
        *,
        engine: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
        tile: Tile = "auto",
        cache: bool = True,
        concurrency: int = 1,
    ) -> None:
        """Load the style and prepare the engine.

        Args:
            style: a style's name, the path of a model file, a model in memory, or a mixture such as
                `starry-night:0.6,great-wave:0.4`.
            engine: `auto`, or the name of an engine.
            device: `auto`, `cpu`, `cuda` or `mps`.
            precision: `auto` (bf16 where the processor has it), `fp32`, `bf16` or `fp16`.
            max_megapixels: pictures whose header claims more are refused before they are decoded.
            tile: how pictures that are large for this machine's memory are stylized on a CPU.
                `auto` takes them in strips, with the statistics of the whole picture and so with
                the same result, slower and in bounded memory; `off` takes every picture whole; a
                number takes all in strips of about that number of pixels, squared.
            cache: whether the compiled network may be kept on disk, for a quicker start next time.
            concurrency: how many pictures of several threads may be in work at once, see
                `fast_style.engines.create_engine`.

        Raises:
            StyleNotFoundError: there is no such style.
            ModelFileError: its file is no sound model file.
            EngineError: this machine does not have the engine, device or precision.
            MissingExtraError: the engine needs a package that is not installed.
            UsageError: an argument is out of its range.
        """
        if not max_megapixels > 0:
            raise UsageError(f"max_megapixels must be more than 0, and {max_megapixels} was given")
        if tile not in ("auto", "off") and (type(tile) is not int or tile < SHORTEST_TILE):
            raise UsageError(
                f"tile must be auto, off or a number of {SHORTEST_TILE} or more, and {tile!r} was "
                "given"
            )
        if type(concurrency) is not int or concurrency < 1:
            raise UsageError(
                f"concurrency must be a whole number of 1 or more, and {concurrency!r} was given"
            )
        parts = [(style, 1.0)] if isinstance(style, StyleModel) else load_parts(style)
        cards = [(model.card, share) for model, share in parts]
        if len(parts) > 1:
            self.mixed_by = how_to_mix([card for card, _ in cards])
        self._tile, self.max_megapixels = tile, max_megapixels
        self._members: list[tuple[Stylizer, float]] = []
        if self.mixed_by == "pictures":
            for model, share in parts:
                member = Stylizer(
                    model,
                    engine=engine,
                    device=device,
                    precision=precision,
                    max_megapixels=max_megapixels,
                    tile=tile,
                    cache=cache,
                    concurrency=concurrency,
                )
                self._members.append((member, share))
            self._model, self.engine = parts[0][0], self._members[0][0].engine
            self.card = mixed_card(cards, "pictures")
            return
        self._model = mix_models(parts)
        self.card = self._model.card
        self.engine = create_engine(
            self._model,
            EngineOptions(
                engine=engine,  # type: ignore[arg-type]
                device=device,  # type: ignore[arg-type]
                precision=precision,  # type: ignore[arg-type]
                tile=tile,
                cache=cache,
                concurrency=concurrency,
            ),
        )

    def stylize(
        self,
        image: ImageSource,
        *,
        size: int | None = None,
        strength: float = 1.0,
        preserve_color: bool = False,
        stroke_size: float = 1.0,
    ) -> Image.Image:
        """Put the style on a picture.

        Args:
            image: a path, the bytes of a file, a binary stream, a Pillow image, or an array of
                shape (H, W), (H, W, 3) or (H, W, 4) of type uint8 or of floats in [0, 1]; sRGB
                unless it has a colour profile. It is not changed.
            size: the longest that the long side may be, in pixels: a larger picture is made smaller
                first, a smaller one is left as it is. None works at the picture's own size.
            strength: stylization strength in [0, 1]: 0 gives the photo, 1 the full style, and what
                lies between mixes the two pixel by pixel.
            preserve_color: whether the photo's colours are kept and only its brightness stylized.
            stroke_size: how many times as large as the network's own the strokes are, in [0.25,
                16]. Above 1 the style is laid down on a smaller picture, which is quicker, and
                brought back to full size with the photo's own edges and detail; below 1 on a larger
                one, which is slower.

        Returns:
            A new image of mode "RGB", or "RGBA" if the picture has alpha, in sRGB; it has the size
            of the picture, the right way up, or the smaller one that `size` asks for.

        Raises:
            ImageError: the picture cannot be read, or is larger than `max_megapixels` or memory.
            UsageError: an argument is out of its range.
        """
        _check(size, strength, stroke_size)
        photo = read_image(image, max_megapixels=self.max_megapixels)
        return to_pil(
            self.stylize_photo(
                photo,
                size=size,
                strength=strength,
                preserve_color=preserve_color,
                stroke_size=stroke_size,
            )
        )

    def stylize_photo(
        self,
        photo: Photo,
        *,
        size: int | None = None,
        strength: float = 1.0,
        preserve_color: bool = False,
        stroke_size: float = 1.0,
    ) -> Photo:
        """Put the style on a photo, which keeps its alpha, EXIF and colour profile.

        Args:
            photo: what `fast_style.images.read_image` gives; it is not changed.
            size: as in `stylize`.
            strength: as in `stylize`.
            preserve_color: as in `stylize`.
            stroke_size: as in `stylize`.

        Returns:
            A new photo: pixels of shape (H, W, 3), uint8, in sRGB, and alpha to match.

        Raises:
            ImageTooLargeError: there is not memory enough for it, or `stroke_size` makes it larger
                than `max_megapixels`.
            UsageError: an argument is out of its range.
        """
        _check(size, strength, stroke_size)
        # With strength 0 the network's picture would be thrown away.
        if strength == 0:
            with _lack_of_memory_told(photo, size):
                return photo if size is None else _at_size(photo, size)
        painted = self.paint(photo, size=size, stroke_size=stroke_size)
        with _lack_of_memory_told(photo, size):
            return painted.finish(strength=strength, preserve_color=preserve_color)

    def paint(self, photo: Photo, *, size: int | None = None, stroke_size: float = 1.0) -> Painted:
        """Run the network on a photo, and leave its strength and colours to be chosen later.

        Args:
            photo: as in `stylize_photo`.
            size: as in `stylize`.
            stroke_size: as in `stylize`.

        Returns:
            The photo at its size beside the full style; `Painted.finish` puts them together.

        Raises:
            ImageTooLargeError: as in `stylize_photo`.
            UsageError: an argument is out of its range.
        """
        _check(size, 1.0, stroke_size)
        with _lack_of_memory_told(photo, size, stroke_size):
            content = photo if size is None else _at_size(photo, size)
            return Painted(content, self._painted(content.pixels, stroke_size))

    def _painted(self, pixels: NDArray[np.uint8], stroke_size: float) -> NDArray[np.uint8]:
        """Lay down the style, at the scale that gives strokes of this size."""
        if self._members:
            return mix_pictures((m._painted(pixels, stroke_size), s) for m, s in self._members)
        height, width = pixels.shape[:2]
        scale = working_size(height, width, stroke_size)
        if scale == (height, width):
            return self._predict(add_grain(pixels, self.card.grain))
        if stroke_size < 1 and scale[0] * scale[1] > self.max_megapixels * 1e6:
            raise ImageTooLargeError(
                f"strokes of size {stroke_size:g} on {width}x{height} pixels take a picture of "
                f"{scale[1]}x{scale[0]}, over the limit of {self.max_megapixels:g} megapixels: "
                "give a larger stroke size or a smaller size, or raise the limit"
            )
        working = resize_in_strips(pixels, *scale, BICUBIC if stroke_size < 1 else HAMMING)
        painted = self._predict(add_grain(working, self.card.grain))
        if stroke_size < 1:
            return resize_in_strips(painted, height, width, HAMMING)
        return bring_back(painted, working, pixels)

    def _predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Run the network on a picture, whole or in strips."""
        height, width = pixels.shape[:2]
        strips = isinstance(self.engine, GraphEngine)
        strips = strips and min(height, width) >= shortest_side(self.card.network)
        if strips and self._tile == "auto":
            assert isinstance(self.engine, GraphEngine)
            needed = self.engine.bytes_per_filter * self.card.network.width * height * width
            # In this order: for a small picture, to ask what is free takes a while.
            strips = needed > _ALWAYS_WHOLE and needed > min(_WHOLE_LIMIT, available_memory() // 2)
        if strips and self._tile != "off":
            assert isinstance(self.engine, GraphEngine)
            area = STRIP_PIXELS if self._tile == "auto" else int(self._tile) ** 2
            return sweep(self._model, self.engine, pixels, area)
        stylized: NDArray[np.uint8] = self.engine.predict(pixels[None])[0]
        return stylized


def _check(size: int | None, strength: float, stroke_size: float) -> None:
    if size is not None and (type(size) is not int or size < 1):
        raise UsageError(f"size must be a whole number of 1 or more, and {size!r} was given")
    if not 0.0 <= strength <= 1.0:  # written so that NaN fails too
        raise UsageError(f"strength must be a number from 0 to 1, and {strength} was given")
    check_stroke_size(stroke_size)


def _at_size(photo: Photo, size: int) -> Photo:
    pixels = resize_long_side(photo.pixels, size)
    return photo if pixels is photo.pixels else photo.with_pixels(pixels)


@contextmanager
def _lack_of_memory_told(
    photo: Photo, size: int | None, stroke_size: float | None = None
) -> Iterator[None]:
    """Say what to do about it; a stroke size is given where the network is at work."""
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        work = min(max(photo.width, photo.height), size or max(photo.width, photo.height))
        raise ImageTooLargeError(
            f"there is not memory enough to stylize {photo.width}x{photo.height} pixels"
            f"{'' if size is None else f' at size {work}'}: "
            f"give a smaller size (--size {max(1, work // 2)} on the command line)"
            f"{'' if stroke_size is None else _larger_strokes(stroke_size)}"
        ) from error


def _larger_strokes(stroke_size: float) -> str:
    """Say that the network would have less to do, where the strokes can be any larger."""
    if 2 * stroke_size > COARSEST:
        return ""
    return (
        f" or a larger stroke size (--stroke-size {max(1.0, 2 * stroke_size):g}), for which the "
        "network works on a smaller picture"
    )


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError | EngineError):
        return False
    text = f"{error} {error.__cause__ or ''}".lower()
    return any(mark in text for mark in _OUT_OF_MEMORY)
