"""The networks of the three projects whose checkpoints can be imported.

Written anew from what each of them computes, with the names that each gives its parameters.
Pictures are float64 RGB of shape (H, W, 3) on 0-255.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class Padded(nn.Module):
    """A convolution after reflection, under the name the project gives it."""

    def __init__(self, name: str, n_in: int, n_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.name, self.amount = name, kernel // 2
        self.add_module(name, nn.Conv2d(n_in, n_out, kernel, stride))

    def forward(self, x):
        return getattr(self, self.name)(functional.pad(x, (self.amount,) * 4, mode="reflect"))


class Nested(Padded):
    """gordicaleksa's: the convolution is a module further down, and upsampling comes first."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__("conv2d", n_in, n_out, 3)
        inner = self.conv2d
        del self.conv2d
        self.conv2d = nn.Module()
        self.conv2d.conv2d = inner

    def forward(self, x):
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        return self.conv2d.conv2d(functional.pad(x, (1,) * 4, mode="reflect"))


def norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


class Block(nn.Module):
    """A residual block of pytorch/examples, which gordicaleksa took over."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.in1 = Padded("conv2d", channels, channels, 3), norm(channels)
        self.conv2, self.in2 = Padded("conv2d", channels, channels, 3), norm(channels)

    def forward(self, x):
        return x + self.in2(self.conv2(self.in1(self.conv1(x)).relu()))


class Examples(nn.Module):
    """pytorch/examples, fast_neural_style: RGB 0-255 in and out."""

    decoder = "deconv"

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        w, self.blocks = width, blocks
        self.conv1, self.in1 = Padded("conv2d", 3, w, 9), norm(w)
        self.conv2, self.in2 = Padded("conv2d", w, 2 * w, 3, 2), norm(2 * w)
        self.conv3, self.in3 = Padded("conv2d", 2 * w, 4 * w, 3, 2), norm(4 * w)
        for i in range(blocks):
            self.add_module(f"res{i + 1}", Block(4 * w))
        self.add_module(f"{self.decoder}1", self.up(4 * w, 2 * w))
        self.in4 = norm(2 * w)
        self.add_module(f"{self.decoder}2", self.up(2 * w, w))
        self.in5 = norm(w)
        self.add_module(f"{self.decoder}3", Padded("conv2d", w, 3, 9))

    @staticmethod
    def up(n_in: int, n_out: int) -> nn.Module:
        return Padded("conv2d", n_in, n_out, 3)

    def enlarged(self, x):
        return functional.interpolate(x, scale_factor=2, mode="nearest")

    def forward(self, x):
        x = self.in1(self.conv1(x)).relu()
        x = self.in2(self.conv2(x)).relu()
        x = self.in3(self.conv3(x)).relu()
        for i in range(self.blocks):
            x = getattr(self, f"res{i + 1}")(x)
        first, second, last = (getattr(self, f"{self.decoder}{i}") for i in (1, 2, 3))
        x = self.in4(first(self.enlarged(x))).relu()
        x = self.in5(second(self.enlarged(x))).relu()
        return last(x)

    def picture(self, pixels):
        return self(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].permute(1, 2, 0)


class Gordicaleksa(Examples):
    """gordicaleksa/pytorch-neural-style-transfer-johnson: ImageNet-normalized RGB in and out."""

    decoder = "up"

    @staticmethod
    def up(n_in: int, n_out: int) -> nn.Module:
        return Nested(n_in, n_out)

    def enlarged(self, x):
        return x

    def picture(self, pixels):
        planes = torch.from_numpy(pixels).permute(2, 0, 1) / 255
        stylized = self(((planes - MEAN) / DEVIATION)[None])[0]
        return ((stylized * DEVIATION + MEAN) * 255).permute(1, 2, 0)


class Convolution(Padded):
    """rrmina's, with its norm."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, normed: bool = True):
        super().__init__("conv_layer", n_in, n_out, kernel, stride)
        self.norm_layer = norm(n_out) if normed else nn.Identity()

    def forward(self, x):
        return self.norm_layer(super().forward(x))


class Transposed(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv_transpose = nn.ConvTranspose2d(n_in, n_out, 3, 2, 1, 1)
        self.norm_layer = norm(n_out)

    def forward(self, x):
        return self.norm_layer(self.conv_transpose(x))


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, channels, 3, 1)
        self.conv2 = Convolution(channels, channels, 3, 1)

    def forward(self, x):
        return self.conv2(self.conv1(x).relu()) + x


class Rrmina(nn.Module):
    """rrmina/fast-neural-style-pytorch: BGR 0-255 in and out; one variant ends in 150 * tanh."""

    def __init__(self, width: int, blocks: int, tanh: float = 0.0) -> None:
        super().__init__()
        w, self.tanh, relu = width, tanh, nn.ReLU
        self.ConvBlock = nn.Sequential(
            Convolution(3, w, 9, 1),
            relu(),
            Convolution(w, 2 * w, 3, 2),
            relu(),
            Convolution(2 * w, 4 * w, 3, 2),
            relu(),
        )
        self.ResidualBlock = nn.Sequential(*(Residual(4 * w) for _ in range(blocks)))
        self.DeconvBlock = nn.Sequential(
            Transposed(4 * w, 2 * w),
            relu(),
            Transposed(2 * w, w),
            relu(),
            Convolution(w, 3, 9, 1, normed=False),
        )

    def forward(self, x):
        x = self.DeconvBlock(self.ResidualBlock(self.ConvBlock(x)))
        return x.tanh() * self.tanh if self.tanh else x

    def picture(self, pixels):
        planes = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)
        return self(planes[None])[0].flip(0).permute(1, 2, 0)


PROJECTS = {"pytorch-examples": Examples, "rrmina": Rrmina, "gordicaleksa": Gordicaleksa}

# Where the middle of the range is, and how far pictures go from it, in each project's own values.
_OUTPUT = {Examples: (127.5, 20.0), Rrmina: (127.5, 20.0), Gordicaleksa: (0.0, 0.4)}


def make_network(layout: str, width: int, blocks: int, seed: int = 0, **more: Any) -> nn.Module:
    """A project's network with random weights, whose pictures have values all over the range."""
    torch.manual_seed(seed)
    network = PROJECTS[layout](width, blocks, **more)
    middle, spread = _OUTPUT[PROJECTS[layout]]
    if more.get("tanh"):
        middle, spread = 0.6, 0.3
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim == 1:
                is_scale = name.endswith("weight")
                value.copy_(torch.rand_like(value) + 0.5 if is_scale else torch.randn_like(value))
            elif value.shape[0] == 3 and value.shape[2] == 9:
                value.copy_(torch.randn_like(value) * spread / value[0].numel() ** 0.5)
                output_bias = name.removesuffix("weight") + "bias"
        network.get_parameter(output_bias).copy_(middle + torch.rand(3) * spread)
    return network.eval()


def project_picture(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """What the project gives for a picture, in float64 on 0-255, of the picture's size."""
    with torch.no_grad():
        whole = network.double().picture(pixels.astype(np.float64)).numpy()
    network.float()
    return whole[: pixels.shape[0], : pixels.shape[1]].clip(0, 255)
