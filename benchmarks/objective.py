"""The objective a model was trained for, of single pictures, and on other layers as well."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_style.errors import FastStyleError
from fast_style.models.perceptual_loss import (
    LossConfig,
    Losses,
    Vgg,
    combine_losses,
    content_loss,
    gram_matrices,
    layer_names,
    style_distance,
)

TRAINED = "trained"
"""The measure that the model was trained for, and that L-BFGS minimizes."""

UNSEEN = "unseen layers"
"""The same losses at layers of the same VGG that were not used in training."""

VGG19 = "VGG-19"
"""The same losses at the layers of the same names in VGG-19."""

Pixels = NDArray[np.uint8]

# Features of torchvision's VGGs are smaller than the bundled one's by about this factor.
_SCALE = 58.0


@dataclass(frozen=True, slots=True)
class Terms:
    """The weighted terms of a loss."""

    content: float
    style: float
    tv: float

    @property
    def total(self) -> float:
        """Their sum."""
        return self.content + self.style + self.tv


def read_card_loss(training: Mapping[str, Any]) -> LossConfig:
    """Return the loss that a card's `training` describes, with the painting's style factor.

    Raises:
        FastStyleError: the card does not describe it.
    """
    try:
        config = LossConfig.from_options(training)
        factor = float(training.get("style_factor", 1.0))  # of `PerceptualLoss.balance_styles`
        return replace(config, style_weight=factor * config.style_weight)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FastStyleError(
            f"its card does not describe its training's loss: {type(error).__name__} {error}"
        ) from error


def choose_unseen_layers(config: LossConfig) -> LossConfig | None:
    """Replace each layer of a loss by one of the same stage that it does not use.

    relu2_2 becomes relu2_1, relu3_3 becomes relu3_1, if these are not used. Returns None if a stage
    has no other layer.
    """
    used = {*config.content_layers, *config.style_layers}
    free: dict[str, str] = {}
    for layer in layer_names(config.vgg):
        if layer not in used:
            free.setdefault(layer[:5], layer)
    if any(layer[:5] not in free for layer in used):
        return None

    def moved(layers: Mapping[str, float]) -> dict[str, float]:
        weights: dict[str, float] = {}
        for layer, weight in layers.items():  # two layers of one stage become one
            weights[free[layer[:5]]] = weights.get(free[layer[:5]], 0.0) + weight
        return weights

    return LossConfig(
        config.vgg,
        moved(config.content_layers),
        moved(config.style_layers),
        config.content_weight,
        config.style_weight,
        config.tv_weight,
    )


def convert_to_vgg19(config: LossConfig) -> LossConfig:
    """Return the same loss on torchvision's VGG-19, with weights scaled to its features."""
    scale = _SCALE if config.vgg == "bundled" else 1.0
    return LossConfig(
        "vgg19",
        config.content_layers,
        config.style_layers,
        config.content_weight * scale**2,
        config.style_weight * scale**4,
        config.tv_weight,
    )


def is_vgg19_on_disk() -> bool:
    """Return whether VGG-19's weights are on disk; benchmarks download nothing."""
    return any((Path(torch.hub.get_dir()) / "checkpoints").glob("vgg19-*.pth"))


def make_measures(config: LossConfig, *, vgg19: bool = False) -> dict[str, LossConfig]:
    """Return the measures for a model that was trained for `config`, by name."""
    measures = {TRAINED: config}
    neighbours = choose_unseen_layers(config)
    if neighbours is not None:
        measures[UNSEEN] = neighbours
    if vgg19 and config.vgg != "vgg19":
        measures[VGG19] = convert_to_vgg19(config)
    return measures


def to_tensor(pixels: Pixels, device: str = "cpu") -> Tensor:
    """Convert pixels, (H, W, 3), to a batch of one, float32, (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).to(device)[None].float() / 255


class MeasuredObjective:
    """Losses for one painting under several measures, with one pass of each VGG."""

    def __init__(
        self, measures: Mapping[str, LossConfig], painting: Pixels, device: str = "cpu"
    ) -> None:
        """Load the VGGs, and compute the Gram matrices of the painting, (H, W, 3)."""
        self.measures, self.device = dict(measures), device
        self._layers: dict[str, set[str]] = {}
        for config in measures.values():
            wanted = self._layers.setdefault(config.vgg, set())
            wanted |= {*config.content_layers, *config.style_layers}
        self._vggs = {
            name: Vgg(config.vgg, self._layers[name]).to(device, memory_format=torch.channels_last)
            for config in measures.values()
            for name in [config.vgg]
        }
        with torch.no_grad():
            features = self._features(to_tensor(painting, device), self._layers)
            self._grams = {
                name: gram_matrices(features[config.vgg], config.style_layers)
                for name, config in self.measures.items()
            }

    def for_photo(self, photo: Pixels) -> "PhotoObjective":
        """Return the objective for results made from a photo, (H, W, 3)."""
        return PhotoObjective(self, photo)

    def _features(
        self, picture: Tensor, layers: Mapping[str, Iterable[str]]
    ) -> dict[str, dict[str, Tensor]]:
        """Compute the features of a picture, by VGG and layer."""
        picture = picture.contiguous(memory_format=torch.channels_last)
        return {name: self._vggs[name](picture, wanted) for name, wanted in layers.items()}


class PhotoObjective:
    """The losses of results that are made from one photo."""

    def __init__(self, objective: MeasuredObjective, photo: Pixels) -> None:
        """Compute the photo's features."""
        self._objective = objective
        self.photo = to_tensor(photo, objective.device)
        wanted: dict[str, set[str]] = {}
        for config in objective.measures.values():
            wanted.setdefault(config.vgg, set()).update(config.content_layers)
        with torch.no_grad():
            self._content = objective._features(self.photo, wanted)

    def loss(self, picture: Tensor) -> Tensor:
        """Return the trained objective of a picture, (1, 3, H, W) in [0, 1]; differentiable."""
        config = self._objective.measures[TRAINED]
        layers = {config.vgg: {*config.content_layers, *config.style_layers}}
        features = self._objective._features(picture, layers)
        return self._losses(TRAINED, features, picture).total

    def terms(self, picture: Tensor) -> dict[str, Terms]:
        """Return all measures of a picture, (1, 3, H, W) in [0, 1], rounded to 8 bits."""
        with torch.no_grad():
            rounded = (picture.clamp(0, 1) * 255).round() / 255
            features = self._objective._features(rounded, self._objective._layers)
            terms = {}
            for name in self._objective.measures:
                losses = self._losses(name, features, rounded)
                terms[name] = Terms(float(losses.content), float(losses.style), float(losses.tv))
            return terms

    def _losses(
        self, measure: str, features: Mapping[str, Mapping[str, Tensor]], picture: Tensor
    ) -> Losses:
        config = self._objective.measures[measure]
        found, photo = features[config.vgg], self._content[config.vgg]
        content = content_loss(found, photo, config.content_layers)
        grams = gram_matrices(found, config.style_layers)
        style = style_distance(grams, self._objective._grams[measure], config.style_layers)
        return combine_losses(config, content, style.sum(), picture)
