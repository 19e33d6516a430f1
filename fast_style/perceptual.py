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

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fast_style.errors import MissingExtraError, UsageError, WeightsError

VggName = Literal["bundled", "vgg16", "vgg19"]

NORMALISATION = "gram F F^T / (C H W); mean squared errors; VGG input as in fast_style.perceptual"

# Convolutions before each max-pooling, and their filters (Simonyan and Zisserman 2014, table 1).
_STAGES: dict[str, list[tuple[int, int]]] = {
    "bundled": [(2, 64), (2, 128), (3, 256), (3, 512)],
    "vgg16": [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)],
    "vgg19": [(2, 64), (2, 128), (4, 256), (4, 512), (4, 512)],
}
_BUNDLED_FILE = "vgg16_relu4_3_fp16.safetensors"


def layer_names(vgg: VggName = "bundled") -> list[str]:
    """Name the layers that losses can be taken at, shallow to deep: relu1_1, relu1_2, ..."""
    if vgg not in get_args(VggName):
        raise UsageError(f"no VGG {vgg!r}; there are {', '.join(get_args(VggName))}")
    stages = enumerate(_STAGES[vgg], 1)
    return [f"relu{stage}_{i + 1}" for stage, (count, _) in stages for i in range(count)]


class Vgg(nn.Module):
    """The convolutions of a VGG network, frozen, as a feature extractor.

    Only the layers down to the deepest one asked for at construction are kept.
    """

    def __init__(self, name: VggName = "bundled", layers: Iterable[str] | None = None) -> None:
        """Load the weights of `name`, down to the deepest of `layers` (all, where None).

        Raises:
            UsageError: no such VGG, or a layer that it does not have.
            WeightsError: the weights are missing and cannot be downloaded, or are not intact.
            MissingExtraError: torchvision is needed and not installed.
        """
        super().__init__()
        known = layer_names(name)
        wanted = list(known if layers is None else layers)
        _check_layers(wanted, known, name)
        self.name = name
        self.layers = known[: 1 + max((known.index(layer) for layer in wanted), default=-1)]
        weights = _bundled_weights() if name == "bundled" else _torchvision_weights(name)
        self.convolutions = nn.ModuleDict()
        index, n_in = 0, 3
        for stage, (count, filters) in enumerate(_STAGES[name], 1):
            for i in range(count):
                layer = f"relu{stage}_{i + 1}"
                if layer in self.layers:
                    convolution = nn.Conv2d(n_in, filters, 3, padding=1)
                    convolution.load_state_dict(
                        {part: weights[f"features.{index}.{part}"] for part in ("weight", "bias")}
                    )
                    self.convolutions[layer] = convolution
                n_in = filters
                index += 2
            index += 1  # the max-pooling has a number of its own in torchvision's Sequential
        bundled = name == "bundled"
        mean = (103.939, 116.779, 123.68) if bundled else (0.485, 0.456, 0.406)
        deviation = (1.0, 1.0, 1.0) if bundled else (0.229, 0.224, 0.225)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Vgg":
        """Stay in evaluation mode, whatever the module around it does."""
        return super().train(False)

    def preprocess(self, images: Tensor) -> Tensor:
        """Bring RGB images, (B, 3, H, W) in [0, 1], to what the weights were trained on."""
        if self.name == "bundled":
            images = images.flip(1) * 255
        mean, deviation = self.get_buffer("mean"), self.get_buffer("deviation")
        return (images - mean) / deviation if self.name != "bundled" else images - mean

    def forward(self, images: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Take features, computing no deeper than the deepest layer asked for.

        Args:
            images: RGB, shape (B, 3, H, W), range [0, 1] (values beyond are let through).
            layers: names such as relu1_2.

        Returns:
            Features after the rectification, by layer: (B, C, H / 2^k, W / 2^k), rounded down.

        Raises:
            UsageError: a layer that was not kept, or images too small for the deepest layer.
        """
        wanted = set(layers)
        _check_layers(wanted, self.layers, self.name)
        features = self.preprocess(images)
        found: dict[str, Tensor] = {}
        stage = "relu1"
        for layer in self.layers:
            if len(found) == len(wanted):
                break
            if not layer.startswith(stage):
                if min(features.shape[2:]) < 2:
                    raise UsageError(
                        f"{layer} needs images of at least {2 ** (int(layer[4]) - 1)} pixels a "
                        f"side, not {images.shape[3]}x{images.shape[2]}"
                    )
                features = functional.max_pool2d(features, 2)
                stage = layer[: len(stage)]
            # In place where nobody needs the value before it; it halves the memory traffic.
            features = functional.relu(self.convolutions[layer](features), inplace=True)
            if layer in wanted:
                found[layer] = features
        return found


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between channels, F F^T / (C*H*W), in float32 even under autocast.

    Args:
        features: shape (B, C, H, W).

    Returns:
        Shape (B, C, C); float64 for float64 features, else float32. The sums run over H*W products,
        which bfloat16 with its 8 bits of mantissa would get wrong by percents.
    """
    with torch.autocast(features.device.type, enabled=False):
        gram: Tensor = _Gram.apply(features)  # type: ignore[no-untyped-call]
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
        return product.transpose(1, 2).unflatten(2, ctx.sides)


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

    def __post_init__(self) -> None:
        """Check names and weights."""
        known = layer_names(self.vgg)
        _check_layers(self.content_layers, known, self.vgg)
        _check_layers(self.style_layers, known, self.vgg)
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
    """Content, style and total variation loss of pictures against photos and one painting.

    The painting's Gram matrices are computed once, here.
    """

    def __init__(self, config: LossConfig, style_image: Tensor) -> None:
        """Load the VGG and look at the painting, RGB of shape (1, 3, H, W), range [0, 1]."""
        super().__init__()
        self.config = config
        self.vgg = Vgg(config.vgg, [*config.content_layers, *config.style_layers])
        with torch.no_grad():
            features = self.vgg(style_image.float(), config.style_layers)
        self.style_grams = {name: gram_matrix(value) for name, value in features.items()}

    def forward(self, stylized: Tensor, content: Tensor) -> Losses:
        """Compare stylized pictures with their photos.

        Args:
            stylized: RGB, shape (B, 3, H, W), nominally [0, 1]; gradients flow to it.
            content: the photos, same shape and range; no gradient.

        Returns:
            The losses, averaged over the batch, in float32.
        """
        config = self.config
        zero = torch.zeros((), device=stylized.device)
        pictures = self.vgg(stylized, [*config.content_layers, *config.style_layers])
        with torch.no_grad():
            photos = self.vgg(content, config.content_layers)
        content_loss, style_loss, tv_loss = zero, zero, zero
        for layer, weight in config.content_layers.items():
            difference = functional.mse_loss(pictures[layer].float(), photos[layer].float())
            content_loss = content_loss + weight * difference
        for layer, weight in config.style_layers.items():
            self.style_grams[layer] = self.style_grams[layer].to(stylized.device)
            gram = gram_matrix(pictures[layer])
            difference = (gram - self.style_grams[layer]).square().mean()
            style_loss = style_loss + weight * difference
        if config.tv_weight:
            tv_loss = config.tv_weight * total_variation(stylized)
        content_loss = config.content_weight * content_loss
        style_loss = config.style_weight * style_loss
        return Losses(content_loss + style_loss + tv_loss, content_loss, style_loss, tv_loss)


def _check_layers(layers: Iterable[str], known: list[str], vgg: str) -> None:
    for layer in layers:
        if layer not in known:
            raise UsageError(f"VGG {vgg!r} has no layer {layer!r}; it has {', '.join(known)}")


def _bundled_weights() -> dict[str, Tensor]:
    with as_file(files("fast_style") / "weights" / _BUNDLED_FILE) as path:
        if not path.is_file():
            raise WeightsError(f"the bundled VGG weights are not at {path}: reinstall fast-style")
        return load_file(path)


def _published_url(name: VggName) -> str:
    """Where torchvision publishes its weights of `name`."""
    try:
        from torchvision.models import VGG16_Weights, VGG19_Weights
    except ImportError as error:
        raise MissingExtraError(f"VGG {name!r}", "torchvision", "train") from error
    url: str = {"vgg16": VGG16_Weights, "vgg19": VGG19_Weights}[name].IMAGENET1K_V1.url
    return url


def _torchvision_weights(name: VggName) -> dict[str, Tensor]:
    """Take torchvision's ImageNet weights from the torch hub folder; download them on first use."""
    url = _published_url(name)
    filename = url.rsplit("/", 1)[-1]
    # torch names its files NAME-HASH.pth, the hash being the first digits of the SHA-256.
    prefix = filename.removesuffix(".pth").rsplit("-", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / filename
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix)
        except (OSError, RuntimeError) as error:  # RuntimeError is torch's word for a wrong hash
            raise WeightsError(
                f"the weights of {name} could not be downloaded ({error}): fetch {url} on "
                f"another machine and put it at {path} (its SHA-256 begins with {prefix}), "
                "or use the bundled VGG"
            ) from error
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(prefix):
        raise WeightsError(
            f"{path} is not the file that torchvision published: its SHA-256 is {digest[:16]}..., "
            f"expected {prefix}...; delete it and fetch {url} again"
        )
    loaded: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return {key: value for key, value in loaded.items() if key.startswith("features.")}
