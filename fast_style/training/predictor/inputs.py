"""The files of a predictor's training, checked at its start; needs no torch."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import TrainingDataError, UsageError
from fast_style.training.config import TrainingConfig
from fast_style.training.inputs import (
    check_name,
    find_run_photos,
    find_training_pictures,
    read_preview_photo,
)

HOLD_OUT_EVERY = 20
"""Of so many paintings one is held out for previews, where no folder is given for them."""

MINIMUM_PAINTINGS = 3
"""A folder needs two paintings to learn from, and one that is held out."""


@dataclass(frozen=True, slots=True, eq=False)
class PredictorInputs:
    """The photos and paintings of a predictor's run.

    Attributes:
        photos: files, in a stable order.
        paintings: files to train on, in a stable order.
        weights: the probability of each painting, shape (N,), summing to 1.
        unseen: files of the paintings that only previews show.
        preview: the photo that previews show, (H, W, 3) uint8.
        notes: as for `TrainingInputs`.
    """

    photos: list[Path]
    paintings: list[Path]
    weights: NDArray[np.float64]
    unseen: list[Path]
    preview: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def read_predictor_inputs(config: TrainingConfig) -> PredictorInputs:
    """Find photos and paintings, and check the options of a run with `predictor`.

    Args:
        config: the options of the run.

    Raises:
        TrainingDataError: not a folder, too few paintings, no photos.
        NameTakenError: a predictor or run of this name exists.
        ResumeError: there is nothing to resume.
        UsageError: options that a predictor cannot have.
    """
    check_name(config)
    if config.vgg != "bundled":
        raise UsageError(
            f"--vgg is {config.vgg}; a predictor describes paintings by the bundled VGG: leave "
            "--vgg out"
        )
    if not config.style_weight:
        raise UsageError("--style-weight is 0; a predictor needs a weight above 0")
    if config.steady:
        raise UsageError("--steady is for training a style: leave it out with --predictor")
    notes: list[str] = []
    paintings, unseen = _split_paintings(config, notes)
    photos = find_run_photos(config, notes)
    return PredictorInputs(
        photos,
        paintings,
        weigh_paintings(paintings, config.style_image),
        unseen,
        read_preview_photo(config, photos),
        tuple(notes),
    )


def find_paintings(folder: Path, option: str, notes: list[str]) -> list[Path]:
    """List the paintings below a folder, in a stable order.

    Args:
        folder: searched with its subfolders.
        option: the option that names it, for messages.
        notes: gets a sentence about files that are left out and folders that cannot be read.

    Raises:
        TrainingDataError: not a folder, or no painting in it.
    """
    if not folder.is_dir():
        what = "a file" if folder.is_file() else "not there"
        raise TrainingDataError(
            f"{option} {folder} is {what}; a predictor needs a folder of paintings, some hundred "
            "of them"
        )
    return find_training_pictures(folder, "painting", notes)


def weigh_paintings(paintings: list[Path], folder: Path) -> NDArray[np.float64]:
    """Weigh paintings by kind, so that a large kind does not dominate.

    The kind of a painting is the first subfolder on its path. A kind's share is proportional to the
    square root of its number of paintings; the paintings of one kind have equal weights.

    Args:
        paintings: files below `folder`.
        folder: the folder of paintings.

    Returns:
        Probabilities, shape (N,), summing to 1.
    """
    kinds = [
        parts[0] if len(parts := path.relative_to(folder).parts) > 1 else "" for path in paintings
    ]
    counts = Counter(kinds)
    roots = np.array([1 / math.sqrt(counts[kind]) for kind in kinds])
    weights: NDArray[np.float64] = roots / roots.sum()
    return weights


def _split_paintings(config: TrainingConfig, notes: list[str]) -> tuple[list[Path], list[Path]]:
    """Return the paintings to train on and those that are held out."""
    paintings = find_paintings(config.style_image, "--style-image", notes)
    if len(paintings) < MINIMUM_PAINTINGS:
        raise TrainingDataError(
            f"a predictor needs at least {MINIMUM_PAINTINGS} paintings, better some hundred, and "
            f"there are {len(paintings)} below {config.style_image}"
        )
    if config.preview_paintings is not None:
        shown = find_paintings(config.preview_paintings, "--preview-paintings", notes)
        return paintings, shown
    unseen = paintings[::HOLD_OUT_EVERY]
    held_out = set(unseen)
    return [path for path in paintings if path not in held_out], unseen
