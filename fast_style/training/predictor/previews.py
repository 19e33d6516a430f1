"""Previews of a predictor's run: a photo in the styles of paintings that are never trained on."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fast_style.errors import ImageError
from fast_style.images import read_image
from fast_style.images.grain import add_grain
from fast_style.images.resampling import resize_to
from fast_style.storage.atomic_write import replace_file
from fast_style.training.callbacks import Notify, StepCallback
from fast_style.training.data import PhotoBatch, style_tensor
from fast_style.training.predictor.lightning_module import PredictorModule

_SIDE = 256
_PAINTINGS = 12
"""Paintings that are shown, at equal distances in the list of those that are held out."""


class UnseenPreviews(StepCallback):
    """Stylizes a photo by paintings never seen, at an interval, and measures the result.

    Writes a sheet (above the paintings, below the pictures) as JPEG and to TensorBoard, and logs
    `unseen_share`: the median objective as a share of that of the photo left as it is.

    Attributes:
        share: the last median; None before the first.
    """

    share: float | None

    def __init__(
        self,
        photo: NDArray[np.uint8],
        paintings: Sequence[Path],
        folder: Path,
        every: int,
        notify: Notify,
    ) -> None:
        """Create the callback.

        Args:
            photo: RGB, (H, W, 3), uint8.
            paintings: files of the paintings that are held out.
            folder: where the pictures are written.
            every: steps between two sheets; 0 writes none.
            notify: called for each painting that cannot be read.
        """
        side = min(photo.shape[:2])
        top, left = ((length - side) // 2 for length in photo.shape[:2])
        square = np.ascontiguousarray(photo[top : top + side, left : left + side])
        self.photo = resize_to(square, _SIDE, _SIDE)
        self.folder, self.every, self.share = folder, every, None
        self._notify, self._files = notify, list(paintings[:: -(-len(paintings) // _PAINTINGS)])
        self._paintings: list[NDArray[np.uint8]] | None = None

    def after_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PhotoBatch
    ) -> None:
        """Write a sheet at the interval."""
        if trainer.is_global_zero and self.every and trainer.global_step % self.every == 0:
            assert isinstance(pl_module, PredictorModule)
            self._write(trainer, self.evaluate(pl_module))

    @torch.no_grad()
    def evaluate(self, module: PredictorModule) -> Tensor | None:
        """Stylize the photo by each painting with the averaged weights, and set `share`.

        Returns:
            The sheet, RGB uint8, (3, H, W); None if no painting can be read.
        """
        objective, device = module.objective, module.objective.vgg.get_buffer("mean").device
        model = module.average.to(device).eval()
        photo = _batch(self.photo).to(device)
        grainy = _batch(add_grain(self.photo, module.config.grain)).to(device)
        shares, columns = [], []
        for pixels in self._read():
            painting = style_tensor(pixels, module.config.style_size).to(device)
            statistics = objective.describe(painting.contiguous(memory_format=torch.channels_last))
            factors = objective.style_factors(statistics.grams)
            parameters = model.predictor(model.descriptor(statistics))
            picture = model.stylize(grainy, parameters).float().clamp(0, 1)
            losses, own = (
                objective(each, photo, statistics.grams, factors).total for each in (picture, photo)
            )
            shares.append(float(losses / own))
            thumbnail = _batch(resize_to(pixels, _SIDE, _SIDE))
            columns.append(torch.cat([thumbnail, picture.cpu()], 2))
        if not columns:
            return None
        self.share = float(np.median(shares))
        first = torch.cat([torch.ones_like(photo), photo], 2).cpu()
        return (torch.cat([first, *columns], 3)[0] * 255).round().byte()

    def _read(self) -> list[NDArray[np.uint8]]:
        if self._paintings is None:
            self._paintings = []
            for path in self._files:
                try:
                    self._paintings.append(read_image(path, at_least=2 * _SIDE).fill_hidden())
                except ImageError as error:
                    self._notify(f"a painting for previews was skipped: {error}")
        return self._paintings

    def _write(self, trainer: pl.Trainer, sheet: Tensor | None) -> None:
        if sheet is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = io.BytesIO()
        Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy()).save(
            picture, "JPEG", quality=88
        )
        replace_file(self.folder / f"step-{trainer.global_step:06d}.jpg", picture.getvalue())
        for logger in trainer.loggers:
            if isinstance(logger, pl.loggers.TensorBoardLogger):
                logger.experiment.add_image("preview", sheet, trainer.global_step)
                logger.experiment.add_scalar("unseen_share", self.share, trainer.global_step)


def _batch(pixels: NDArray[np.uint8]) -> Tensor:
    """Return pixels, (H, W, 3), as floats, (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255
