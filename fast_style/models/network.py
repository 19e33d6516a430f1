"""The transformer network in torch.

`StyleNetwork` walks the layers of `models.config`. Three rewrites make it fast without changing
what it computes: instance norm as group norm with one channel a group (which keeps the
channels-last memory format), nearest upsampling + convolution as one transposed convolution
(`upsample_convolution`), and the last convolution at half resolution (`output_convolution`). They
are used in training too: gradients reach the plain 3x3 and 9x9 weights that a model file stores.

Training pads by wrapping around (`wrap`: circular padding in place of reflection). A network that
is trained with reflection recognises the border by its symmetry, and draws a band of unwanted
patterns along it. Circular padding has no border to recognise, and a network trained with it draws
no band when it later runs with reflection.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fast_style.errors import UsageError
from fast_style.models.config import (
    NORM_EPSILON,
    ConvolutionLayer,
    Layer,
    NetworkConfig,
    NormLayer,
    OutputLayer,
    ReluLayer,
    ResidualEnd,
    ResidualStart,
    TanhLayer,
    UpsampleLayer,
    minimum_side,
)

LayerStatistics = Mapping[str, tuple[Tensor, Tensor]]
"""Mean and (biased) variance, each (B, C), for each instance norm by its name in `norm_layers`."""


class InstanceNorm(nn.Module):
    """Instance normalization with affine parameters, on the input's statistics or on given ones.

    Ulyanov, Vedaldi and Lempitsky 2016 (arXiv 1607.08022), equation 5. It uses the statistics of
    the input itself, in training and in evaluation, unless `given` holds others: then it is a fixed
    scale and shift for each channel, so that tiles of one picture agree.
    """

    given: tuple[Tensor, Tensor] | None
    """Mean and variance to use in place of the input's own, each (B, C) or (1, C)."""
    affine: tuple[Tensor, Tensor] | None
    """Scale and shift for each picture, each (B, C), in place of `weight` and `bias`: the
    conditional instance norm of Dumoulin, Shlens and Kudlur 2017 (1610.07629), equation 5."""

    def __init__(self, channels: int) -> None:
        """Start with scale 1 and shift 0."""
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
            return _scale_channels(features, factor, shift - mean * factor)
        several = features.shape[2:].numel() > 1  # batch norm refuses a single value
        if several and features.device.type == "cpu" and torch.is_grad_enabled():
            # On CPUs, the gradient of torch's group norm takes ten times as long as batch norm,
            # forward and backward together; for a single picture both compute the same.
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
        return _scale_channels(normalized, scale, shift)


