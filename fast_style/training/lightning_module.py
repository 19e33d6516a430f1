"""The Lightning modules: what all trainings share, and that of a style network."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from fast_style.models.network import StyleNetwork
from fast_style.models.perceptual_loss import LossConfig, Losses, PerceptualLoss
from fast_style.training.conditional_norm import PaintingNorms, set_norm_parameters
from fast_style.training.config import TrainingConfig
from fast_style.training.data import PhotoBatch
from fast_style.training.optimizer import Muon
from fast_style.training.steadiness import steadiness_loss

VECTOR_RATE = 10.0
"""Learning rate of the norms' scales and shifts and of the last bias, relative to that of the
convolutions. Mainly these differ from painting to painting. *Udnie* from the base, 600 steps, loss
on other photos, at a rate of 2e-3: 2.40e5 with a factor of 5, 2.38e5 with 15; at 3e-3 with 10,
2.34e5."""


def schedule_factor(schedule: str, progress: float) -> float:
    """Return the factor on the learning rate at a progress in [0, 1]."""
    if schedule == "linear":
        return 1.0 - progress
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0


class TrainingModule(pl.LightningModule):
    """What the callbacks of a run need: its options, its progress and its learning rate.

    Attributes:
        config: the options of the run.
        elapsed_share: share of the time limit that is used up, in [0, 1]; set by `TimeBudget`.
        rate_factor: factor on the learning rate; lowered by `NonFiniteGuard`.
        started_from: name and training of the model that the weights were taken from, for the card.
    """

    def __init__(self, config: TrainingConfig) -> None:
        """Create a module at the beginning of its run."""
        super().__init__()
        self.config = config
        self.elapsed_share = 0.0
        self.rate_factor = 1.0
        self.started_from: dict[str, Any] | None = None

    def progress(self) -> float:
        """Return the progress of the run in [0, 1], by steps or by time, whichever is further."""
        limit = self.config.step_limit
        by_steps = 0.0 if limit is None else self.global_step / limit
        return min(1.0, max(by_steps, self.elapsed_share))

    def schedule(self) -> float:
        """Return the schedule's factor on the learning rate at this step."""
        return schedule_factor(self.config.schedule, self.progress())

    def on_train_batch_start(self, batch: PhotoBatch, batch_idx: int) -> None:
        """Set the learning rate from the progress alone, so that resuming needs no saved state."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        factor = self.rate_factor * self.schedule()
        for group in optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor * group["factor"]

    @staticmethod
    def read_batch(batch: PhotoBatch) -> tuple[Tensor, Tensor]:
        """Return the photos of a batch without and with grain, (B, 3, S, S) in [0, 1]."""
        photos, grainy = (
            batch[name].to(memory_format=torch.channels_last).float() / 255
            for name in ("photos", "grainy")
        )
        return photos, grainy

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the options, the rate factor and the origin of the weights."""
        checkpoint["fast_style"] = {
            "config": self.config.to_dict(),
            "rate_factor": self.rate_factor,
            "started_from": self.started_from,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the rate factor and the origin of the weights."""
        self.rate_factor = float(checkpoint["fast_style"]["rate_factor"])
        self.started_from = checkpoint["fast_style"]["started_from"]


class StyleTransferModule(TrainingModule):
    """Trains a `StyleNetwork` on photos, for one painting or for several at once.

    Attributes:
        network: the network to train.
        painting_norms: the scales and shifts of each painting; None if there is only one painting.
    """

    def __init__(
        self, config: TrainingConfig, network: StyleNetwork, paintings: Mapping[str, Tensor]
    ) -> None:
        """Prepare the loss for the paintings.

        Args:
            config: the options.
            network: trained in place.
            paintings: by name, each RGB of shape (1, 3, H, W), range [0, 1].
        """
        super().__init__(config)
        self.network = network.to(memory_format=torch.channels_last)
        # In a list, so that the frozen VGG is no submodule: it stays out of checkpoints and of the
        # gradient exchange between devices.
        loss = PerceptualLoss(LossConfig.from_options(config.to_dict()), list(paintings.values()))
        self._loss = [loss.to(memory_format=torch.channels_last)]
        self.painting_norms: PaintingNorms | None = None
        if len(paintings) > 1:
            self.painting_norms = PaintingNorms(network, list(paintings))
            # The network's own scales and shifts are not used in training.
            for norm in network.norms().values():
                norm.requires_grad_(False)

    @property
    def loss(self) -> PerceptualLoss:
        """The perceptual loss."""
        loss: PerceptualLoss = self._loss[0]
        return loss

    def choose_paintings(self, numbers: Tensor) -> None:
        """Set the painting of each picture for the network's next calls.

        Args:
            numbers: the paintings' numbers, shape (B,); ignored if there is only one painting.
        """
        if self.painting_norms is not None:
            set_norm_parameters(self.network, self.painting_norms(numbers))

    def on_fit_start(self) -> None:
        """Move the frozen VGG to the trainer's device."""
        self.loss.to(self.device)
        if self.config.compile:
            self.network.compile()
            self.loss.vgg.compile()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Muon for the trained weights, with a separate rate for vectors."""
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim == 4], "factor": 1.0},
            {"params": [p for p in trained if p.ndim < 4], "factor": VECTOR_RATE},
        ]
        return Muon(groups, self.config.learning_rate)

    def training_step(self, batch: PhotoBatch, batch_idx: int) -> Tensor:
        """Stylize a batch of photos and return its loss."""
        photos, grainy = self.read_batch(batch)
        paintings = self._painting_numbers(len(photos))
        self.choose_paintings(paintings)
        stylized = self.network(grainy, wrap=True)
        losses: Losses = self.loss(stylized, photos, paintings)
        logged = {
            "loss/total": losses.total.detach(),
            "loss/content": losses.content.detach(),
            "loss/style": losses.style.detach(),
            "loss/tv": losses.tv.detach(),
        }
        total = losses.total
        if self.config.steady > 0:
            network = partial(self.network, wrap=True)
            unsteady = steadiness_loss(network, grainy, stylized, self._motion_generator())
            total = total + self.config.steady * unsteady
            logged |= {"loss/total": total.detach(), "loss/unsteadiness": unsteady.detach()}
        self.log_dict(logged, on_step=True)
        return total

    def _motion_generator(self) -> torch.Generator:
        """Return what chooses this step's motion: by seed, step and device, so that runs resume."""
        place = self.global_step * self.trainer.world_size + self.trainer.global_rank
        return torch.Generator().manual_seed((self.config.seed << 32) + place)

    def _painting_numbers(self, batch_size: int) -> Tensor:
        """Return the painting of each picture of this step: all paintings in turn, shape (B,)."""
        count = 1 if self.painting_norms is None else len(self.painting_norms.names)
        first = (self.global_step * self.trainer.world_size + self.trainer.global_rank) * batch_size
        return torch.arange(first, first + batch_size, device=self.device) % count
