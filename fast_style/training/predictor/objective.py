"""The perceptual loss with a painting of its own, and its balance factor, for each picture."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fast_style.models.perceptual_loss import (
    LossConfig,
    Losses,
    Vgg,
    combine_losses,
    content_energy,
    content_loss,
    gram_matrices,
    style_distance,
)
from fast_style.models.predictor import STYLE_LAYERS
from fast_style.training.predictor.descriptor import FeatureStatistics


class PredictorObjective(nn.Module):
    """Content and style losses of each picture of a batch, on a frozen VGG.

    A painting's balance factor is `perceptual_loss.balance_factor`: energy / distance, where the
    distance is a mean over photos. With Gram matrices G_i of the photos and S of the painting,
    mean_i |G_i - S|^2 = |mean G - S|^2 + spread, so the photos are needed only once.

    Attributes:
        config: layers and weights.
        vgg: the bundled VGG.
        layers: the layers whose statistics `describe` returns.
        spread: how far photos are from their mean in the style distance.
        energy: the photos' content energy.
    """

    def __init__(self, config: LossConfig, photos: Tensor) -> None:
        """Measure the photos for the balance.

        Args:
            config: layers and weights.
            photos: RGB, (N, 3, S, S), range [0, 1], on the device to use.
        """
        super().__init__()
        self.config = config
        self.layers = tuple(dict.fromkeys([*STYLE_LAYERS, *config.style_layers]))
        self.vgg = Vgg(config.vgg, [*config.content_layers, *self.layers])
        self.vgg.to(photos.device).to(memory_format=torch.channels_last)
        means = {layer: torch.zeros((), dtype=torch.float64) for layer in config.style_layers}
        self.energy, self.spread = 0.0, 0.0
        with torch.no_grad():
            for photo in torch.split(photos, 1):
                features = self.vgg(photo, [*config.content_layers, *config.style_layers])
                self.energy += content_energy(features, config.content_layers) / len(photos)
                for layer, gram in gram_matrices(features, config.style_layers).items():
                    # float64 on the CPU: not every device has it.
                    wide, weight = gram[0].cpu().double(), config.style_layers[layer]
                    means[layer] = means[layer] + wide / len(photos)
                    self.spread += weight * float(wide.square().mean()) / len(photos)
        for layer, mean in means.items():
            self.spread -= config.style_layers[layer] * float(mean.square().mean())
            self.register_buffer(f"mean_{layer}", mean.float()[None].to(photos.device))

    @torch.no_grad()
    def describe(self, pictures: Tensor) -> FeatureStatistics:
        """Compute the statistics of paintings, RGB (B, 3, H, W) in [0, 1]."""
        features = self.vgg(pictures, self.layers)
        means = {layer: features[layer].float().mean((2, 3)) for layer in self.layers}
        return FeatureStatistics(means, gram_matrices(features, self.layers))

    def style_factors(self, grams: Mapping[str, Tensor]) -> Tensor:
        """Return the balance factor of each painting, (B,), from its Gram matrices."""
        weights = self.config.style_layers
        mean = {layer: self.get_buffer(f"mean_{layer}") for layer in weights}
        distance = self.spread + style_distance(mean, grams, weights)
        return self.energy / distance.clamp_min(1e-12)

    def forward(
        self, pictures: Tensor, photos: Tensor, grams: Mapping[str, Tensor], factors: Tensor
    ) -> Losses:
        """Compute the losses of each picture.

        Args:
            pictures: RGB, (B, 3, H, W), nominally [0, 1]; gradients flow to it.
            photos: the same shape and range; no gradient.
            grams: of each picture's painting, by layer, each (B or 1, C, C).
            factors: the balance factor of each painting, (B,) or (1,).

        Returns:
            Weighted total, content and style of shape (B,); tv is a scalar. float32.
        """
        config = self.config
        features = self.vgg(pictures, [*config.content_layers, *config.style_layers])
        with torch.no_grad():
            target = self.vgg(photos, config.content_layers)
        content = torch.stack(
            [
                content_loss(
                    _pick(features, number, config.content_layers),
                    _pick(target, number, config.content_layers),
                    config.content_layers,
                )
                for number in range(len(pictures))
            ]
        )
        found = gram_matrices(features, config.style_layers)
        style = factors * style_distance(found, grams, config.style_layers)
        return combine_losses(config, content, style, pictures)

    def share(self, losses: Losses) -> Tensor:
        """Return losses, (B,), as a share of those of an average photo that is left as it is."""
        return losses.total / (self.config.style_weight * self.energy)


def _pick(features: Mapping[str, Tensor], number: int, layers: Iterable[str]) -> dict[str, Tensor]:
    """Return the features of one picture of a batch, each (1, C, H, W)."""
    return {layer: features[layer][number : number + 1] for layer in layers}
