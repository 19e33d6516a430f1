"""Perceptual losses on frozen VGG features.

Gatys, Ecker and Bethge 2015 (arXiv 1508.06576), equations 1 to 5, in the form of Johnson, Alahi and
Fei-Fei 2016 (1603.08155), equations 2 to 4.

Normalisation, which loss weights depend on and which every model file records:

- Gram matrix of features F of shape (C, H*W): F F^T / (C*H*W).
- Style loss: mean squared error of Gram matrices, weighted sum over layers.
- Content loss: mean squared error of features, weighted sum over layers.
- Total variation: mean squared difference of neighbouring pixels on 0-255, down plus across.
- VGG input: for the bundled weights BGR on 0-255 less the mean (103.939, 116.779, 123.68); for
  torchvision's, RGB on [0, 1] less the ImageNet mean, divided by its standard deviation. Features
  of the two differ in scale by about 58, so their loss weights do too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fast_style.errors import UsageError
from fast_style.models.vgg import Vgg, VggName, check_layers, layer_names
from fast_style.options import parse_layers

__all__ = [
    "NORMALISATION",
    "LossConfig",
    "Losses",
    "PerceptualLoss",
    "Vgg",
    "VggName",
    "gram_matrix",
    "layer_names",
    "total_variation",
]

NORMALISATION = "gram F F^T / (C H W); mean squared errors; VGG input as in models.perceptual_loss"


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between channels, F F^T / (C*H*W), in float32 even under autocast.

    Args:
        features: shape (B, C, H, W).

    Returns:
        Shape (B, C, C); float64 for float64 features, else float32. The sums run over H*W products,
        which bfloat16 with its 8 bits of mantissa would get wrong by percents.
    """
    with torch.autocast(features.device.type, enabled=False):
        gram: Tensor = _Gram.apply(features)
        return gram


class _Gram(torch.autograd.Function):
    """The Gram matrix with a gradient that uses its symmetry.

    d/dF of sum(G * F F^T / N) is (G + G^T) F / N: one product where autograd, not knowing that both
    factors are the same, takes two. The product is in the features' own type, as every gradient
    under autocast; the sums inside it are float32 on all devices.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        # (B, H*W, C): contiguous for channels-last features.
        columns = features.flatten(2).transpose(1, 2)
        ctx.save_for_backward(columns)
        ctx.sides = features.shape[2:]
        wide = columns if columns.dtype == torch.float64 else columns.float()
        return wide.transpose(1, 2) @ wide / features[0].numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (columns,) = ctx.saved_tensors
        symmetric = (gradient + gradient.transpose(1, 2)) / columns[0].numel()
        product = columns @ symmetric.to(columns.dtype)
        unfolded: Tensor = product.transpose(1, 2).unflatten(2, ctx.sides)
        return unfolded


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels on 0-255, down plus across.

    The anisotropic, squared form (beta = 2) of Mahendran and Vedaldi 2015 (arXiv 1412.0035),
    averaged so that it does not depend on the size of the image.

    Args:
        images: shape (B, C, H, W), range [0, 1].

    Returns:
        A scalar; a direction with a single pixel adds nothing.

    Example:
        >>> total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))
        tensor(65025.)
    """
    with torch.autocast(images.device.type, enabled=False):
        pixels = images * 255
        variation = pixels.new_zeros(())
        for axis in (2, 3):
            if pixels.shape[axis] > 1:
                variation = variation + pixels.diff(dim=axis).square().mean()
        return variation


@dataclass(frozen=True, slots=True)
class LossConfig:
    """What the perceptual loss is made of.

    Attributes:
        vgg: `bundled` (VGG-16 to relu4_3, nothing to download), torchvision's `vgg16` or `vgg19`.
        content_layers: weight of each content layer, by name.
        style_layers: weight of each style layer, by name.
        content_weight: factor on the content loss.
        style_weight: factor on the style loss.
        tv_weight: factor on the total variation.
    """

    vgg: VggName
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    content_weight: float
    style_weight: float
    tv_weight: float

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "LossConfig":
        """Make one of options, or of what a model's card says of them.

        Args:
            options: with the names of `option_fields.loss_option`, layers as text; others are
                passed over.

        Raises:
            UsageError: a text or a weight that is none, or a layer that the VGG does not have.
            KeyError: an option is missing.
        """
        return cls(
            vgg=options["vgg"],
            content_layers=parse_layers(options["content_layers"], "content_layers"),
            style_layers=parse_layers(options["style_layers"], "style_layers"),
            content_weight=float(options["content_weight"]),
            style_weight=float(options["style_weight"]),
            tv_weight=float(options["tv_weight"]),
        )

    def __post_init__(self) -> None:
        """Check names and weights."""
        known = layer_names(self.vgg)
        check_layers(self.content_layers, known, self.vgg)
        check_layers(self.style_layers, known, self.vgg)
        named = {
            "content weight": self.content_weight,
            "style weight": self.style_weight,
            "TV weight": self.tv_weight,
            **{f"weight of {k}": w for k, w in self.content_layers.items()},
            **{f"weight of {k}": w for k, w in self.style_layers.items()},
        }
        for name, weight in named.items():
            if not 0 <= weight < float("inf"):
                raise UsageError(f"the {name} is {weight}; expected a number of 0 or more")
        if not self.style_layers and not self.content_layers:
            raise UsageError("a perceptual loss needs at least one content or style layer")


