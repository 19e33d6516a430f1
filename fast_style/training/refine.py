"""Train the style that is predicted from a painting a little further: a minute makes it better."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from PIL import Image

from fast_style.errors import UsageError
from fast_style.images import ImageSource, read_image
from fast_style.images.photo import visible_pixels
from fast_style.models.model_file import StyleModel, load_model
from fast_style.models.predictor import load_predictor
from fast_style.options import PredictionOptions
from fast_style.training.callbacks import StepCallback
from fast_style.training.config import TrainingConfig
from fast_style.training.data import PhotoBatch
from fast_style.training.lightning_module import StyleTransferModule
from fast_style.training.progress import stylize_preview
from fast_style.training.trainer import train


class RefineStep:
    """The state of a training after a step.

    Attributes:
        number: how many steps were made.
        progress: share of the training that is done, in [0, 1].
    """

    def __init__(self, trainer: pl.Trainer, module: StyleTransferModule) -> None:
        """Describe the step that the trainer has just made."""
        self.number, self.progress = trainer.global_step, module.progress()
        self._trainer, self._module = trainer, module

    @property
    def losses(self) -> dict[str, float]:
        """The weighted losses of the step: total, content and style."""
        metrics = self._trainer.callback_metrics
        return {name: float(metrics[f"loss/{name}"]) for name in ("total", "content", "style")}

    def stylize(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stylize a picture with what is learnt so far.

        Args:
            pixels: RGB, shape (H, W, 3), uint8; a small one, since the training waits for it.

        Returns:
            A picture of the same shape and type.
        """
        return stylize_preview(self._module, pixels)


class _Report(StepCallback):
    """Calls a function after each step, and ends the training when it returns True."""

    def __init__(self, on_step: Callable[[RefineStep], bool | None]) -> None:
        self._on_step = on_step

    def after_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PhotoBatch
    ) -> None:
        """Report the step."""
        assert isinstance(pl_module, StyleTransferModule)
        if self._on_step(RefineStep(trainer, pl_module)):
            trainer.should_stop = True


def refine_style(
    painting: ImageSource,
    seconds: float = 60.0,
    *,
    photos: str | os.PathLike[str] | None = None,
    style_size: int | None = None,
    name: str = "",
    quiet: bool = True,
    on_step: Callable[[RefineStep], bool | None] | None = None,
) -> StyleModel:
    """Train a style for a short time, from the prediction for its painting.

    Args:
        painting: as in `fast_style.read_image`.
        seconds: training time, above 0; loading torch takes some seconds more.
        photos: a folder of photos; None uses the small ones that ship.
        style_size: as for `predict_style`.
        name: the style's name; that of the painting's file if empty.
        quiet: show no progress.
        on_step: called after each step; if it returns True, the training ends with what is learnt.

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
        callbacks = [] if on_step is None else [_Report(on_step)]
        result = train(config, quiet=quiet, callbacks=callbacks)
        if result.model_path is None:
            raise KeyboardInterrupt
        model = load_model(result.model_path)
    return StyleModel(replace(model.card, name=label), model.weights)
