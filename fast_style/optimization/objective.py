"""The objective: the perceptual loss of a picture, for one photo and its paintings."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fast_style.models.perceptual_loss import (
    LossConfig,
    Losses,
    balance_factor,
    combine_losses,
    content_energy,
    content_loss,
    gram_matrices,
    style_distance,
)
from fast_style.models.vgg import Vgg

# Lower bound of a photo's style distance, relative to the painting's distance from zero. Without
# it, a photo that already has the painting's style would get an infinite factor.
_LEAST_DISTANCE = 0.01


class Objective:
    """The loss of a picture; the features of photo and paintings are computed once.

    The terms and their normalisation are those of `models.perceptual_loss`. Each painting's style
    loss has the factor of `PerceptualLoss.balance_styles`, with the photo in place of the training
    photos. So with weights of 1, the unchanged photo has as much style loss as a picture that lost
    all its content has content loss, and one style weight suits all photos and paintings.

    Attributes:
        factors: the factor of each painting.
        shares: the relative weight of each painting. They sum to 1; with masks their mean is 1,
            because each painting has its own part of the picture.
        unit: the mean square of the photo's content features, a natural unit of the loss.
    """

    def __init__(
        self,
        config: LossConfig,
        vgg: Vgg,
        photo: Tensor,
        paintings: Sequence[Tensor],
        weights: Sequence[float],
        masks: Sequence[Tensor] | None = None,
        *,
        bf16: bool = False,
    ) -> None:
        """Compute the features of the photo and the Gram matrices of the paintings.

        Args:
            config: layers and weights.
            vgg: with the layers of `config`, on the device of the tensors.
            photo: RGB, shape (1, 3, H, W), range [0, 1].
            paintings: each RGB, shape (1, 3, H', W'), range [0, 1].
            weights: weights of the paintings, each above 0.
            masks: where each painting is applied, shape (1, 1, H, W), range [0, 1]; everywhere if
                None.
            bf16: whether the VGG computes in bfloat16; the losses are float32 in any case.
        """
        self.config, self.vgg, self.bf16 = config, vgg, bf16
        total = sum(weights)
        self.shares = [w * (len(weights) if masks else 1) / total for w in weights]
        with torch.no_grad():
            seen = self._features(photo, [*config.content_layers, *config.style_layers])
            self._content = {layer: seen[layer].float() for layer in config.content_layers}
            self._masks: list[dict[str, Tensor | None]] = []
            for number in range(len(paintings)):
                self._masks.append({})
                for layer in config.style_layers:
                    size = seen[layer].shape[2:]
                    self._masks[number][layer] = (
                        functional.interpolate(masks[number], size, mode="area") if masks else None
                    )
            self._coverage = [float(mask.mean()) for mask in masks or []] or [1.0] * len(paintings)
            of_photo = [gram_matrices(seen, config.style_layers, at) for at in self._masks]
            del seen
            self._grams = [
                gram_matrices(self._features(painting, config.style_layers), config.style_layers)
                for painting in paintings
            ]
            self.unit = content_energy(self._content, config.content_layers) or 1.0
            self.factors = [
                self._factor(grams, painting)
                for grams, painting in zip(of_photo, self._grams, strict=True)
            ]

    def __call__(self, picture: Tensor) -> Losses:
        """Return the losses of a picture, (1, 3, H, W), range [0, 1]; gradients flow to it."""
        config = self.config
        features = self._features(picture, [*config.content_layers, *config.style_layers])
        content = content_loss(features, self._content, config.content_layers)
        style = torch.zeros((), device=picture.device)
        unmasked = self._coverage == [1.0] * len(self._grams)
        plain = gram_matrices(features, config.style_layers) if unmasked else None
        for number, share in enumerate(self.shares):
            grams = plain or gram_matrices(features, config.style_layers, self._masks[number])
            factor = share * self.factors[number] * self._coverage[number]
            distance = style_distance(grams, self._grams[number], config.style_layers)
            style = style + factor * distance.sum()  # of one picture
        return combine_losses(config, content, style, picture)

    def _factor(self, photo: dict[str, Tensor], painting: dict[str, Tensor]) -> float:
        """Return the balance factor of a painting, from Gram matrices."""
        weights = self.config.style_layers
        zeros = {layer: torch.zeros_like(gram) for layer, gram in painting.items()}
        distance = float(style_distance(photo, painting, weights))
        least = _LEAST_DISTANCE * float(style_distance(painting, zeros, weights))
        return balance_factor(self.unit, max(distance, least))

    def _features(self, picture: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        with torch.autocast(picture.device.type, torch.bfloat16, enabled=self.bf16):
            found: dict[str, Tensor] = self.vgg(picture, layers)
        return found


Evaluate = Callable[[Tensor], Losses]
"""Computes the losses of a picture, (1, 3, H, W), with gradients."""
