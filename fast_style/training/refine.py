"""Train the style that is predicted from a painting a little further: a minute makes it better."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

from fast_style.errors import UsageError
from fast_style.images import ImageSource, read_image
from fast_style.images.photo import visible_pixels
from fast_style.models.model_file import StyleModel, load_model
from fast_style.models.predictor import load_predictor
from fast_style.options import PredictionOptions
from fast_style.training.config import TrainingConfig
from fast_style.training.trainer import train


def refine_style(
    painting: ImageSource,
    seconds: float = 60.0,
    *,
    photos: str | os.PathLike[str] | None = None,
    style_size: int | None = None,
    name: str = "",
    quiet: bool = True,
) -> StyleModel:
    """Train a style for a short time, from the prediction for its painting.

    Args:
        painting: as in `fast_style.read_image`.
        seconds: training time, above 0; loading torch takes some seconds more.
        photos: a folder of photos; None uses the small ones that ship.
        style_size: as for `predict_style`.
        name: the style's name; that of the painting's file if empty.
        quiet: show no progress.

    Returns:
        A model in memory.

    Raises:
        UsageError: the time is not above 0, or the size is out of its bounds.
        ImageError: the painting cannot be read.
        TrainingDataError: the folder has no photos.
        KeyboardInterrupt: a signal ended the training.
    """
    if not 0 < seconds < float("inf"):
        raise UsageError(f"seconds must be a number above 0, and {seconds} was given")
    prediction = PredictionOptions(style_size=style_size)
    picture = read_image(painting)
    label = name or "painting"
    if not name and isinstance(painting, str | os.PathLike):
        label = Path(painting).stem
    shown = os.fsdecode(painting) if isinstance(painting, str | os.PathLike) else label
    with tempfile.TemporaryDirectory(prefix="fast-style-") as folder:
        file = Path(folder, "painting.png")
        Image.fromarray(visible_pixels(picture, shown)).save(file, compress_level=1)
        config = TrainingConfig(
            style_image=file,
            photos=None if photos is None else Path(photos),
            name="refined",
            style_size=prediction.style_size or load_predictor().style_size,
            max_minutes=seconds / 60,
            runs=Path(folder, "runs"),
            models=Path(folder),
            preview_every=0,
            checkpoint_every=1_000_000,
            title=label,
        )
        result = train(config, quiet=quiet)
        if result.model_path is None:
            raise KeyboardInterrupt
        model = load_model(result.model_path)
    return StyleModel(replace(model.card, name=label), model.weights)
