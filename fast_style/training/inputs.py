"""The files that a training run reads, checked at its start.

Needs no torch, so that mistakes in paths are reported before torch is imported.
"""

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import (
    ImageError,
    NameTakenError,
    ResumeError,
    TrainingDataError,
    UsageError,
)
from fast_style.images import READABLE_SUFFIXES, read_image, resize_long_side
from fast_style.images.folder import LeftOut, find_pictures
from fast_style.images.photo import visible_pixels
from fast_style.training.config import TrainingConfig

_PREVIEW_SIDE = 512
_PREVIEW_TRIES = 20  # photos, where none is given


@dataclass(frozen=True, slots=True, eq=False)
class TrainingInputs:
    """The photos and paintings of a run.

    Attributes:
        photos: files, in a stable order.
        paintings: RGB pixels, (H, W, 3) uint8, by file name without suffix.
        preview: the photo that previews show, (H, W, 3) uint8, with sides of 512 pixels at most.
        notes: what the user should know, such as the files of the folders that are left out.
    """

    photos: list[Path]
    paintings: dict[str, NDArray[np.uint8]]
    preview: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def read_inputs(config: TrainingConfig) -> TrainingInputs:
    """Find the photos, read the paintings and the preview, and check that the run's name is free.

    Args:
        config: the options of the run.

    Raises:
        TrainingDataError: no painting, no photos, too few photos.
        ImageError: the photo for previews cannot be read.
        NameTakenError: a model or run of this name exists, and neither resume nor overwrite is set.
        ResumeError: there is nothing to resume.
        UsageError: resume and overwrite are both set.
    """
    check_name(config)
    if config.preview_paintings is not None:
        raise UsageError("--preview-paintings belongs to --predictor: leave it out")
    notes: list[str] = []
    photos = find_run_photos(config, notes)
    paintings = read_paintings(config.style_image, notes)
    return TrainingInputs(photos, paintings, read_preview_photo(config, photos), tuple(notes))


def find_run_photos(config: TrainingConfig, notes: list[str]) -> list[Path]:
    """List the photos of a run: those of the options, or those that ship.

    Args:
        config: the options of the run.
        notes: as in `find_photos`.

    Raises:
        TrainingDataError: no photos, or fewer than a batch.
    """
    photos = bundled_photos() if config.photos is None else find_photos(config.photos, notes)
    if len(photos) < (config.batch_size or 1):
        raise TrainingDataError(
            f"{len(photos)} photos {_where(config)} do not fill a batch of "
            f"{config.batch_size}: add photos or lower --batch-size"
        )
    return photos


def bundled_photos() -> list[Path]:
    """List the small photos that ship, in a stable order."""
    with as_file(files("fast_style") / "training" / "photos") as folder:
        return sorted(folder.glob("*.jpg"))


def find_photos(folder: Path, notes: list[str] | None = None) -> list[Path]:
    """List the photos below a folder, in a stable order.

    Args:
        folder: searched with its subfolders.
        notes: gets a sentence about files that are left out and folders that cannot be read.

    Raises:
        TrainingDataError: the folder does not exist, cannot be read, or has no photo in it.
    """
    if not folder.is_dir():
        raise TrainingDataError(f"--photos {folder} is not a folder")
    return find_training_pictures(folder, "photo", notes)


def find_training_pictures(
    folder: Path, what: str, notes: list[str] | None = None, *, recursive: bool = True
) -> list[Path]:
    """List the pictures of a folder, in a stable order.

    Args:
        folder: an existing folder.
        what: "photo" or "painting", for messages.
        notes: as in `find_photos`.
        recursive: whether subfolders are searched too.

    Raises:
        TrainingDataError: it cannot be read, or has no picture in it.
    """
    errors: list[OSError] = []
    left_out = LeftOut()
    found = sorted(
        find_pictures(folder, recursive=recursive, on_error=errors.append, left_out=left_out)
    )
    unread = [f"{error.filename} cannot be read ({error.strerror})" for error in errors]
    problems = unread[:1] + ([f"left out: {left_out.describe()}"] if left_out.counts else [])
    if not found:
        reason = f" ({'; '.join(problems)})" if problems else ""
        where = "below" if recursive else "in"
        raise TrainingDataError(
            f"there are no {what}s {where} {folder}{reason}; expected files ending in "
            f"{', '.join(sorted(READABLE_SUFFIXES))}"
        )
    if notes is not None:
        notes += [f"{folder}: {problem}" for problem in problems]
    return found


def read_paintings(path: Path, notes: list[str] | None = None) -> dict[str, NDArray[np.uint8]]:
    """Read one painting, or all of a folder.

    Args:
        path: a picture or a folder.
        notes: as in `find_photos`.

    Returns:
        RGB pixels, (H, W, 3) uint8, by file name without suffix.

    Raises:
        TrainingDataError: a painting cannot be read, or the folder has none.
    """
    files = [path]
    if path.is_dir():
        files = find_training_pictures(path, "painting", notes, recursive=False)
    by_name = {file.stem: file for file in files}
    twice = next((file for file in files if by_name[file.stem] != file), None)
    if twice is not None:
        raise TrainingDataError(
            f"{twice} and {by_name[twice.stem].name} would train styles of one name: rename one"
        )
    try:
        return {file.stem: visible_pixels(read_image(file), str(file)) for file in files}
    except ImageError as error:
        raise TrainingDataError(f"the painting cannot be used: {error}") from error


def check_name(config: TrainingConfig) -> None:
    """Check that a run's name is free, or that there is a run to resume."""
    if config.resume:
        if config.overwrite:
            raise UsageError("--resume and --overwrite exclude each other")
        if not config.checkpoint_path.is_file():
            raise ResumeError(
                f"there is no run {config.name!r} to resume: {config.checkpoint_path} is missing; "
                "start it without --resume"
            )
        return
    if config.overwrite:
        return
    if config.model_path.exists():
        raise NameTakenError(
            f"a model of the name {config.name!r} exists ({config.model_path}): choose another "
            "--name, or --overwrite"
        )
    if config.checkpoint_path.exists():
        raise NameTakenError(
            f"a run of the name {config.name!r} exists ({config.run_folder}): --resume "
            "continues it, --overwrite starts again"
        )


def read_preview_photo(config: TrainingConfig, photos: list[Path]) -> NDArray[np.uint8]:
    """Read the photo for previews: the one in the options, else the first readable one."""
    if config.preview is not None:
        return resize_long_side(read_image(config.preview).fill_hidden(), _PREVIEW_SIDE)
    for path in photos[:_PREVIEW_TRIES]:
        try:
            return resize_long_side(read_image(path).fill_hidden(), _PREVIEW_SIDE)
        except ImageError:
            continue
    raise TrainingDataError(
        f"none of the first {len(photos[:_PREVIEW_TRIES])} photos {_where(config)} can be read"
    )


def _where(config: TrainingConfig) -> str:
    return "that ship" if config.photos is None else f"below {config.photos}"
