"""The perceptual loss on frozen VGG features: its terms, for training and optimisation alike.

Gatys, Ecker and Bethge 2015 (arXiv 1508.06576), equations 1 to 5, in the form of Johnson, Alahi and
Fei-Fei 2016 (1603.08155), equations 2 to 4.

`content_loss`, `style_distance`, `total_variation`, `balance_factor` and `combine_losses` are the
terms; `PerceptualLoss` is the loss of training batches, `optimization.objective` that of a single
picture. Loss weights depend on the normalisation, which every model file records:

- Gram matrix of features F of shape (C, H*W): F F^T / (C*H*W).
- Style loss: mean squared error of Gram matrices, weighted sum over layers.
- Content loss: mean squared error of features, weighted sum over layers.
- Total variation: mean squared difference of neighbouring pixels on 0-255, down plus across.
- VGG input: for the bundled weights BGR on 0-255 less the mean (103.939, 116.779, 123.68); for
  torchvision's, RGB on [0, 1] less the ImageNet mean, divided by its standard deviation. Features
  of the two differ in scale by about 58, so their loss weights do too.
"""

from collections.abc import Iterable, Mapping, Sequence
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
    "balance_factor",
    "combine_losses",
    "content_energy",
    "content_loss",
    "gram_matrices",
    "gram_matrix",
    "layer_names",
    "style_distance",
    "total_variation",
]

NORMALISATION = "gram F F^T / (C H W); mean squared errors; VGG input as in models.perceptual_loss"


