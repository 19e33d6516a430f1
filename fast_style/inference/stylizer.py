"""Apply a style to pictures: the inference facade that every front end uses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fast_style.errors import EngineError, ImageTooLargeError
from fast_style.images import ImageSource, Photo, read_image, resize_long_side, to_pil
from fast_style.images.color import blend, preserve_color
from fast_style.inference.ensemble import Ensemble
from fast_style.inference.renderer import NetworkRenderer, Pixels, Renderer
from fast_style.models.card import ModelCard
from fast_style.models.model_file import StyleModel
from fast_style.options import (
    DEFAULT_MAX_MEGAPIXELS,
    MAX_STROKE_SIZE,
    DeviceChoice,
    EngineChoice,
    EngineOptions,
    PipelineOptions,
    PrecisionChoice,
    StyleOptions,
    Tile,
)
from fast_style.styles.mixing import MixedBy, how_to_mix, mix_models
from fast_style.styles.registry import load_parts

if TYPE_CHECKING:
    from typing import Self

    from fast_style.engines import Engine

__all__ = ["Painted", "StyleSource", "Stylizer"]

StyleSource = (
    str
    | os.PathLike[str]
    | StyleModel
    | Sequence[tuple[StyleModel, float]]
    | Image.Image
    | NDArray[np.uint8]
)
"""A style's name, the path of a model file or of a picture, a mixture such as
`starry-night:0.6,painting.jpg:0.4`, a model in memory, the models of a mixture with their shares,
which sum to 1, or a picture in memory: a Pillow image or an array."""

# Parts of the messages of torch, OpenVINO, ONNX Runtime and C++; none of them raises MemoryError.
_OUT_OF_MEMORY = ("out of memory", "bad_alloc", "allocate memory", "failed to allocate")


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """A photo and the network's picture of it, to be finished in any way without the network.

    Attributes:
        content: the photo, at the size that was worked at.
        pixels: the stylized photo at full strength: RGB in sRGB, uint8, of the shape of
            `content.pixels`.
    """

    content: Photo
    pixels: Pixels

    def finish(self, options: StyleOptions | None = None) -> Photo:
        """Apply the strength and the choice of colours, which takes some milliseconds.

        Args:
            options: `strength` and `preserve_color` are used; the defaults if None.

        Returns:
            The photo that `Stylizer.stylize_photo` returns for the same options, bit for bit.
        """
        options = options or StyleOptions()
        pixels = self.pixels
        if options.preserve_color:
            pixels = preserve_color(pixels, self.content.pixels)
        return self.content.with_pixels(blend(pixels, self.content.pixels, options.strength))


class Stylizer:
    """A style that is loaded, ready to be applied to any number of pictures.

    Creating it takes longer than stylizing a picture, so keep it for the next one.

    ::

        stylizer = Stylizer("starry-night")
        stylizer.stylize("photo.jpg").save("stylized.jpg")
        stylizer.stylize(frame, size=1024, strength=0.7, preserve_color=True)

    Attributes:
        card: describes the style.
        engine: runs the network; it has `name`, `device` and `precision`.
        max_megapixels: the largest picture that is read, in millions of pixels.
        mixed_by: how a mixture is made: `weights`, as one network, if its styles were trained from
            one base; `pictures`, with one network a style, otherwise. None for a single style.
    """

    card: ModelCard
    engine: Engine
    max_megapixels: float
    mixed_by: MixedBy | None

    def __init__(
        self,
        style: StyleSource,
        *,
        engine: EngineChoice = "auto",
        device: DeviceChoice = "auto",
        precision: PrecisionChoice = "auto",
        tile: Tile = "auto",
        cache: bool = True,
        concurrency: int = 1,
        max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    ) -> None:
        """Load the style and prepare the engine.

        Args:
            style: see `StyleSource`.
            engine: `auto`, `openvino`, `torch` or `onnxruntime`.
            device: `auto`, `cpu`, `cuda` or `mps`.
            precision: `auto` (bf16 where the processor computes it natively), `fp32`, `bf16` or
                `fp16`.
            tile: how large pictures are stylized on a CPU. `auto` processes those that need much of
                the free memory in strips, with the statistics of the whole picture and therefore
                the same result, slower and in bounded memory; `off` processes every picture whole;
                a number, 64 or more, processes all in strips of about that number squared pixels.
            cache: whether the compiled network may be kept on disk, for a quicker start next time.
            concurrency: how many pictures of several threads may be in the network at once, see
                `fast_style.engines.create_engine`.
            max_megapixels: pictures whose header claims more are refused before they are decoded.

        Raises:
            StyleNotFoundError: there is no such style.
            ModelFileError: its file is no sound model file.
            EngineError: this machine does not have the engine, device or precision.
            MissingExtraError: the engine needs a package that is not installed.
            UsageError: an argument has the wrong type or is out of its range.
        """
        options = EngineOptions(
            engine=engine,
            device=device,
            precision=precision,
            tile=tile,
            cache=cache,
            concurrency=concurrency,
        )
        self.max_megapixels = PipelineOptions(max_megapixels=max_megapixels).max_megapixels
        parts = _load_models(style)
        self.mixed_by = how_to_mix([model.card for model, _ in parts]) if len(parts) > 1 else None
        self._renderer: Renderer
        if self.mixed_by == "pictures":
            self._renderer = Ensemble(parts, options, max_megapixels)
        else:
            self._renderer = NetworkRenderer(mix_models(parts), options, max_megapixels)
        self.card, self.engine = self._renderer.card, self._renderer.engine

    @classmethod
    def from_options(
        cls,
        style: StyleSource,
        options: EngineOptions,
        *,
        max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    ) -> Self:
        """Load a style with a bundle of engine options; otherwise as `Stylizer(...)`."""
        keywords = {spec.name: getattr(options, spec.name) for spec in fields(options)}
        return cls(style, max_megapixels=max_megapixels, **keywords)

    def stylize(
        self,
        image: ImageSource,
        *,
        size: int | None = None,
        strength: float = 1.0,
        preserve_color: bool = False,
        stroke_size: float = 1.0,
    ) -> Image.Image:
        """Apply the style to a picture.

        Args:
            image: a path, the bytes of a file, a binary stream, a Pillow image, or an array of
                shape (H, W), (H, W, 3) or (H, W, 4), of type uint8 or of floats in [0, 1]; sRGB
                unless it has a colour profile. It is not changed.
            size: the longest that the long side may be, in pixels: a larger picture is resized
                first, a smaller one keeps its size. None works at the picture's own size.
            strength: stylization strength in [0, 1]: 0 returns the photo, 1 the full style; values
                between blend the two pixel by pixel.
            preserve_color: whether the photo's colours are kept and only its brightness stylized.
            stroke_size: size of the strokes relative to what the network has learnt, in [0.25, 16].
                Above 1 the network works on a smaller picture, which is faster, and the result is
                enlarged with the edges and detail of the photo; below 1 it works on a larger one,
                which is slower.

        Returns:
            A new image of mode "RGB", or "RGBA" if the picture has alpha, in sRGB. It is upright
            and has the size of the picture, or the smaller one that `size` asks for.

        Raises:
            ImageError: the picture cannot be read, or exceeds `max_megapixels` or the memory.
            UsageError: an argument has the wrong type or is out of its range.
        """
        options = StyleOptions(
            size=size, strength=strength, preserve_color=preserve_color, stroke_size=stroke_size
        )
        photo = read_image(image, max_megapixels=self.max_megapixels)
        return to_pil(self.stylize_photo(photo, options))

    def stylize_photo(self, photo: Photo, options: StyleOptions | None = None) -> Photo:
        """Apply the style to a photo and keep its alpha, EXIF and colour profile.

        Args:
            photo: from `fast_style.read_image`; it is not changed.
            options: how; the defaults if None. `stylize` describes them.

        Returns:
            A new photo: pixels of shape (H, W, 3), uint8, in sRGB, and alpha to match.

        Raises:
            ImageTooLargeError: memory ran out, or a small `stroke_size` leads to a picture larger
                than `max_megapixels`.
        """
        options = options or StyleOptions()
        # At strength 0 the network's picture would not be used.
        if options.strength == 0:
            with _memory_errors_explained(photo, options, network=False):
                return _resize(photo, options.size)
        painted = self.paint(photo, options)
        with _memory_errors_explained(photo, options, network=False):
            return painted.finish(options)

    def paint(self, photo: Photo, options: StyleOptions | None = None) -> Painted:
        """Run the network on a photo; strength and colours can be chosen later.

        Args:
            photo: as in `stylize_photo`.
            options: `size` and `stroke_size` are used; the defaults if None.

        Returns:
            The photo at its working size and the picture at full strength; `Painted.finish`
            combines them.

        Raises:
            ImageTooLargeError: as in `stylize_photo`.
        """
        options = options or StyleOptions()
        with _memory_errors_explained(photo, options, network=True):
            content = _resize(photo, options.size)
            return Painted(content, self._renderer.render(content.pixels, options.stroke_size))


def _load_models(style: StyleSource) -> Sequence[tuple[StyleModel, float]]:
    if isinstance(style, StyleModel):
        return [(style, 1.0)]
    if isinstance(style, str | os.PathLike):
        return load_parts(style)
    if not isinstance(style, Image.Image | np.ndarray):
        return style
    from fast_style.styles.prediction import predict_style  # it loads an engine

    return [(predict_style(style), 1.0)]


def _resize(photo: Photo, size: int | None) -> Photo:
    if size is None:
        return photo
    pixels = resize_long_side(photo.pixels, size)
    return photo if pixels is photo.pixels else photo.with_pixels(pixels)


@contextmanager
def _memory_errors_explained(
    photo: Photo, options: StyleOptions, *, network: bool
) -> Iterator[None]:
    """Turn errors about memory into a sentence that names the remedies.

    Args:
        photo: the photo that is stylized.
        options: how it is stylized.
        network: whether the network runs, for which larger strokes would be a remedy.

    Raises:
        ImageTooLargeError: memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        longest = max(photo.width, photo.height)
        side = min(longest, options.size or longest)
        raise ImageTooLargeError(
            f"there is not enough memory to stylize {photo.width}x{photo.height} pixels"
            f"{'' if options.size is None else f' at size {side}'}: "
            f"give a smaller size (--size {max(1, side // 2)} on the command line)"
            f"{_advise_larger_strokes(options.stroke_size) if network else ''}"
        ) from error


def _advise_larger_strokes(stroke_size: float) -> str:
    if 2 * stroke_size > MAX_STROKE_SIZE:
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
