"""The option `--refine`: train the style that is predicted from a picture a little further."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fast_style.errors import MissingExtraError, UsageError
from fast_style.options import PredictionOptions

if TYPE_CHECKING:
    from fast_style.models.model_file import StyleModel

refine_option = click.option(
    "--refine",
    type=click.FloatRange(min=0, min_open=True, max=86_400),
    metavar="SECONDS",
    help="For a style that is a picture: train it so long first, with the photos that ship; a "
    "minute makes it clearly better. The result is kept for the next time. Needs the extra train.",
)


def refine_file(
    painting: Path, seconds: float, options: PredictionOptions, *, quiet: bool
) -> "StyleModel":
    """Refine the style of a picture, or return the model that an earlier call has kept.

    Args:
        painting: the picture's file.
        seconds: training time.
        options: the size of the painting.
        quiet: show no progress.

    Raises:
        UsageError: the file is no picture.
        MissingExtraError: torch or Lightning is not installed.
        FastStyleError: the picture cannot be read, or the training failed.
    """
    from fast_style.models.model_file import is_picture, model_from_bytes, model_to_bytes
    from fast_style.models.predictor import load_predictor
    from fast_style.storage.disk_cache import DiskCache
    from fast_style.storage.hardware import installed

    if not painting.is_file() or not is_picture(painting):
        raise UsageError(
            f"--refine needs a style that is a picture's file, and {painting} is none: give "
            "--style PAINTING.jpg"
        )
    content = hashlib.sha256(painting.read_bytes()).hexdigest()
    size = options.style_size or load_predictor().style_size
    parts = f"{content} {load_predictor().digest} {seconds:g} {size}"
    key = hashlib.sha256(parts.encode()).hexdigest()
    refined = DiskCache("refined", limit=50)  # model files, of 0.9 MB each
    kept = refined.load(key)
    if kept is not None:
        return model_from_bytes(kept)
    for module, package in (("torch", "torch"), ("pytorch_lightning", "pytorch-lightning")):
        if not installed(module):
            raise MissingExtraError("--refine", package, "train")
    from fast_style.training.refine import refine_style  # it loads torch

    model = refine_style(painting, seconds, style_size=options.style_size, quiet=quiet)
    refined.store(key, model_to_bytes(model.card, model.weights))
    return model
