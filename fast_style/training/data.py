"""Photos and paintings as tensors: random crops of the photos, the paintings at training size.

Sample number i of a run is always the same crop of the same photo, decided by the seed and i alone.
So a resumed run sees exactly the photos that it would have seen, and needs no saved state.
"""

import signal
from collections.abc import Callable, Iterator
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
from fast_style.images import read_image, resize_long_side
from fast_style.images.grain import add_grain
from fast_style.storage.hardware import shared_memory_left, usable_cores
from fast_style.training.config import TrainingConfig

_ZOOM = 1.25
"""Largest ratio of a photo's short side to the side of its crop, for crops of various scales."""

_PREFETCH = 4
"""Batches that each loader process has ready."""

WORKER_SECONDS = 300
"""How long a batch may take before the training ends with an error."""

_ENDLESS = 1 << 40  # steps of a run that only the time limit ends
_TRIES = 20
"""Photos that are tried for one sample: a damaged one is replaced by another at random."""

_BALANCING_CROPS, _BALANCING_SIDE, _BALANCING_SEED = 32, 256, 0


class PhotoBatch(TypedDict):
    """A batch from the data loader.

    Attributes:
        photos: RGB crops, shape (B, 3, S, S), uint8.
        grainy: the same with grain, the network's input.
        unreadable: files that could not be read and were replaced.
    """

    photos: Tensor
    grainy: Tensor
    unreadable: list[str]


def random_crop(path: Path, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Read a random square of a photo at a random scale, mirrored half the time.

    Args:
        path: the photo; a large JPEG is decoded at a reduced size.
        side: side of the crop, in pixels.
        rng: draws scale, position and mirroring.

    Returns:
        RGB, shape (side, side, 3), 0-255.

    Raises:
        ImageError: the photo cannot be read.
    """
    zoom, across, down = rng.uniform(1.0, _ZOOM), rng.random(), rng.random()
    mirrored = rng.random() < 0.5
    short = round(side * zoom)
    photo = Image.fromarray(read_image(path, at_least=short).fill_hidden())
    # One resampling, of the square alone: in pixels of the decoded photo.
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
"""A crop, the same with grain, and the files that could not be read; see `PhotoBatch`."""


class PhotoCrops(Dataset[Sample]):
    """Crops by sample number: each epoch has every photo once, in its own seeded order."""

    def __init__(self, photos: list[Path], crop_size: int, grain: int, seed: int) -> None:
        """Create the data set.

        Args:
            photos: the files.
            crop_size: side of the crops, in pixels.
            grain: amplitude of the grain, in levels.
            seed: decides the order of the photos and the crops.
        """
        self.photos, self.crop_size, self.grain, self.seed = photos, crop_size, grain, seed
        self._epoch, self._order = -1, np.arange(0)

    def _photo_of(self, sample: int) -> Path:
        epoch, position = divmod(sample, len(self.photos))
        if epoch != self._epoch:
            self._order = np.random.default_rng((self.seed, epoch)).permutation(len(self.photos))
            self._epoch = epoch
        return self.photos[int(self._order[position])]

    def __getitem__(self, sample: int) -> Sample:
        """Return crop number `sample`, (3, S, S) uint8, clean and with grain.

        Raises:
            TrainingDataError: 20 photos in a row could not be read.
        """
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
        """Create the sampler of one device.

        Args:
            steps: length of the run.
            batch_size: samples per step on each device.
            first_step: the step to start from.
            rank: number of this device.
            world_size: number of devices.
        """
        self.steps, self.batch_size, self.first_step = steps, batch_size, first_step
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this device's samples of each remaining step."""
        for step in range(self.first_step, self.steps):
            start = (step * self.world_size + self.rank) * self.batch_size
            yield list(range(start, start + self.batch_size))

    def __len__(self) -> int:
        """Return the steps of the whole run: Lightning counts a resumed run's batches from 0."""
        return self.steps


def collate(samples: list[Sample]) -> PhotoBatch:
    """Stack samples into a batch."""
    return {
        "photos": torch.stack([crop for crop, _, _ in samples]),
        "grainy": torch.stack([grainy for _, grainy, _ in samples]),
        "unreadable": [path for _, _, paths in samples for path in paths],
    }


def _as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def default_workers() -> int:
    """Return the number of loader processes: half the cores of this process, from 1 to 8."""
    return min(8, max(1, usable_cores() // 2))


def fitting_workers(wanted: int, config: TrainingConfig, processes: int) -> int:
    """Return how many loader processes the shared memory is enough for, `wanted` at most.

    Batches go through shared memory. Containers often have little (64 MB in Docker), and where it
    is full, a loader fails in a way that torch waits for without end.

    Args:
        wanted: number of loader processes.
        config: the options, with a batch size.
        processes: trainings on this machine, one for each device.
    """
    free = shared_memory_left()
    if free is None or wanted == 0:
        return wanted
    assert config.batch_size is not None
    batch = 2 * config.batch_size * 3 * config.crop_size**2  # with grain and without
    return min(wanted, free // 2 // (processes * (_PREFETCH + 1) * batch))


def _ignore_interrupts(_: int) -> None:
    # Ctrl-C, `timeout` and service managers signal the whole process group. The trainer ends its
    # loaders itself, and a loader ends when its trainer is gone.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    torch.set_num_threads(1)


class PhotoDataModule(pl.LightningDataModule):
    """The photos of a training run, in the order that (seed, step) gives."""

    def __init__(
        self, config: TrainingConfig, photos: list[Path], notify: Callable[[str], None]
    ) -> None:
        """Prepare the photos of a run with these options; `notify` shows a sentence."""
        super().__init__()
        self.config, self.photos, self.notify = config, photos, notify

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return a loader that starts at the trainer's current step."""
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
        wanted = self.config.workers
        if wanted is None:
            wanted = default_workers()
        workers = fitting_workers(wanted, self.config, trainer.num_devices)
        if workers < wanted:
            self.notify(
                f"/dev/shm is small: {workers or 'no'} processes load photos, and not {wanted} (in "
                "Docker, --shm-size 1g makes it larger)"
            )
        return DataLoader(
            PhotoCrops(self.photos, self.config.crop_size, self.config.grain, self.config.seed),
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=_ignore_interrupts if workers else None,
            pin_memory=trainer.strategy.root_device.type == "cuda",
            prefetch_factor=_PREFETCH if workers else None,
            timeout=WORKER_SECONDS if workers else 0,
        )


def style_tensor(pixels: NDArray[np.uint8], style_size: int) -> Tensor:
    """Resize a painting to its training size.

    Args:
        pixels: RGB, shape (H, W, 3), uint8.
        style_size: the long side, in pixels.

    Returns:
        RGB, shape (1, 3, H', W'), range [0, 1].
    """
    resized = resize_long_side(pixels, style_size, enlarge=True)
    return _as_tensor(resized)[None].float() / 255


def balancing_crops(photos: list[Path]) -> Tensor:
    """Return the crops for `PerceptualLoss.balance_styles`: always the same for the same photos.

    One crop of each photo, of 32 photos at most. They depend neither on the run's seed nor on its
    crop size, so that networks trained on the same painting and photos have the same objective.

    Returns:
        RGB, shape (N, 3, S, S), range [0, 1].
    """
    crops = PhotoCrops(photos, _BALANCING_SIDE, 0, _BALANCING_SEED)
    count = min(_BALANCING_CROPS, len(photos))
    return torch.stack([crops[i][0] for i in range(count)]).float() / 255
