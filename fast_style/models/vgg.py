"""Frozen VGG networks as feature extractors (Simonyan and Zisserman 2014, arXiv 1409.1556).

The weights of VGG-16 to relu4_3 are bundled; those of torchvision are downloaded on first use.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_style.errors import MissingExtraError, UsageError, WeightsError
from fast_style.models.vgg_weights import BGR_MEAN, STAGES, load_vgg_weights
from fast_style.models.winograd import convolve_and_rectify, transform_kernel
from fast_style.storage.downloads import OFFLINE_VARIABLE, is_offline

VggName = Literal["bundled", "vgg16", "vgg19"]

# Convolutions before each max-pooling, and their filters (Simonyan and Zisserman 2014, table 1).
_STAGES: dict[str, list[tuple[int, int]]] = {
    "bundled": list(STAGES),
    "vgg16": [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)],
    "vgg19": [(2, 64), (2, 128), (4, 256), (4, 512), (4, 512)],
}
WINOGRAD_FILTERS = 256
"""From this many filters, Winograd's convolution is faster than a direct one in float32."""


def layer_names(vgg: VggName = "bundled") -> list[str]:
    """Return the names of the layers, shallow to deep: relu1_1, relu1_2, ..."""
    if vgg not in get_args(VggName):
        raise UsageError(f"no VGG {vgg!r}; there are {', '.join(get_args(VggName))}")
    stages = enumerate(_STAGES[vgg], 1)
    return [f"relu{stage}_{i + 1}" for stage, (count, _) in stages for i in range(count)]


class _RectifiedConvolution(nn.Conv2d):
    """A frozen 3x3 convolution and its ReLU."""

    def __init__(self, n_in: int, filters: int) -> None:
        super().__init__(n_in, filters, 3, padding=1)
        # Computed when first needed; on a GPU or in bfloat16 it never is.
        self._kernel: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        if not (
            self.out_channels >= WINOGRAD_FILTERS
            and features.device.type == "cpu"
            and features.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
        ):
            # In place, which halves the memory traffic.
            return functional.relu(super().forward(features), inplace=True)
        if self._kernel is None:
            self._kernel = transform_kernel(self.weight)
        assert self.bias is not None
        return convolve_and_rectify(features, self._kernel, self.bias)


class Vgg(nn.Module):
    """The convolutions of a VGG network, frozen, as a feature extractor.

    Layers below the deepest one asked for at construction are left out.
    """

    def __init__(self, name: VggName = "bundled", layers: Iterable[str] | None = None) -> None:
        """Load the weights of `name`, down to the deepest of `layers` (all if None).

        Raises:
            UsageError: there is no such VGG, or it does not have a layer.
            WeightsError: the weights cannot be downloaded, or are damaged.
            MissingExtraError: torchvision is needed and not installed.
        """
        super().__init__()
        known = layer_names(name)
        wanted = list(known if layers is None else layers)
        check_layers(wanted, known, name)
        self.name = name
        self.layers = known[: 1 + max((known.index(layer) for layer in wanted), default=-1)]
        weights = _bundled_weights() if name == "bundled" else _torchvision_weights(name)
        self.convolutions = nn.ModuleDict()
        index, n_in = 0, 3
        for stage, (count, filters) in enumerate(_STAGES[name], 1):
            for i in range(count):
                layer = f"relu{stage}_{i + 1}"
                if layer in self.layers:
                    convolution = _RectifiedConvolution(n_in, filters)
                    convolution.load_state_dict(
                        {part: weights[f"features.{index}.{part}"] for part in ("weight", "bias")}
                    )
                    self.convolutions[layer] = convolution
                n_in = filters
                index += 2
            index += 1  # the max-pooling is a module in torchvision's Sequential
        bundled = name == "bundled"
        mean = BGR_MEAN if bundled else (0.485, 0.456, 0.406)
        deviation = (1.0, 1.0, 1.0) if bundled else (0.229, 0.224, 0.225)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Vgg":
        """Stay in evaluation mode, whatever the mode of the module around it."""
        return super().train(False)

    def preprocess(self, images: Tensor) -> Tensor:
        """Normalize RGB images, (B, 3, H, W) in [0, 1], as the weights were trained."""
        if self.name == "bundled":
            images = images.flip(1) * 255
        mean, deviation = self.get_buffer("mean"), self.get_buffer("deviation")
        return (images - mean) / deviation if self.name != "bundled" else images - mean

    def forward(self, images: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Compute the features of some layers.

        Args:
            images: RGB, shape (B, 3, H, W), range [0, 1] (values beyond are not clamped).
            layers: names such as relu1_2; nothing is computed below the deepest one.

        Returns:
            Features after the ReLU, by layer: (B, C, H / 2^k, W / 2^k), rounded down.

        Raises:
            UsageError: the layer was left out, or the images are too small for the deepest layer.
        """
        wanted = set(layers)
        check_layers(wanted, self.layers, self.name)
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
            features = self.convolutions[layer](features)
            if layer in wanted:
                found[layer] = features
        return found


def check_layers(layers: Iterable[str], known: list[str], vgg: str) -> None:
    """Check that a VGG has all of some layers; raises `UsageError`."""
    for layer in layers:
        if layer not in known:
            raise UsageError(f"VGG {vgg!r} has no layer {layer!r}; it has {', '.join(known)}")


def _bundled_weights() -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in load_vgg_weights().items()}


def _published_url(name: VggName) -> str:
    """Return the URL of torchvision's weights of `name`."""
    try:
        from torchvision.models import VGG16_Weights, VGG19_Weights
    except ImportError as error:
        raise MissingExtraError(f"VGG {name!r}", "torchvision", "train") from error
    url: str = {"vgg16": VGG16_Weights, "vgg19": VGG19_Weights}[name].IMAGENET1K_V1.url
    return url


def _torchvision_weights(name: VggName) -> dict[str, Tensor]:
    """Load torchvision's ImageNet weights from the torch hub folder, or download them to it."""
    url = _published_url(name)
    filename = url.rsplit("/", 1)[-1]
    # Files of torch are named NAME-HASH.pth, where HASH is the start of the SHA-256.
    prefix = filename.removesuffix(".pth").rsplit("-", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / filename
    if not path.exists():
        remedy = (
            f"fetch {url} on another machine and put it at {path} (its SHA-256 begins with "
            f"{prefix}), or use the bundled VGG"
        )
        if is_offline():
            raise WeightsError(
                f"the weights of {name} are not here, and {OFFLINE_VARIABLE} forbids downloads: "
                f"unset it, {remedy}"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError for a wrong hash
            raise WeightsError(
                f"the weights of {name} could not be downloaded ({error}): {remedy}"
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
