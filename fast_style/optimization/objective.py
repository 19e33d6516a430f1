"""What is minimized: the perceptual loss of one picture against one photo and its paintings."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fast_style.models.perceptual_loss import LossConfig, Losses, gram_matrix, total_variation
from fast_style.models.vgg import Vgg
from fast_style.optimization.masks import masked_gram

# A photo that is as good as a painting already would be given an endless factor.
_LEAST_DISTANCE = 0.01


class Objective:
    """The loss of pictures made from one photo, with all that stays the same computed once.

    The terms and their normalisation are those of `models.perceptual_loss`; each painting's style
    loss has the factor of `PerceptualLoss.balance_styles` with the photo itself in place of the
    training photos: with weights of 1, the photo as it is has as much style loss as a picture that
    lost all its content has content loss. So one style weight suits all photos and paintings.

    Attributes:
        factors: the factor of each painting.
        shares: the weight of each painting: they sum to 1, or, with masks, are 1 on average, for
            each has its own part of the picture.
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
        """Look at the photo and the paintings.

        Args:
            config: layers and weights.
            vgg: with the layers of `config`, on the device of the tensors.
            photo: RGB, shape (1, 3, H, W), range [0, 1].
            paintings: each RGB, shape (1, 3, H', W'), range [0, 1].
            weights: of the paintings, each above 0.
            masks: where each painting goes, shape (1, 1, H, W), range [0, 1]; everywhere if None.
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
            of_photo = [
                {layer: masked_gram(seen[layer], at[layer]) for layer in config.style_layers}
                for at in self._masks
            ]
            del seen
            self._grams = []
            for painting in paintings:
                features = self._features(painting, config.style_layers)
                self._grams.append({k: gram_matrix(features[k]) for k in config.style_layers})
            energy = sum(
                weight * float(self._content[layer].square().mean())
                for layer, weight in config.content_layers.items()
            )
            self.unit = energy or 1.0
            self.factors = [
                self._factor(self._distance(of_photo[n], n), n) for n in range(len(paintings))
            ]

    def __call__(self, picture: Tensor) -> Losses:
        """Give the losses of a picture, (1, 3, H, W) in [0, 1]; gradients flow to it."""
        config = self.config
        features = self._features(picture, [*config.content_layers, *config.style_layers])
        content = style = tv = torch.zeros((), device=picture.device)
        for layer, weight in config.content_layers.items():
            difference = functional.mse_loss(features[layer].float(), self._content[layer])
            content = content + weight * difference
        unmasked = self._coverage == [1.0] * len(self._grams)
        plain = {k: gram_matrix(features[k]) for k in config.style_layers} if unmasked else None
        for number, share in enumerate(self.shares):
            grams = plain or {
                layer: masked_gram(features[layer], self._masks[number][layer])
                for layer in config.style_layers
            }
            factor = share * self.factors[number] * self._coverage[number]
            style = style + factor * self._distance(grams, number)
        if config.tv_weight:
            tv = config.tv_weight * total_variation(picture)
        content, style = config.content_weight * content, config.style_weight * style
        return Losses(content + style + tv, content, style, tv)

    def _distance(self, grams: dict[str, Tensor], number: int) -> Tensor:
        total = torch.zeros((), device=next(iter(grams.values())).device)
        for layer, weight in self.config.style_layers.items():
            total = total + weight * (grams[layer] - self._grams[number][layer]).square().mean()
        return total

    def _factor(self, distance: Tensor, number: int) -> float:
        grams, weights = self._grams[number], self.config.style_layers
        painting = sum(float(w * grams[layer].square().mean()) for layer, w in weights.items())
        least = max(float(distance), _LEAST_DISTANCE * painting)
        return self.unit / least if least > 0 else 1.0

    def _features(self, picture: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        with torch.autocast(picture.device.type, torch.bfloat16, enabled=self.bf16):
            found: dict[str, Tensor] = self.vgg(picture, layers)
        return found


Evaluate = Callable[[Tensor], Losses]
"""What a descent needs of an objective."""
