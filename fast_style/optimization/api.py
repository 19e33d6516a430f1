"""Python functions to optimise a picture: `optimize_image` and `optimize_steps`."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fast_style.errors import FastStyleError, MissingExtraError, UsageError
from fast_style.images import ImageSource, Photo, read_image, to_pil
from fast_style.images.photo import visible_pixels
from fast_style.optimization.config import OptimizeConfig

if TYPE_CHECKING:
    from PIL import Image

    from fast_style.models.model_file import StyleModel
    from fast_style.optimization.optimizer_loop import Optimization, OptimizeStep


def optimize_steps(
    photo: ImageSource, paintings: ImageSource | Sequence[ImageSource], **options: Any
) -> "Iterator[OptimizeStep]":
    """Transfer paintings' styles to a photo by optimisation, one iteration at a time.

    ::

        for step in optimize_steps("photo.jpg", "painting.jpg", size=512):
            print(step.iteration, step.losses.total)
        step.picture().save("out.png")

    To stop, leave the loop: `step.picture()` still returns the best picture.

    Args:
        photo: as for `make_optimization`.
        paintings: as for `make_optimization`.
        **options: weights, masks, init, config and single options, as for `make_optimization`.

    Returns:
        An iterator of steps; the inputs are checked before the first one.

    Raises:
        FastStyleError: as for `make_optimization`.
    """
    return make_optimization(photo, paintings, **options).steps()


def optimize_image(
    photo: ImageSource,
    paintings: ImageSource | Sequence[ImageSource],
    *,
    on_step: "Callable[[OptimizeStep], None] | None" = None,
    **options: Any,
) -> "Image.Image":
    """Transfer paintings' styles to a photo by optimisation (Gatys, Ecker and Bethge 2015).

    ::

        optimize_image("photo.jpg", "painting.jpg", size=512).save("out.png")

    Args:
        photo: as for `make_optimization`.
        paintings: as for `make_optimization`.
        on_step: called after each iteration.
        **options: weights, masks, init, config and single options, as for `make_optimization`.

    Returns:
        The best picture, a new image of mode "RGB", or "RGBA" if the photo has alpha, in sRGB.

    Raises:
        FastStyleError: as for `make_optimization`.
    """
    run = make_optimization(photo, paintings, **options)
    for step in run.steps():
        if on_step is not None:
            on_step(step)
    return to_pil(run.best())


def make_optimization(
    photo: ImageSource,
    paintings: ImageSource | Sequence[ImageSource],
    *,
    weights: Sequence[float] | None = None,
    masks: Sequence[ImageSource] | None = None,
    init: "ImageSource | StyleModel | None" = None,
    config: OptimizeConfig | None = None,
    **options: Any,
) -> "Optimization":
    """Read the inputs and create an optimisation.

    Args:
        photo: the content image, anything that `Stylizer.stylize` takes.
        paintings: one style image, or a list of them.
        weights: weights of the paintings, each above 0; equal if None.
        masks: a picture of any size for each painting, white where it is applied.
        init: a picture, style or model to start from, or `photo`, `painting` or `noise`.
        config: the options.
        **options: single options instead, see `OptimizeConfig`.

    Returns:
        The optimisation, before its first step.

    Raises:
        FastStyleError: a picture cannot be read, inputs do not fit together, torch is not
            installed, or there is too little memory.
    """
    if isinstance(init, str):
        options["init"], init = init, None
    chosen = merge_options(config, options)
    content = read_image(photo)
    several: list[Any] = list(paintings) if isinstance(paintings, list | tuple) else [paintings]
    styles = [read_painting(painting) for painting in several]
    # These import torch, which takes seconds; mistyped paths were reported before.
    try:
        from fast_style.optimization.masks import read_mask
        from fast_style.optimization.optimizer_loop import Optimization
    except ModuleNotFoundError as error:
        missing = (error.name or "torch").partition(".")[0]
        raise MissingExtraError("optimising a picture", missing, "torch") from error

    fields = [read_mask(mask, content.height, content.width) for mask in masks or []]
    return Optimization(content, styles, chosen, weights=weights, masks=fields or None, start=init)


def merge_options(config: OptimizeConfig | None, options: Mapping[str, Any]) -> OptimizeConfig:
    """Return a configuration, or the defaults, with some options replaced.

    Raises:
        UsageError: an option does not exist.
    """
    unknown = set(options) - set(OptimizeConfig.__dataclass_fields__)
    if unknown:
        raise UsageError(
            f"there is no option {', '.join(sorted(unknown))}; there are "
            f"{', '.join(OptimizeConfig.__dataclass_fields__)}"
        )
    return replace(config or OptimizeConfig(), **options)


def read_painting(source: ImageSource) -> Photo:
    """Read a painting; the message of an error says that it is about the painting."""
    name = os.fsdecode(source) if isinstance(source, str | os.PathLike) else "the painting"
    try:
        photo = read_image(source)
        return replace(photo, pixels=visible_pixels(photo, name), alpha=None)
    except FastStyleError as error:
        raise type(error)(f"the painting cannot be used: {error}") from error
