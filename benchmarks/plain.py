"""The same network, VGG and losses in plain torch, as in pytorch/examples, to compare with.

Without our rewrites: default memory format, nn.InstanceNorm2d, and a full VGG pass of the photo.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_style.models.config import NetworkConfig
from fast_style.models.perceptual_loss import Vgg


class PlainConvolution(nn.Module):
    """Reflection padding and convolution, with optional nearest upsampling before them."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, upsample: int = 1):
        super().__init__()
        self.upsample = upsample
        self.pad = nn.ReflectionPad2d(kernel // 2)
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample > 1:
            x = functional.interpolate(x, mode="nearest", scale_factor=self.upsample)
        return self.conv(self.pad(x))


class PlainResidual(nn.Module):
    """Two convolutions with instance norm, added to their input."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = PlainConvolution(channels, channels, 3)
        self.norm1 = nn.InstanceNorm2d(channels, affine=True)
        self.conv2 = PlainConvolution(channels, channels, 3)
        self.norm2 = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(self.conv1(x)))
        return x + self.norm2(self.conv2(inner))


def make_plain_network(config: NetworkConfig) -> nn.Sequential:
    """Return the transformer network, for RGB (B, 3, H, W) in 0-255, H and W multiples of 4."""
    w = config.width

    def block(*args: int, **kwargs: int) -> list[nn.Module]:
        convolution = PlainConvolution(*args, **kwargs)
        return [convolution, nn.InstanceNorm2d(args[1], affine=True), nn.ReLU()]

    return nn.Sequential(
        *block(3, w, 9),
        *block(w, 2 * w, 3, 2),
        *block(2 * w, 4 * w, 3, 2),
        *(PlainResidual(4 * w) for _ in range(config.residual_blocks)),
        *block(4 * w, 2 * w, 3, 1, 2),
        *block(2 * w, w, 3, 1, 2),
        PlainConvolution(w, 3, 9),
    )


class PlainVgg(nn.Module):
    """VGG-16 up to relu4_3 that always computes all four of its layers."""

    LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")

    def __init__(self) -> None:
        super().__init__()
        source = Vgg("bundled", self.LAYERS)
        self.slices = nn.ModuleList()
        layers: list[nn.Module] = []
        for name, convolution in source.convolutions.items():
            if name.endswith("_1") and name != "relu1_1":
                layers.append(nn.MaxPool2d(2))
            layers += [convolution, nn.ReLU()]
            if name in self.LAYERS:
                self.slices.append(nn.Sequential(*layers))
                layers = []
        self.register_buffer("mean", torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1))
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features of RGB images in 0-255."""
        features, found = images.flip(1) - self.get_buffer("mean"), []
        for part in self.slices:
            features = part(features)
            found.append(features)
        return found


def compute_plain_gram(features: Tensor) -> Tensor:
    """Compute Gram matrices as pytorch/examples does."""
    batch, channels, height, width = features.size()
    rows = features.view(batch, channels, height * width).float()
    return rows.bmm(rows.transpose(1, 2)) / (channels * height * width)


class PlainLoop:
    """The training step of pytorch/examples' neural_style.py, in float32 or bf16 autocast."""

    def __init__(self, config: NetworkConfig, style_image: Tensor, bf16: bool):
        torch.manual_seed(0)
        self.network, self.vgg, self.bf16 = make_plain_network(config), PlainVgg(), bf16
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3)
        with torch.no_grad():
            self.style = [compute_plain_gram(f) for f in self.vgg(style_image)]

    def step(self, photos: Tensor) -> float:
        """Run one step on RGB photos in 0-255, (B, 3, H, W); return the loss."""
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            pictures = self.network(photos)
            of_pictures, of_photos = self.vgg(pictures), self.vgg(photos)
            loss = functional.mse_loss(of_pictures[1], of_photos[1])
            for features, gram in zip(of_pictures, self.style, strict=True):
                grams = compute_plain_gram(features)
                loss = loss + 5 * functional.mse_loss(grams, gram.expand_as(grams))
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())
