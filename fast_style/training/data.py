"""Photos for training: found once, decoded small, cropped by (seed, sample number).

Sample number i of a run is the same crop of the same photo whatever happened before it, so a
resumed run sees exactly the photos that it would have seen, with no state to save.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fast_style.errors import ImageError, TrainingDataError
from fast_style.images import read_image
from fast_style.images.grain import add_grain
from fast_style.training.config import TrainingConfig

_ZOOM = 1.25
"""Largest ratio of a photo's short side to the crop: it varies the scale, and wastes little."""

_ENDLESS = 1 << 40  # steps; the time limit ends such a run
_TRIES = 20
"""Photos tried for one sample before giving up; damaged ones are replaced by the next draw."""


class Batch(TypedDict):
    """What the loader gives.

    Photos, (B, 3, S, S) uint8 RGB; the same with grain, which the network sees; and the files that
    could not be read.
    """

    photos: Tensor
    grainy: Tensor
    unreadable: list[str]


def random_crop(path: Path, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Take a random square of a photo at a random scale, mirrored half the time.

    Args:
        path: the photo; a large JPEG is decoded straight to a smaller size.
        side: of the crop, in pixels.
        rng: decides scale, place and mirroring.

    Returns:
        RGB, shape (side, side, 3), 0-255.

    Raises:
        ImageError: the photo cannot be read.
    """
    zoom, across, down = rng.uniform(1.0, _ZOOM), rng.random(), rng.random()
    mirrored = rng.random() < 0.5
    short = round(side * zoom)
    photo = Image.fromarray(read_image(path, at_least=short).pixels)
    # The square is cut in the photo's own pixels and resized once, so nothing outside is resampled.
    square = side * min(photo.size) / short
    left, top = across * (photo.width - square), down * (photo.height - square)
    crop = photo.resize(
        (side, side),
        Image.Resampling.BICUBIC,
        box=(left, top, left + square, top + square),
        reducing_gap=2.0,
    )
    pixels = np.asarray(crop)
    return pixels[:, ::-1] if mirrored else pixels


Sample = tuple[Tensor, Tensor, list[str]]
"""A crop, the same with grain, and the files that could not be read."""


class PhotoCrops(Dataset[Sample]):
    """Crops by sample number: every photo once in a seeded order, then all again in another."""

    def __init__(self, photos: list[Path], crop_size: int, grain: int, seed: int) -> None:
        """Take the files, the side of the crops, the grain in levels and the seed."""
        self.photos, self.crop_size, self.grain, self.seed = photos, crop_size, grain, seed
        self._epoch, self._order = -1, np.arange(0)

    def _photo_of(self, sample: int) -> Path:
        epoch, place = divmod(sample, len(self.photos))
        if epoch != self._epoch:
            self._order = np.random.default_rng((self.seed, epoch)).permutation(len(self.photos))
            self._epoch = epoch
        return self.photos[int(self._order[place])]

    def __getitem__(self, sample: int) -> Sample:
        """Give crop number `sample`, (3, S, S) uint8, clean and with grain."""
        rng = np.random.default_rng((self.seed, 1, sample))
        path, unreadable = self._photo_of(sample), list[str]()
        for _ in range(_TRIES):
            try:
                pixels = random_crop(path, self.crop_size, rng)
                down, across = rng.integers(1 << 16, size=2).tolist()
                grainy = add_grain(pixels, self.grain, (down, across))
                return _as_tensor(pixels), _as_tensor(grainy), unreadable
            except ImageError:
                unreadable.append(str(path))
                path = self.photos[rng.integers(len(self.photos))]
        raise TrainingDataError(
            f"{_TRIES} photos in a row could not be read, the last one {path}: "
            "the folder must hold JPEG, PNG or WebP photos"
        )


class StepSampler(Sampler[list[int]]):
    """The sample numbers of each step's batch, from a given step to the end of the run."""

    def __init__(
        self, steps: int, batch_size: int, first_step: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        """Take the run's length in steps, the batch on each of `world_size` devices, the start."""
        self.steps, self.batch_size, self.first_step = steps, batch_size, first_step
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        """Give this device's share of every step that is left."""
        for step in range(self.first_step, self.steps):
            start = (step * self.world_size + self.rank) * self.batch_size
            yield list(range(start, start + self.batch_size))

    def __len__(self) -> int:
        """The whole run: Lightning counts a resumed run's batches from its beginning."""
        return self.steps


def collate(samples: list[Sample]) -> Batch:
    """Stack crops into a batch."""
    return {
        "photos": torch.stack([crop for crop, _, _ in samples]),
        "grainy": torch.stack([grainy for _, grainy, _ in samples]),
        "unreadable": [path for _, _, paths in samples for path in paths],
    }


def _as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def default_workers() -> int:
    """Half the processors this process may use, from 1 to 8: decoding is cheap beside training."""
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return min(8, max(1, processors // 2))


def _ignore_interrupts(_: int) -> None:
    # Ctrl-C, `timeout` and service managers signal the whole process group; the trainer decides
    # when its loaders end, and a loader whose trainer is gone ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)


class PhotoDataModule(pl.LightningDataModule):
    """The photos of a training run, in the order that (seed, step) gives."""

    def __init__(self, config: TrainingConfig, photos: list[Path]) -> None:
        """Take the options of the run, and its files."""
        super().__init__()
        self.config, self.photos = config, photos

    def train_dataloader(self) -> DataLoader[Sample]:
        """Load from the trainer's present step on."""
        trainer = self.trainer
        assert trainer is not None
        assert self.config.batch_size is not None
        limit = self.config.step_limit
        sampler = StepSampler(
            _ENDLESS if limit is None else limit,
            self.config.batch_size,
            trainer.global_step,
            trainer.global_rank,
            trainer.world_size,
        )
        workers = self.config.workers
        if workers is None:
            workers = default_workers()
        return DataLoader(
            PhotoCrops(self.photos, self.config.crop_size, self.config.grain, self.config.seed),
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=_ignore_interrupts if workers else None,
            pin_memory=trainer.strategy.root_device.type == "cuda",
            prefetch_factor=4 if workers else None,
        )