def gram_matrix(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the correlations between channels, in float32 even under autocast.

    With a mask it is a guided Gram matrix of Gatys, Ecker, Bethge, Hertzmann and Shechtman 2017
    (arXiv 1611.07865, section 4), whose guidance is squared and normalised to a sum of squares of
    1. Here the mask is the square itself, and the matrix is a mean over pixels, weighted by it.

    Args:
        features: shape (B, C, H, W).
        mask: shape (B or 1, 1, H, W), range [0, 1], not all 0; None for the whole picture.

    Returns:
        F F^T / (C * H * W), with a mask F diag(mask) F^T / (C * sum(mask)), shape (B, C, C).
        float64 for float64 features, else float32: the sums have H*W terms, and with the 8 bits of
        a bfloat16 they would be wrong by percents.
    """
    if mask is not None:
        return gram_matrix(features * mask.sqrt().to(features.dtype)) / mask.mean()
    with torch.autocast(features.device.type, enabled=False):
        gram: Tensor = _Gram.apply(features)
        return gram


class _Gram(torch.autograd.Function):
    """The Gram matrix with a gradient that uses its symmetry.

    d/dF of sum(G * F F^T / N) is (G + G^T) F / N: one product where autograd, which does not know
    that both factors are the same, needs two. The product is computed in the type of the features,
    as every gradient under autocast; the sums inside it are float32 on all devices.
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


def gram_matrices(
    features: Mapping[str, Tensor],
    layers: Iterable[str],
    masks: Mapping[str, Tensor | None] | None = None,
) -> dict[str, Tensor]:
    """Compute the Gram matrix of each layer, with a mask of each layer's size if there are any."""
    return {layer: gram_matrix(features[layer], (masks or {}).get(layer)) for layer in layers}


def content_loss(
    features: Mapping[str, Tensor], target: Mapping[str, Tensor], weights: Mapping[str, float]
) -> Tensor:
    """Compute the weighted sum over layers of the mean squared error of features.

    Args:
        features: of the pictures, each (B, C, H, W), by layer.
        target: of the photos, the same.
        weights: of the layers in `weights` only.

    Returns:
        A scalar, in float32.
    """
    terms = (
        weight * functional.mse_loss(features[layer].float(), target[layer].float())
        for layer, weight in weights.items()
    )
    return sum(terms, start=torch.zeros(()))


def content_energy(features: Mapping[str, Tensor], weights: Mapping[str, float]) -> float:
    """Return the content loss of a picture that lost all content: the mean square of features."""
    return sum(
        weight * float(features[layer].float().square().mean()) for layer, weight in weights.items()
    )


def style_distance(
    grams: Mapping[str, Tensor], target: Mapping[str, Tensor], weights: Mapping[str, float]
) -> Tensor:
    """Compute the weighted sum over layers of the mean squared error of Gram matrices.

    Args:
        grams: of the pictures, each (B, C, C), by layer.
        target: of the paintings, each (B or 1, C, C), by layer.
        weights: of the layers.

    Returns:
        The distance of each picture, shape (B,); a zero of shape () without layers.
    """
    terms = (
        weight * (grams[layer] - target[layer]).square().mean(dim=(1, 2))
        for layer, weight in weights.items()
    )
    return sum(terms, start=torch.zeros(()))


def balance_factor(energy: float, distance: float) -> float:
    """Return the factor on a painting's style loss that lets one style weight suit all paintings.

    Paintings differ in how far their Gram matrices are from those of photos; with the same weight,
    one overwhelms the photo where another hardly changes it. With this factor and weights of 1, a
    photo that is left as it is has as much style loss as a picture that lost all its content has
    content loss, whatever the painting, the VGG and the layers.

    Args:
        energy: `content_energy` of the photos.
        distance: `style_distance` of the photos, as they are, from the painting.

    Returns:
        energy / distance; 1 if either is 0.
    """
    return energy / distance if energy > 0 and distance > 0 else 1.0


def total_variation(images: Tensor) -> Tensor:
    """Compute the mean squared difference of neighbouring pixels on 0-255, down plus across.

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
    """Layers and weights of the perceptual loss.

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
        """Create a configuration from training options, or from those on a model's card.

        Args:
            options: by the names of the attributes, layers as text; other options are ignored.

        Raises:
            UsageError: layers or weights that cannot be parsed, or a layer that the VGG lacks.
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
    """The terms of the loss, each a scalar multiplied by its weight, and their sum."""

    total: Tensor
    content: Tensor
    style: Tensor
    tv: Tensor


def combine_losses(config: LossConfig, content: Tensor, style: Tensor, pictures: Tensor) -> Losses:
    """Weight the terms and add the total variation of the pictures, shape (B, 3, H, W)."""
    tv = torch.zeros((), device=pictures.device)
    if config.tv_weight:
        tv = config.tv_weight * total_variation(pictures)
    content, style = config.content_weight * content, config.style_weight * style
    return Losses(content + style + tv, content, style, tv)


class PerceptualLoss(nn.Module):
    """Content, style and total variation loss of pictures against photos and paintings.

    The Gram matrices of the paintings are computed once.

    Attributes:
        style_factors: a factor on each painting's style loss, shape (S,); 1 until
            `balance_styles` is called.
    """

    style_factors: Tensor

    def __init__(self, config: LossConfig, paintings: Tensor | Sequence[Tensor]) -> None:
        """Load the VGG and compute the paintings' Gram matrices.

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
        """Compute the losses of stylized pictures.

        Args:
            stylized: RGB, shape (B, 3, H, W), nominally [0, 1]; gradients flow to it.
            content: the photos, same shape and range; no gradient.
            paintings: the number of each picture's painting, shape (B,); None is the first
                painting for all.

        Returns:
            The losses, averaged over the batch, in float32.
        """
        config = self.config
        if paintings is None:
            paintings = torch.zeros(len(stylized), dtype=torch.long, device=stylized.device)
        pictures = self.vgg(stylized, [*config.content_layers, *config.style_layers])
        with torch.no_grad():
            photos = self.vgg(content, config.content_layers)
        content_term = content_loss(pictures, photos, config.content_layers)
        style_term = self.style_factors[paintings] * self._style_distances(pictures, paintings)
        return combine_losses(config, content_term, style_term.mean(), stylized)

    def _style_distances(self, features: Mapping[str, Tensor], paintings: Tensor) -> Tensor:
        """Compute each picture's style loss without weight and factor, shape (B,)."""
        weights = self.config.style_layers
        target = {layer: self.get_buffer(f"gram_{layer}")[paintings] for layer in weights}
        return style_distance(gram_matrices(features, weights), target, weights)

    @torch.no_grad()
    def balance_styles(self, photos: Tensor) -> None:
        """Set each painting's `balance_factor`, from means over photos.

        The factors are rounded to three digits, so that all machines have the same objective.

        Args:
            photos: a few dozen training crops, RGB, shape (N, 3, H, W), range [0, 1].
        """
        config, n = self.config, len(self.style_factors)
        energy, distances = 0.0, torch.zeros(n, device=photos.device)
        # TensorFloat-32 has 10 bits, too few for three digits that are the same on all machines.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for first in range(0, len(photos), 4):
                some = photos[first : first + 4]
                features = self.vgg(some, [*config.content_layers, *config.style_layers])
                energy += content_energy(features, config.content_layers) * len(some)
                for number in range(n):
                    same = torch.full((len(some),), number, device=photos.device)
                    distances[number] += self._style_distances(features, same).sum()
        factors = [balance_factor(energy, distance) for distance in distances.tolist()]
        self.style_factors.copy_(torch.tensor([float(f"{factor:.3g}") for factor in factors]))
