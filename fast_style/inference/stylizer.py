"""Apply a style to pictures: the inference facade that every front end uses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fast_style.engines import GraphEngine
from fast_style.errors import UsageError
from fast_style.images import ImageSource, Photo, read_image, to_pil
from fast_style.images.tensors import is_tensor
from fast_style.inference.ensemble import AreaEnsemble, Ensemble
from fast_style.inference.guides import (
    Guides,
    MaskSource,
    check_colors,
    check_mask_count,
    find_areas,
    read_guides,
)
from fast_style.inference.memory_errors import memory_errors_explained
from fast_style.inference.painted import Painted
from fast_style.inference.renderer import NetworkRenderer, Renderer
from fast_style.inference.stroke_size import fit_stroke_size
from fast_style.inference.visible_part import render_visible
from fast_style.models.card import ModelCard
from fast_style.models.model_file import StyleModel
from fast_style.options import (
    DEFAULT_MAX_MEGAPIXELS,
    ColorMode,
    DeviceChoice,
    EngineChoice,
    EngineOptions,
    PipelineOptions,
    PrecisionChoice,
    StrokeSize,
    StyleOptions,
    Tile,
)
from fast_style.styles.mixing import MixedBy, how_to_mix, mix_models
from fast_style.styles.registry import load_parts

if TYPE_CHECKING:
    from typing import Self

    from fast_style.engines import Engine

__all__ = ["Painted", "StyleSource", "Stylizer"]

OneStyle = (
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

StyleSource = OneStyle | Sequence[OneStyle]
"""One style, or a list of several, each of which is applied where its mask is white."""


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
        styles: the number of styles, each of which has its own areas; 1 unless a list was given.
    """

    card: ModelCard
    engine: Engine
    max_megapixels: float
    mixed_by: MixedBy | None
    styles: int

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
        loaded = [_load_models(one) for one in _split_styles(style)]
        self._models, self._options = [list(parts) for parts in loaded], options
        mixtures = [_how_to_mix(parts) for parts in loaded]
        self.mixed_by = "pictures" if "pictures" in mixtures else mixtures[0]
        renderers = [_make_renderer(parts, options, max_megapixels) for parts in loaded]
        self.styles = len(renderers)
        self._tile = tile
        self._renderer = renderers[0] if self.styles == 1 else AreaEnsemble(renderers)
        self.card, self.engine = self._renderer.card, self._renderer.engine

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the models and the options; the engine is created again where it is unpickled."""
        return _rebuild, (self._models, self._options, self.max_megapixels)

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

    @classmethod
    def combined(cls, members: Sequence[Stylizer]) -> Stylizer:
        """Return a stylizer of several styles, each for its own mask, from loaded ones.

        Args:
            members: stylizers of one style or mixture each, in the order of the masks. One alone is
                returned itself.
        """
        if len(members) == 1:
            return members[0]
        both = cls.__new__(cls)
        first = members[0]
        both.max_megapixels, both._tile = first.max_megapixels, first._tile
        both._models, both._options = [one._models[0] for one in members], first._options
        both.mixed_by = "pictures" if "pictures" in [one.mixed_by for one in members] else None
        both.styles = len(members)
        both._renderer = AreaEnsemble([one._renderer for one in members])
        both.card, both.engine = both._renderer.card, both._renderer.engine
        return both

    def stylize(
        self,
        image: ImageSource,
        *,
        mask: MaskSource | Sequence[MaskSource] | None = None,
        colors_of: ImageSource | None = None,
        size: int | None = None,
        strength: float = 1.0,
        color_strength: float | None = None,
        stroke_strength: float | None = None,
        preserve_color: ColorMode | bool = False,
        color_share: float = 1.0,
        variant: int = 0,
        feather: float = 0,
        invert_mask: bool = False,
        stroke_size: StrokeSize = "auto",
    ) -> Image.Image:
        """Apply the style to a picture.

        Args:
            image: a path, the bytes of a file, a binary stream, a Pillow image, or an array of
                shape (H, W), (H, W, 3) or (H, W, 4), uint8 or floats in [0, 1]; not changed.
            mask: where the style is applied: a picture of any size, white where it is and black
                where the photo stays, or `"alpha"`; for several styles a list, see `Guides`.
            colors_of: a picture whose colours the result is given.
            size: longest side in pixels; larger pictures are resized first. None keeps the size.
            strength: stylization strength in [0, 1.5]: 0 is the photo, 1 the full style.
            color_strength: of the style's colours alone; `strength` if None.
            stroke_strength: of the style's strokes alone; `strength` if None.
            preserve_color: how colours are kept, see `StyleOptions`; True is `luminance`.
            color_share: how much of those colours, or of those of `colors_of`, in [0, 1].
            variant: another picture of the same photo and style for each number.
            feather: width of the soft edge of masks, in pixels.
            invert_mask: whether black and white are swapped in masks.
            stroke_size: `auto`, for strokes that take the same share of every picture, or their
                size relative to what the network has learnt, in [0.25, 16].

        Returns:
            A new image, upright, in sRGB, of mode "RGB", or "RGBA" if the picture has alpha.

        Raises:
            ImageError: the picture cannot be read, or exceeds `max_megapixels` or the memory.
            UsageError: an argument has the wrong type or is out of its range.
        """
        options = StyleOptions(
            size=size,
            strength=strength,
            color_strength=color_strength,
            stroke_strength=stroke_strength,
            preserve_color=preserve_color,
            color_share=color_share,
            variant=variant,
            feather=feather,
            invert_mask=invert_mask,
            stroke_size=stroke_size,
        )
        guides = read_guides(mask, colors_of)
        check_colors(guides, options)
        photo = read_image(image, max_megapixels=self.max_megapixels)
        return to_pil(self.stylize_photo(photo, options, guides))

    def stylize_photo(
        self, photo: Photo, options: StyleOptions | None = None, guides: Guides | None = None
    ) -> Photo:
        """Apply the style to a photo and keep its alpha, EXIF and colour profile.

        Args:
            photo: from `fast_style.read_image`; it is not changed.
            options: how; the defaults if None. `stylize` describes them.
            guides: masks; none if None.

        Returns:
            A new photo: pixels of shape (H, W, 3), uint8, in sRGB, and alpha to match. If the alpha
            is a mask, the new photo has none.

        Raises:
            ImageTooLargeError: memory ran out, or a small `stroke_size` leads to a picture larger
                than `max_megapixels`.
            UsageError: the masks do not fit the styles, or the photo has no alpha to be a mask.
        """
        options = options or StyleOptions()
        # At strength 0 the network's picture would not be used.
        if options.strengths == (0, 0):
            check_mask_count(len(guides.masks) if guides else 0, self.styles)
            with memory_errors_explained(photo, options, network=False):
                return _resize(photo, options.size)
        painted = self.paint(photo, options, guides)
        with memory_errors_explained(photo, options, network=False):
            return painted.finish(options)

    def paint(
        self, photo: Photo, options: StyleOptions | None = None, guides: Guides | None = None
    ) -> Painted:
        """Run the network on a photo; strength and colours can be chosen later.

        Args:
            photo: as in `stylize_photo`.
            options: `size`, `stroke_size`, `variant` and what is about masks are used; the
                defaults if None.
            guides: as in `stylize_photo`.

        Returns:
            The photo at its working size and the picture at full strength; `Painted.finish`
            combines them.

        Raises:
            ImageTooLargeError: as in `stylize_photo`.
            UsageError: as in `stylize_photo`.
        """
        options = options or StyleOptions()
        strips = self._tile if isinstance(self.engine, GraphEngine) else None
        with memory_errors_explained(photo, options, network=True, tile=strips):
            content = _resize(photo, options.size)
            content, areas = find_areas(content, guides, options, self.styles)
            if areas.is_empty:  # no need for the network
                return Painted(content, content.pixels, areas.coverage)
            colors = guides.colors if guides is not None else None
            if content.alpha is not None and not content.alpha.any():
                note = "wholly transparent: there is nothing to stylize"
                content = replace(content, notes=(*content.notes, note))
            stroke_size = self.fit_stroke_size(content.height, content.width, options.stroke_size)
            pixels = render_visible(
                self._renderer, content, stroke_size, areas.shares, options.variant
            )
            return Painted(content, pixels, areas.coverage, colors)

    def fit_stroke_size(self, height: int, width: int, stroke_size: StrokeSize = "auto") -> float:
        """Return the stroke size for a picture as a number: what `auto` stands for, or itself.

        Args:
            height: of the picture that is stylized, in pixels.
            width: of the picture that is stylized, in pixels.
            stroke_size: as in `stylize`.
        """
        if stroke_size != "auto":
            return stroke_size
        return fit_stroke_size(height, width, self.card.best_size)


def _rebuild(
    models: list[list[tuple[StyleModel, float]]], options: EngineOptions, max_megapixels: float
) -> Stylizer:
    """Create a stylizer from what a pickle contains."""
    return Stylizer.from_options(models, options, max_megapixels=max_megapixels)


def _split_styles(style: StyleSource) -> Sequence[OneStyle]:
    """Return the styles of a list; a list of models with their shares is a single one."""
    if not isinstance(style, list | tuple):
        return [style]  # type: ignore[list-item,unused-ignore]
    if all(isinstance(one, tuple) for one in style) and style:
        return [style]  # type: ignore[list-item,unused-ignore]
    if not style:
        raise UsageError("the list of styles is empty; expected at least one")
    return style


def _how_to_mix(parts: Sequence[tuple[StyleModel, float]]) -> MixedBy | None:
    return how_to_mix([model.card for model, _ in parts]) if len(parts) > 1 else None


def _make_renderer(
    parts: Sequence[tuple[StyleModel, float]], options: EngineOptions, max_megapixels: float
) -> Renderer:
    """Load a style, or a mixture: as one network if its styles have one base."""
    if _how_to_mix(parts) == "pictures":
        return Ensemble(parts, options, max_megapixels)
    return NetworkRenderer(mix_models(parts), options, max_megapixels)


def _load_models(style: OneStyle) -> Sequence[tuple[StyleModel, float]]:
    if isinstance(style, StyleModel):
        return [(style, 1.0)]
    if isinstance(style, str | os.PathLike):
        return load_parts(style)
    if isinstance(style, list | tuple) and all(isinstance(part, tuple) for part in style):
        return style
    if not (isinstance(style, Image.Image | np.ndarray) or is_tensor(style)):
        raise UsageError(
            "a style must be a name, a path, a model, a list of models with their shares, or a "
            f"picture, and {type(style).__name__} was given"
        )
    from fast_style.styles.prediction import predict_style  # it loads an engine

    return [(predict_style(style), 1.0)]  # type: ignore[arg-type]


def _resize(photo: Photo, size: int | None) -> Photo:
    return photo if size is None else photo.resize_long_side(size)
