"""Load the styles of a command, beside the rest of its imports where that takes long."""

from collections.abc import Callable, Sequence
from pathlib import Path

from fast_style.cli.refine import refine_file
from fast_style.models.model_file import StyleModel, is_picture
from fast_style.options import PredictionOptions
from fast_style.storage.background import BackgroundCall
from fast_style.styles.registry import check_style_size, load_parts

Models = Sequence[tuple[StyleModel, float]]
"""The models of one style or mixture, and their shares."""


def begin_loading(
    styles: Sequence[Path | str],
    paths: Sequence[Path],
    options: PredictionOptions,
    *,
    refine: float | None,
    quiet: bool,
) -> Callable[[], list[Models]]:
    """Begin to load styles in a thread if one is predicted; return what waits for the models.

    To predict a style takes longer than to import the rest of a command.

    Args:
        styles: the file or the mixture of each style.
        paths: the files of all of them.
        options: how styles are predicted.
        refine: seconds of training from the prediction; None for none.
        quiet: show no progress of that.

    Raises:
        UsageError: a style size was given, and no style is a picture.
    """
    check_style_size(options.style_size, paths)

    def load() -> list[Models]:
        if refine is None:
            return [load_parts(style, style_size=options.style_size) for style in styles]
        return [[(refine_file(Path(one), refine, options, quiet=quiet), 1.0)] for one in styles]

    if refine is None and any(is_picture(path) for path in paths):
        return BackgroundCall(load).result
    return load
