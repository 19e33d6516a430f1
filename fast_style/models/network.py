"""The transformer network as torch modules.

`architecture` says what the network is; this is how it runs. Three rewrites make it fast, and none
changes what it computes: instance norm as group norm with one channel a group (which stays
channels-last), nearest upsampling + convolution as one transposed convolution
(`upsample_convolution`), and the last convolution at half resolution (`output_convolution`). They
hold in training too: gradients reach the plain 3x3 and 9x9 weights, which a model file stores.

Training wraps the borders (`wrap`: circular padding in place of reflection). A network that learns
with reflection finds the border by the symmetry there, and puts what the painting asks for and the
photo has no place for into a band along it. A torus has no border to find, and what was learnt on
it leaves none with reflection.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_style.errors import UsageError
from fast_style.models.config import (
    KERNEL_OUTER,
    MINIMUM_SIDE,
    NORM_EPSILON,
    NetworkConfig,
    norm_layers,
)
from fast_style.models.padding import pad

Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""For each instance norm, by its name in `norm_layers`: mean and (biased) variance, each (B, C)."""


class InstanceNorm(nn.Module):
    """Instance normalization with affine parameters, on live or on given statistics.

    Ulyanov, Vedaldi and Lempitsky 2016 (arXiv 1607.08022), equation 5. It always uses the
    statistics of the input itself, in training and in evaluation, unless `given` holds others:
    then it is a fixed scale and shift for each channel, so that tiles of one picture agree.
    """

    given: tuple[Tensor, Tensor] | None
    """Mean and variance to use in place of the input's own, each (B, C) or (1, C)."""
    affine: tuple[Tensor, Tensor] | None
    """Scale and shift for each picture, each (B, C), in place of `weight` and `bias`: the
    conditional instance norm of Dumoulin, Shlens and Kudlur 2017 (1610.07629), equation 5."""

    def __init__(self, channels: int) -> None:
        """Start as a plain normalization: scale 1, shift 0."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.given = None
        self.affine = None

    def forward(self, features: Tensor) -> Tensor:
        """Normalize features of shape (B, C, H, W)."""
        scale, shift = self.affine or (self.weight, self.bias)
        if self.given is not None:
            mean, variance = self.given
            factor = scale * torch.rsqrt(variance + NORM_EPSILON)
            return _per_channel(features, factor, shift - mean * factor)
        several = features.shape[2:].numel() > 1  # batch norm refuses a single value
        if several and features.device.type == "cpu" and torch.is_grad_enabled():
            # On CPUs the gradient of torch's group norm takes ten times as long as all of its batch
            # norm, which is the same for a single picture.
            parts = torch.split(features, 1) if len(features) > 1 else (features,)
            scales, shifts = (part.expand(len(parts), -1) for part in (scale, shift))
            single = [
                functional.batch_norm(
                    part, None, None, scales[i], shifts[i], training=True, eps=NORM_EPSILON
                )
                for i, part in enumerate(parts)
            ]
            return torch.cat(single) if len(single) > 1 else single[0]
        if self.affine is None:
            return functional.group_norm(features, features.shape[1], scale, shift, NORM_EPSILON)
        normalized = functional.group_norm(features, features.shape[1], eps=NORM_EPSILON)
        return _per_channel(normalized, scale, shift)


def _per_channel(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale and shift features, (B, C, H, W), by (B, C)."""
    return features * scale[:, :, None, None] + shift[:, :, None, None]


class _Convolution(nn.Module):
    """Weight and bias of a convolution that `InstanceNorm` follows.

    The normalization cancels any constant added to a channel, so the bias is never applied and
    never trained. It is kept, at zero, for the names and the count of the published networks.
    """

    def __init__(self, shape: tuple[int, int, int, int], n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(n_out), requires_grad=False)
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))


class ConvolutionNorm(nn.Module):
    """Reflection (or circular) padding, convolution, instance norm."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1) -> None:
        """Take channels in and out, the kernel's side and the stride."""
        super().__init__()
        self.conv = _Convolution((n_out, n_in, kernel, kernel), n_out)
        self.norm = InstanceNorm(n_out)
        self.padding, self.stride = kernel // 2, stride

    def convolve(self, features: Tensor, wrap: bool = False) -> Tensor:
        """Give what the norm sees: (B, n_in, H, W) to (B, n_out, ceil(H/s), ceil(W/s))."""
        padded = pad(features, self.padding, "circular" if wrap else "reflect")
        return functional.conv2d(padded, self.conv.weight, stride=self.stride)

    def forward(self, features: Tensor, wrap: bool = False) -> Tensor:
        """Apply padding, convolution and norm."""
        normalized: Tensor = self.norm(self.convolve(features, wrap))
        return normalized