def _scale_channels(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale and shift features, (B, C, H, W), by (B, C)."""
    return features * scale[:, :, None, None] + shift[:, :, None, None]


class PaddedConvolution(nn.Module):
    """A `ConvolutionLayer` or `UpsampleLayer` with its parameters."""

    def __init__(self, layer: ConvolutionLayer | UpsampleLayer) -> None:
        """Initialise the weight as torch does, and the bias with zeros."""
        super().__init__()
        self.layer = layer
        self.weight = nn.Parameter(torch.empty(layer.weight_shape))
        self.uses_bias = isinstance(layer, ConvolutionLayer) and layer.uses_bias
        self.bias = nn.Parameter(torch.zeros(layer.n_out), requires_grad=self.uses_bias)
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, features: Tensor, wrap: bool = False) -> Tensor:
        """Convolve features of shape (B, n_in, H, W); see the layer for the shape that it gives."""
        layer = self.layer
        if isinstance(layer, ConvolutionLayer):
            padded = pad(features, layer.kernel // 2, "circular" if wrap else "reflect")
            bias = self.bias if self.uses_bias else None
            return functional.conv2d(
                padded, self.weight, bias, stride=layer.stride, groups=layer.groups
            )
        if layer.method == "nearest":
            return upsample_convolution(features, self.weight, wrap)
        if wrap:  # padding=3 crops two pixels more from each side
            features = pad(features, 1, "circular")
        return functional.conv_transpose2d(
            features, self.weight, stride=2, padding=3 if wrap else 1, output_padding=1
        )


class OutputConvolution(nn.Conv2d):
    """An `OutputLayer` with its parameters."""

    def __init__(self, layer: OutputLayer) -> None:
        """Initialise; see `reset_parameters`."""
        super().__init__(layer.n_in, layer.n_out, layer.kernel)

    def reset_parameters(self) -> None:
        """Initialise so that an untrained network gives pictures around mid-grey.

        The default initialisation gives pictures within one level of black on 0-255, and leaving
        that takes the first thousand steps of training. Thirty times the default weights, with the
        bias at mid-grey, give a faint picture (standard deviation about 10) in the middle of the
        range.
        """
        super().reset_parameters()
        assert self.bias is not None
        with torch.no_grad():
            self.weight.mul_(30.0)
            self.bias.fill_(127.5)

    def forward(self, features: Tensor, wrap: bool = False) -> Tensor:
        """Turn features of shape (B, n_in, H, W), H and W even, into pictures (B, 3, H, W)."""
        return output_convolution(features, self.weight, self.bias, wrap)


class StyleNetwork(nn.Module):
    """The transformer network of one style.

    Inside, and in its weights, the picture is on 0-255 at both ends, as in pytorch/examples.
    """

    def __init__(self, config: NetworkConfig | None = None) -> None:
        """Build the network of `config` (`standard` if None), freshly initialised."""
        super().__init__()
        self.config = config or NetworkConfig()
        # In a plain list: the modules are registered once, under the names of their layers.
        self._steps: list[tuple[Layer, nn.Module | None]] = []
        for layer in self.config.layers():
            module: nn.Module | None = None
            if isinstance(layer, NormLayer):
                module = self._register(layer.name, InstanceNorm(layer.channels))
            elif isinstance(layer, ConvolutionLayer | UpsampleLayer):
                module = self._register(layer.name, PaddedConvolution(layer))
            elif isinstance(layer, OutputLayer):
                module = self._register(layer.name, OutputConvolution(layer))
            self._steps.append((layer, module))

    def _register(self, name: str, module: nn.Module) -> nn.Module:
        """Add a module under a name with dots, which begins the names of its parameters."""
        parent: nn.Module = self
        *path, last = name.split(".")
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, module)
        return module

    def forward(self, images: Tensor, wrap: bool = False) -> Tensor:
        """Stylize a batch in one pass.

        Args:
            images: float RGB, shape (B, 3, H, W), range [0, 1]; H and W of 1 pixel or more.
            wrap: pad by wrapping around, as training does. Pictures whose sides are multiples of
                `total_stride`, rolled by multiples of it, then give the same picture, rolled.

        Returns:
            RGB of the same shape, nominally [0, 1] but not clamped: the perceptual loss needs the
            gradient of pixels that overshoot. Clamp it before showing it.

        Raises:
            UsageError: the shape is not (B, 3, H, W) with pixels in it.
        """
        if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
            raise UsageError(
                f"the network takes images of shape (B, 3, H, W), not {tuple(images.shape)}"
            )
        height, width = images.shape[2:]
        features = images * 255
        least = minimum_side(self.config)
        short = (max(0, least - height), max(0, least - width))
        if any(short):
            features = functional.pad(features, (0, short[1], 0, short[0]), mode="replicate")
        return self.run_layers(features, wrap)[:, :, :height, :width] / 255

    def run_layers(self, features: Tensor, wrap: bool = False) -> Tensor:
        """Run all layers.

        Args:
            features: RGB on 0-255, shape (B, 3, H, W), sides of `minimum_side` or more.
            wrap: as in `forward`.

        Returns:
            RGB, nominally 0-255, with sides rounded up to multiples of `total_stride`.
        """
        kept: list[Tensor] = []
        for layer, module in self._steps:
            if isinstance(layer, ResidualStart):
                kept.append(features)
            elif isinstance(layer, ResidualEnd):
                features = kept.pop() + features
            elif isinstance(layer, ReluLayer):
                in_place = not kept or kept[-1] is not features
                features = functional.relu(features, inplace=in_place)
            elif isinstance(layer, TanhLayer):
                features = torch.tanh(features) * layer.scale
            else:
                assert module is not None
                features = self.run_module(module, features, wrap)
        return features

    def run_module(self, module: nn.Module, features: Tensor, wrap: bool) -> Tensor:
        """Run one layer that has parameters."""
        is_norm = isinstance(module, InstanceNorm)
        result: Tensor = module(features) if is_norm else module(features, wrap)
        return result

    def norms(self) -> dict[str, InstanceNorm]:
        """Return the instance norms by name, in the order of the forward pass."""
        return {
            layer.name: module
            for layer, module in self._steps
            if isinstance(layer, NormLayer) and isinstance(module, InstanceNorm)
        }

    def fix_statistics(self, statistics: LayerStatistics | None) -> None:
        """Fix the statistics of every instance norm; None uses each picture's own again.

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
        """Measure what each instance norm sees in whole images.

        Args:
            images: shape (B, 3, H, W), range [0, 1].

        Returns:
            Mean and biased variance over all pixels, each (B, C), for each norm by its name.
        """
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
        wrap: pad with pixels of the opposite border instead.

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
        wrap: pad with pixels of the opposite border instead.

    Returns:
        Shape (B, 3, H, W).
    """
    cells = [(0, 0), (0, 1), (1, 0), (1, 1)]
    shifted = [functional.pad(weight, (x, 1 - x, y, 1 - y)) for y, x in cells]
    kernel = torch.stack(shifted, dim=1).flatten(0, 1)  # pixel_shuffle's order: channel, then cell
    wide_bias = None if bias is None else bias.repeat_interleave(4)
    padded = pad(features, weight.shape[-1] // 2, "circular" if wrap else "reflect")
    return functional.pixel_shuffle(functional.conv2d(padded, kernel, wide_bias, stride=2), 2)


def pad(features: Tensor, count: int, mode: Literal["circular", "reflect", "replicate"]) -> Tensor:
    """Pad all four sides as `functional.pad` does, and keep the memory format.

    torch's own circular padding loses the channels-last format, so that the next convolution copies
    once more, and its gradient is assembled from a dozen slices, each with zeros of the whole size.

    Args:
        features: shape (B, C, H, W).
        count: pixels on each side: at most H and W, less than both for `reflect`.
        mode: see `torch.nn.functional.pad`.

    Returns:
        Shape (B, C, H + 2 count, W + 2 count).
    """
    if mode != "circular":
        return functional.pad(features, (count,) * 4, mode=mode)
    padded: Tensor = _CircularPadding.apply(features, count)
    return padded


class _CircularPadding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, count: int) -> Tensor:
        ctx.count = count
        return _wrap_around(_wrap_around(features, 2, count), 3, count)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _add_margins(_add_margins(gradient, 2, ctx.count), 3, ctx.count), None


def _wrap_around(features: Tensor, dim: int, count: int) -> Tensor:
    """Repeat the end of a dimension before it, and its beginning after it."""
    length = features.shape[dim]
    before, after = features.narrow(dim, length - count, count), features.narrow(dim, 0, count)
    return torch.cat([before, features, after], dim)


def _add_margins(gradient: Tensor, dim: int, count: int) -> Tensor:
    """Cut the margins off a dimension and add them to the pixels that they are copies of."""
    length = gradient.shape[dim] - 2 * count
    inside = gradient.narrow(dim, count, length).clone()
    inside.narrow(dim, length - count, count).add_(gradient.narrow(dim, 0, count))
    inside.narrow(dim, 0, count).add_(gradient.narrow(dim, count + length, count))
    return inside
