"""The Lightning module of a predictor: shared network, predictor, running average."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fast_style.training.config import TrainingConfig
from fast_style.training.data import PhotoBatch
from fast_style.training.lightning_module import TrainingModule
from fast_style.training.optimizer import Muon
from fast_style.training.predictor.network import PredictedNetwork
from fast_style.training.predictor.objective import PredictorObjective
from fast_style.training.predictor.pool import POOL_SIZE, StylePool

KERNEL_RATE, PREDICTOR_RATE = 0.5, 0.2
"""Learning rates of the convolutions and of the perceptron, relative to `learning_rate`."""

WARM_UP_STEPS = 150
SAMPLES_PER_VIEW = 8
"""One new view of a painting is computed for so many stylized photos: a view costs as much as two
photos, and the photos of the steps between see other views of the pool."""

_DROPOUT, _JITTER = 0.1, 0.05
"""Noise on the descriptors, so that single numbers do not identify the paintings."""

_GRADIENT_LIMIT = 5.0
_AVERAGE_DECAY = 0.999
_WEIGHT_DECAY = 0.01
_ADAM_BETAS = 0.9, 0.99


class PredictorModule(TrainingModule):
    """Trains a `PredictedNetwork` on photos, each with a random view of a random painting.

    Attributes:
        model: the network to train.
        average: the running average of its weights, which is what a run writes.
        first_views: views in the pool at the first step.
        fits_descriptor: whether the descriptor's constants are fitted before the first step.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: PredictedNetwork,
        objective: PredictorObjective,
        pool: StylePool,
        *,
        fits_descriptor: bool,
    ) -> None:
        """Create the module.

        Args:
            config: the options.
            model: trained in place.
            objective: on the device to train on.
            pool: the views of the paintings.
            fits_descriptor: see the attribute.
        """
        super().__init__(config)
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False)
        # In a list: the frozen VGG stays out of checkpoints.
        self._frozen = (objective, pool)
        self.first_views = min(POOL_SIZE // 2, max(64, 2 * len(pool.weights)))
        self.fits_descriptor = fits_descriptor
        pairs = zip(model.parameters(), self.average.parameters(), strict=True)
        self._averaged = [(p, average) for p, average in pairs if p.requires_grad]

    @property
    def objective(self) -> PredictorObjective:
        """The loss."""
        return self._frozen[0]

    @property
    def pool(self) -> StylePool:
        """The views of the paintings."""
        return self._frozen[1]

    def on_fit_start(self) -> None:
        """Compile the networks if asked for; fit the descriptor of a new run."""
        if self.config.compile:
            self.model.network.compile()
            self.objective.vgg.compile()
        if not self.fits_descriptor:
            return
        with self.trainer.precision_plugin.forward_context():
            self.pool.grow_to(self.first_views)
        for descriptor in (self.model.descriptor, self.average.descriptor):
            descriptor.fit(self.pool.all())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Muon for the convolutions and Adam for the perceptron."""
        kernels = [p for p in self.model.network.parameters() if p.requires_grad]
        matrices = [p for p in self.model.predictor.parameters() if p.ndim == 2]
        vectors = [p for p in self.model.predictor.parameters() if p.ndim == 1]
        adam = {"factor": PREDICTOR_RATE, "betas": _ADAM_BETAS}
        groups = [
            {"params": kernels, "factor": KERNEL_RATE},
            {"params": matrices, "weight_decay": _WEIGHT_DECAY, **adam},
            {"params": vectors, **adam},
        ]
        return Muon(groups, self.config.learning_rate)

    def schedule(self) -> float:
        """Return the factor on the learning rate, with a warm-up."""
        return super().schedule() * min(1.0, (self.global_step + 1) / WARM_UP_STEPS)

    def training_step(self, batch: PhotoBatch, batch_idx: int) -> Tensor:
        """Stylize a batch of photos, each by a painting of its own, and return the loss."""
        # 1) Add views to the pool and draw one for each photo.
        photos, grainy = self.read_batch(batch)
        world, rank = self.trainer.world_size, self.trainer.global_rank
        self.pool.grow_to(self.first_views + self.global_step * len(photos) // SAMPLES_PER_VIEW)
        unreadable = self.pool.reader.unreadable
        batch["unreadable"].extend(unreadable)
        unreadable.clear()
        rng = np.random.default_rng((self.config.seed, 3, self.global_step * world + rank))
        statistics = self.pool.draw(rng, len(photos))
        # 2) Predict the norm parameters, in float32.
        with torch.autocast(photos.device.type, enabled=False):
            descriptors = self.model.descriptor(statistics)
            parameters = self.model.predictor(_add_noise(descriptors, rng))
        # 3) Stylize, and compare.
        pictures = self.model.stylize(grainy, parameters, wrap=True)
        factors = self.objective.style_factors(statistics.grams)
        losses = self.objective(pictures, photos, statistics.grams, factors)
        shares: Tensor = self.objective.share(losses)
        values = {"total": losses.total, "content": losses.content, "style": losses.style}
        values |= {"tv": losses.tv, "share": shares}
        logged = {f"loss/{name}": value.detach().mean() for name, value in values.items()}
        self.log_dict(logged, on_step=True)
        # The root: paintings with a small loss still count, and those with a large one do not rule.
        return shares.clamp_min(1e-4).sqrt().mean()

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Limit the norm of the perceptron's gradient; Muon's steps do not depend on it."""
        torch.nn.utils.clip_grad_norm_(self.model.predictor.parameters(), _GRADIENT_LIMIT)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step and update the running average."""
        super().optimizer_step(*args, **kwargs)
        decay = min(_AVERAGE_DECAY, (self.global_step + 1) / (self.global_step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(
                [average for _, average in self._averaged],
                [parameter for parameter, _ in self._averaged],
                1 - decay,
            )


def _add_noise(descriptors: Tensor, rng: np.random.Generator) -> Tensor:
    """Apply dropout and Gaussian noise, both decided by the generator."""
    shape = tuple(descriptors.shape)
    kept = torch.from_numpy(rng.random(shape, np.float32) >= _DROPOUT).to(descriptors.device)
    noise = torch.from_numpy(rng.standard_normal(shape, np.float32)).to(descriptors.device)
    return descriptors * kept / (1 - _DROPOUT) + _JITTER * noise