class UpsampleNorm(nn.Module):
    """Twofold upsampling with a 3x3 convolution, then instance norm."""

    def __init__(self, n_in: int, n_out: int, transposed: bool) -> None:
        """Take channels in and out; `transposed` learns the upsampling, else nearest neighbour."""
        super().__init__()
        shape = (n_in, n_out, 3, 3) if transposed else (n_out, n_in, 3, 3)
        self.conv = _Convolution(shape, n_out)
        self.norm = InstanceNorm(n_out)
        self.transposed = transposed

    def convolve(self, features: Tensor, wrap: bool = False) -> Tensor:
        """Give what the norm sees: (B, n_in, H, W) to (B, n_out, 2H, 2W)."""
        if not self.transposed:
            return upsample_convolution(features, self.conv.weight, wrap)
        if wrap:  # padding=3 crops two pixels more from each side
            features = pad(features, 1, "circular")
        return functional.conv_transpose2d(
            features, self.conv.weight, stride=2, padding=3 if wrap else 1, output_padding=1
        )

    def forward(self, features: Tensor, wrap: bool = False) -> Tensor:
        """Apply upsampling, convolution and norm."""
        normalized: Tensor = self.norm(self.convolve(features, wrap))
        return normalized


class ResidualBlock(nn.Module):
    """Two convolutions with instance norm, added to their input (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        """Take the channels, in and out."""
        super().__init__()
        self.first = ConvolutionNorm(channels, channels, 3)
        self.second = ConvolutionNorm(channels, channels, 3)

    def forward(self, features: Tensor, wrap: bool = False) -> Tensor:
        """Give features + block(features), shape unchanged; no activation after the sum."""
        hidden = functional.relu(self.first(features, wrap), inplace=True)
        residual: Tensor = self.second(hidden, wrap)
        return features + residual


class StyleNetwork(nn.Module):
    """Johnson-style transformer network, one for each style.

    Inside, and in its weights, the picture is on 0-255 at both ends, as in pytorch/examples.
    """

    def __init__(self, config: NetworkConfig | None = None) -> None:
        """Build the network of `config` (`standard` where none is given), freshly initialised."""
        super().__init__()
        self.config = config or NetworkConfig()
        width = self.config.width
        transposed = self.config.upsampling == "transposed"
        self.encoder = nn.ModuleList(
            [
                ConvolutionNorm(3, width, KERNEL_OUTER),
                ConvolutionNorm(width, 2 * width, 3, stride=2),
                ConvolutionNorm(2 * width, 4 * width, 3, stride=2),
            ]
        )
        self.trunk = nn.ModuleList(
            ResidualBlock(4 * width) for _ in range(self.config.residual_blocks)
        )
        self.decoder = nn.ModuleList(
            [
                UpsampleNorm(4 * width, 2 * width, transposed),
                UpsampleNorm(2 * width, width, transposed),
            ]
        )
        self.output = nn.Conv2d(width, 3, KERNEL_OUTER)
        self.reset_output()

    def reset_output(self) -> None:
        """Start the last layer so that the first pictures lie around mid-grey.

        The default initialisation gives pictures within one level of black on 0-255, and the first
        thousand steps go into leaving it. Thirty times the default weights, with the bias at
        mid-grey, give a faint picture (standard deviation about 10) in the middle of the range.
        """
        with torch.no_grad():
            self.output.reset_parameters()
            self.output.weight.mul_(30.0)
            assert self.output.bias is not None
            self.output.bias.fill_(127.5)

    def forward(self, images: Tensor, wrap: bool = False) -> Tensor:
        """Stylize a batch in one pass.

        Args:
            images: float RGB, shape (B, 3, H, W), range [0, 1]; H and W of 1 pixel or more.
            wrap: join opposite borders, as training does. Pictures whose sides are multiples of
                four, rolled by multiples of four pixels, then give the same picture, rolled.

        Returns:
            RGB of the same shape, nominally [0, 1] but not clamped: the perceptual loss needs the
            gradient of pixels that overshoot. Clamp it to show it.

        Raises:
            UsageError: the shape is not (B, 3, H, W) with pixels in it.
        """
        if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
            raise UsageError(
                f"the network takes images of shape (B, 3, H, W), not {tuple(images.shape)}"
            )
        height, width = images.shape[2:]
        features = images * 255
        short = (max(0, MINIMUM_SIDE - height), max(0, MINIMUM_SIDE - width))
        if any(short):
            features = functional.pad(features, (0, short[1], 0, short[0]), mode="replicate")
        for layer in self.encoder:
            features = functional.relu(layer(features, wrap), inplace=True)
        for layer in self.trunk:
            features = layer(features, wrap)
        for layer in self.decoder:
            features = functional.relu(layer(features, wrap), inplace=True)
        picture = output_convolution(features, self.output.weight, self.output.bias, wrap)
        if self.config.tanh:
            picture = torch.tanh(picture) * self.config.tanh
        return picture[:, :, :height, :width] / 255

    def norms(self) -> dict[str, InstanceNorm]:
        """The instance norms by name, in the order of the forward pass."""
        modules = dict(self.named_modules())
        found: dict[str, InstanceNorm] = {}
        for name in norm_layers(self.config):
            module = modules[name]
            assert isinstance(module, InstanceNorm)
            found[name] = module
        return found

    def fix_statistics(self, statistics: Statistics | None) -> None:
        """Give every instance norm fixed statistics; None gives each picture its own again.

        Raises:
            UsageError: a layer is missing, or its shape does not fit.
        """
        norms = self.norms()
        if statistics is None:
            for norm in norms.values():
                norm.given = None
            return
        for name, norm in norms.items():
            if name not in statistics:
                raise UsageError(f"statistics for {name} are missing")
            mean, variance = statistics[name]
            channels = norm.weight.shape[0]
            if mean.ndim != 2 or mean.shape[1] != channels or mean.shape != variance.shape:
                raise UsageError(
                    f"statistics for {name}: expected mean and variance of shape (B, {channels}), "
                    f"not {tuple(mean.shape)} and {tuple(variance.shape)}"
                )
            norm.given = (mean, variance)

    @torch.no_grad()
    def measure_statistics(self, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Take each instance norm's mean and variance over whole images, shape (B, 3, H, W)."""
        measured: dict[str, tuple[Tensor, Tensor]] = {}

        def keep(name: str):  # type: ignore[no-untyped-def]
            def hook(_: nn.Module, inputs: tuple[Tensor]) -> None:
                variance, mean = torch.var_mean(inputs[0].float(), dim=(2, 3), correction=0)
                measured[name] = (mean, variance)

            return hook

        handles = [norm.register_forward_pre_hook(keep(n)) for n, norm in self.norms().items()]
        try:
            self(images)
        finally:
            for handle in handles:
                handle.remove()
        return measured


