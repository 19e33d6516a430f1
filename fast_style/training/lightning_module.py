"""The Lightning module: a transformer network, its perceptual loss and its optimizer."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from fast_style.models.network import StyleNetwork
from fast_style.models.perceptual_loss import LossConfig, Losses, PerceptualLoss
from fast_style.training.conditional_norm import StyleBank
from fast_style.training.config import TrainingConfig
from fast_style.training.data import Batch
from fast_style.training.optimizer import Muon

VECTOR_RATE = 10.0
"""The rate of the norms' scales and shifts and of the last bias, by that of the convolutions. They
are what tells one painting from another. *Udnie* from the base, 600 steps at twice 1e-3: loss on
other photos 2.40e5 with 5, 2.38e5 with 15; at thrice 1e-3 with 10, 2.34e5."""


def schedule_factor(schedule: str, progress: float) -> float:
    """Factor on the learning rate at a share `progress` in [0, 1] of the run."""
    if schedule == "linear":
        return 1.0 - progress
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0


class StyleTransferModule(pl.LightningModule):
    """Trains a `StyleNetwork` on photos towards one painting, or several at once."""

    def __init__(
        self, config: TrainingConfig, network: StyleNetwork, paintings: Mapping[str, Tensor]
    ) -> None:
        """Take the run's options, the network to train and the paintings.

        Args:
            config: the options.
            network: trained in place.
            paintings: each RGB (1, 3, H, W) in [0, 1], by name.
        """
        super().__init__()
        self.config = config
        self.network = network.to(memory_format=torch.channels_last)
        # In a list, so that the frozen VGG is no submodule: it stays out of checkpoints and of the
        # gradient exchange between devices.
        loss = PerceptualLoss(LossConfig.from_options(config.to_dict()), list(paintings.values()))
        self._loss = [loss.to(memory_format=torch.channels_last)]
        self.bank = StyleBank(network, list(paintings)) if len(paintings) > 1 else None
        """What the paintings do not share, where there are several."""
        self.elapsed_share = 0.0
        """Share of the time limit that has gone, kept by the time budget."""
        self.started_from: dict[str, Any] | None = None
        """Name and training of the model that the weights were taken from, for the card."""
        self.rate_factor = 1.0
        """Lowered when the run had to go back after losses that were not finite."""

    @property
    def loss(self) -> PerceptualLoss:
        """The perceptual loss."""
        loss: PerceptualLoss = self._loss[0]
        return loss

    def progress(self) -> float:
        """Share of the run that is done, by steps or by time, whichever is further."""
        limit = self.config.step_limit
        by_steps = 0.0 if limit is None else self.global_step / limit
        return min(1.0, max(by_steps, self.elapsed_share))

    def on_fit_start(self) -> None:
        """Bring the frozen VGG to the trainer's device."""
        self.loss.to(self.device)
        if self.config.compile:
            self.network.compile()
            self.loss.vgg.compile()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Muon over the weights that are trained; vectors at a rate of their own."""
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim == 4], "factor": 1.0},
            {"params": [p for p in trained if p.ndim < 4], "factor": VECTOR_RATE},
        ]
        return Muon(groups, self.config.learning_rate)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the rate from the progress alone: nothing to save, nothing to resume wrongly."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        factor = self.rate_factor * schedule_factor(self.config.schedule, self.progress())
        for group in optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor * group["factor"]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Stylize a batch and compare it."""
        photos, grainy = (
            batch[name].to(memory_format=torch.channels_last).float() / 255
            for name in ("photos", "grainy")
        )
        paintings = self._paintings_of(len(photos))
        if self.bank is not None:
            self.bank.choose(paintings)
        losses: Losses = self.loss(self.network(grainy, wrap=True), photos, paintings)
        self.log_dict(
            {
                "loss/total": losses.total.detach(),
                "loss/content": losses.content.detach(),
                "loss/style": losses.style.detach(),
                "loss/tv": losses.tv.detach(),
            },
            on_step=True,
        )
        return losses.total

    def _paintings_of(self, batch_size: int) -> Tensor | None:
        """The paintings that this step's pictures are to look like, in turns; None for one."""
        if self.bank is None:
            return None
        first = (self.global_step * self.trainer.world_size + self.trainer.global_rank) * batch_size
        numbers = torch.arange(first, first + batch_size, device=self.device)
        return numbers % len(self.bank.names)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the options and the lowered rate with the weights."""
        checkpoint["fast_style"] = {
            "config": self.config.to_dict(),
            "rate_factor": self.rate_factor,
            "started_from": self.started_from,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back the lowered rate and where the run came from."""
        self.rate_factor = float(checkpoint["fast_style"]["rate_factor"])
        self.started_from = checkpoint["fast_style"]["started_from"]