class Losses(NamedTuple):
    """The terms of the loss, each a scalar with its weight already in it, and their sum."""

    total: Tensor
    content: Tensor
    style: Tensor
    tv: Tensor


class PerceptualLoss(nn.Module):
    """Content, style and total variation loss of pictures against photos and paintings.

    The paintings' Gram matrices are computed once, here.

    Attributes:
        style_factors: a factor on each painting's style loss, shape (S,); ones until
            `balance_styles` is called.
    """

    style_factors: Tensor

    def __init__(self, config: LossConfig, paintings: Tensor | Sequence[Tensor]) -> None:
        """Load the VGG and look at the paintings.

        Args:
            config: layers and weights.
            paintings: one or several, each RGB of shape (1, 3, H, W), range [0, 1].
        """
        super().__init__()
        self.config = config
        self.vgg = Vgg(config.vgg, [*config.content_layers, *config.style_layers])
        several = [paintings] if isinstance(paintings, Tensor) else paintings
        with torch.no_grad():
            seen = [self.vgg(painting.float(), config.style_layers) for painting in several]
            for layer in config.style_layers:
                grams = torch.cat([gram_matrix(features[layer]) for features in seen])
                self.register_buffer(f"gram_{layer}", grams, persistent=False)
        self.register_buffer("style_factors", torch.ones(len(several)), persistent=False)

    def forward(self, stylized: Tensor, content: Tensor, paintings: Tensor | None = None) -> Losses:
        """Compare stylized pictures with their photos.

        Args:
            stylized: RGB, shape (B, 3, H, W), nominally [0, 1]; gradients flow to it.
            content: the photos, same shape and range; no gradient.
            paintings: each picture's painting by its number, shape (B,); the first one for all
                where None.

        Returns:
            The losses, averaged over the batch, in float32.
        """
        config = self.config
        if paintings is None:
            paintings = torch.zeros(len(stylized), dtype=torch.long, device=stylized.device)
        zero = torch.zeros((), device=stylized.device)
        pictures = self.vgg(stylized, [*config.content_layers, *config.style_layers])
        with torch.no_grad():
            photos = self.vgg(content, config.content_layers)
        content_loss, tv_loss = zero, zero
        for layer, weight in config.content_layers.items():
            difference = functional.mse_loss(pictures[layer].float(), photos[layer].float())
            content_loss = content_loss + weight * difference
        distances = self._style_distances(pictures, paintings)
        style_loss = (self.style_factors[paintings] * distances).mean()
        if config.tv_weight:
            tv_loss = config.tv_weight * total_variation(stylized)
        content_loss = config.content_weight * content_loss
        style_loss = config.style_weight * style_loss
        return Losses(content_loss + style_loss + tv_loss, content_loss, style_loss, tv_loss)

    def _style_distances(self, features: Mapping[str, Tensor], paintings: Tensor) -> Tensor:
        """Each picture's style loss without its weight and factor, shape (B,)."""
        total = torch.zeros(len(paintings), device=paintings.device)
        for layer, weight in self.config.style_layers.items():
            wanted = self.get_buffer(f"gram_{layer}")[paintings]
            difference = gram_matrix(features[layer]) - wanted
            total = total + weight * difference.square().mean(dim=(1, 2))
        return total

    @torch.no_grad()
    def balance_styles(self, photos: Tensor) -> None:
        """Give each painting's style loss a scale of its own, so that one weight suits all.

        Paintings differ in how far their Gram matrices lie from those of photos; with the same
        weight, one drowns the photo where another hardly touches it. The factor of a painting is
        the mean square of the photos' content features, divided by the style loss that the photos
        have as they are. So with weights of 1, a photo left as it is has as much style loss as a
        picture that lost all its content has content loss, whatever the painting, VGG and layers.
        It is rounded to three digits, so that all machines come to the same objective.

        Args:
            photos: a few dozen training crops, RGB, shape (N, 3, H, W), range [0, 1].
        """
        config, n = self.config, len(self.style_factors)
        energy, distances = 0.0, torch.zeros(n, device=photos.device)
        # Not with the 10 bits of TensorFloat-32: three digits are to be the same everywhere.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for first in range(0, len(photos), 4):
                some = photos[first : first + 4]
                features = self.vgg(some, [*config.content_layers, *config.style_layers])
                for layer, weight in config.content_layers.items():
                    energy += weight * float(features[layer].float().square().mean()) * len(some)
                for number in range(n):
                    same = torch.full((len(some),), number, device=photos.device)
                    distances[number] += self._style_distances(features, same).sum()
        if energy > 0 and bool((distances > 0).all()):
            factors = [float(f"{energy / distance:.3g}") for distance in distances.tolist()]
            self.style_factors.copy_(torch.tensor(factors))