def upsample_convolution(features: Tensor, weight: Tensor, wrap: bool = False) -> Tensor:
    """Nearest upsampling by 2, reflection padding by 1 and a 3x3 convolution, as one operation.

    Each output pixel sees a 2x2 neighbourhood of the small picture, so the three together equal a
    transposed convolution (kernel 4, stride 2, padding 3) of the input padded by replication, whose
    kernel is the 3x3 kernel convolved with a 2x2 box of ones: 2.25 times fewer multiplications and
    no upsampled tensor.

    Args:
        features: shape (B, C, H, W).
        weight: the convolution's, shape (N, C, 3, 3).
        wrap: pad by what lies at the opposite border instead.

    Returns:
        Features of shape (B, N, 2H, 2W).
    """
    # Correlation with the 3x3 kernel becomes a transposed correlation with its mirror image.
    mirrored = functional.pad(weight.flip(2, 3), (1, 1, 1, 1))
    box = mirrored[..., 1:, :] + mirrored[..., :-1, :]
    kernel = (box[..., 1:] + box[..., :-1]).transpose(0, 1)
    padded = pad(features, 1, "circular" if wrap else "replicate")
    return functional.conv_transpose2d(padded, kernel, stride=2, padding=3)


def output_convolution(
    features: Tensor, weight: Tensor, bias: Tensor | None, wrap: bool = False
) -> Tensor:
    """Reflection padding and the last convolution, computed at half resolution.

    Three output channels leave most vector lanes idle. A (k+1)x(k+1) convolution of stride 2 with
    twelve output channels, one for each pixel of a 2x2 cell, followed by a pixel shuffle, is the
    same map with full lanes.

    Args:
        features: shape (B, C, H, W), H and W even.
        weight: shape (3, C, k, k), k odd.
        bias: shape (3,), or None.
        wrap: pad by what lies at the opposite border instead.

    Returns:
        Shape (B, 3, H, W).
    """
    cells = [(0, 0), (0, 1), (1, 0), (1, 1)]
    shifted = [functional.pad(weight, (x, 1 - x, y, 1 - y)) for y, x in cells]
    kernel = torch.stack(shifted, dim=1).flatten(0, 1)  # pixel_shuffle's order: channel, then cell
    wide_bias = None if bias is None else bias.repeat_interleave(4)
    padded = pad(features, weight.shape[-1] // 2, "circular" if wrap else "reflect")
    return functional.pixel_shuffle(functional.conv2d(padded, kernel, wide_bias, stride=2), 2)
