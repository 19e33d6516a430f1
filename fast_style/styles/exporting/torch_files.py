"""A style as a self-contained TorchScript or `torch.export` program, as in `onnx_file`."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fast_style._version import __version__
from fast_style.errors import ExportError
from fast_style.models.config import NORM_EPSILON, minimum_side
from fast_style.models.model_file import StyleModel
from fast_style.models.network import (
    InstanceNorm,
    OutputConvolution,
    PaddedConvolution,
    StyleNetwork,
)
from fast_style.styles.exporting.onnx_file import GRAIN_SIDE, grain_tile
from fast_style.styles.exporting.options import ExportOptions, describe_model

# Height and width for tracing: odd, so that no side is assumed to be a multiple of four.
_EXAMPLE = (37, 43)


class ExportedNetwork(StyleNetwork):
    """A style network that exporters can trace; its convolutions may be in float16."""

    def halve_convolutions(self) -> None:
        """Convert all convolutions to float16.

        Raises:
            ExportError: weights that float16 cannot hold.
        """
        for name, module in self.named_modules():
            if isinstance(module, PaddedConvolution | OutputConvolution):
                module.half()
                if not all(bool(value.isfinite().all()) for value in module.parameters()):
                    raise ExportError(
                        f"{name} holds values that float16 cannot; leave --float16 out"
                    )

    def run_module(self, module: nn.Module, features: Tensor, wrap: bool) -> Tensor:
        """Run a layer; features between layers are float32, and so is every norm."""
        if isinstance(module, InstanceNorm):
            # Written out: torch.export assumes fixed sides where it meets a group norm.
            variance, mean = torch.var_mean(features, dim=(2, 3), correction=0, keepdim=True)
            normalized = (features - mean) * torch.rsqrt(variance + NORM_EPSILON)
            return normalized * module.weight[:, None, None] + module.bias[:, None, None]
        features = features.to(next(module.parameters()).dtype)
        return super().run_module(module, features, wrap).to(torch.float32)


class ExportedStyle(nn.Module):
    """A style network with the steps before and after it that an app would have to write."""

    grain: Tensor

    def __init__(self, model: StyleModel, options: ExportOptions) -> None:
        """Build the program of a model.

        Raises:
            ExportError: weights that float16 cannot hold.
        """
        super().__init__()
        self.network = ExportedNetwork(model.card.network)
        self.network.load_state_dict({k: torch.from_numpy(v) for k, v in model.weights.items()})
        self.eval().requires_grad_(False)
        if options.float16:
            self.network.halve_convolutions()
        self.options = options
        amplitude = model.card.grain if options.grain else 0
        self.has_grain = amplitude > 0
        tile = torch.from_numpy(grain_tile(amplitude)).permute(2, 0, 1)[None].to(torch.int8)
        self.register_buffer("grain", tile.contiguous())

    def forward(self, image: Tensor) -> Tensor:
        """Stylize a batch; `ExportOptions` describes shapes and ranges."""
        if self.options.uint8:
            picture = image[..., :3].permute(0, 3, 1, 2).to(torch.float32)
        else:
            picture = image * 255
        height, width = picture.shape[2], picture.shape[3]
        rows = torch.arange(height, device=image.device)
        columns = torch.arange(width, device=image.device)
        if self.has_grain:
            tile = self.grain[:, :, rows % GRAIN_SIDE]
            picture = picture + tile[:, :, :, columns % GRAIN_SIDE]
        whole = self.network.run_layers(picture.clamp(0, 255))
        # For a crop by bounds, torch.export would have to prove that the picture is large enough.
        stylized = whole[:, :, rows][:, :, :, columns].clamp(0, 255)
        if not self.options.uint8:
            return stylized / 255
        levels = stylized.round().to(torch.uint8).permute(0, 2, 3, 1)
        return torch.cat([levels, image[..., 3:]], dim=3) if self.options.rgba else levels


def write_torchscript(path: Path, model: StyleModel, options: ExportOptions) -> None:
    """Write a TorchScript program; its metadata is the extra file `fast_style.txt`.

    Raises:
        ExportError: weights that float16 cannot hold.
    """
    program = ExportedStyle(model, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is deprecated
        trace: Any = torch.jit.trace
        traced = trace(program, _example(options), check_trace=False)
        traced.save(str(path), _extra_files={"fast_style.txt": _metadata(model, options)})


def write_pt2(path: Path, model: StyleModel, options: ExportOptions) -> None:
    """Write a `torch.export` program; its metadata is the extra file `fast_style.txt`.

    Raises:
        ExportError: weights that float16 cannot hold.
    """
    program = ExportedStyle(model, options)
    free: dict[int, Any] = {}
    if options.size is None:
        first, shortest = 1 if options.uint8 else 2, minimum_side(model.card.network)
        names = {0: "batch", first: "height", first + 1: "width"}
        free = {
            axis: torch.export.Dim(name, min=1 if name == "batch" else shortest)
            for axis, name in names.items()
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            program, (_example(options),), dynamic_shapes={"image": free or None}
        )
        torch.export.save(
            exported, str(path), extra_files={"fast_style.txt": _metadata(model, options)}
        )


def run_torchscript(path: Path, image: Tensor) -> Tensor:
    """Run what `write_torchscript` wrote."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load: Any = torch.jit.load
        program = load(str(path))
    with torch.inference_mode():
        result: Tensor = program(image)
    return result


def run_pt2(path: Path, image: Tensor) -> Tensor:
    """Run what `write_pt2` wrote."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(str(path)).module()
    with torch.inference_mode():
        result: Tensor = program(image)
    return result


def _example(options: ExportOptions) -> Tensor:
    height, width = options.size or _EXAMPLE
    batch = 1 if options.size else 2  # torch.export assumes that a free size of 1 is fixed
    if options.uint8:
        return torch.full((batch, height, width, options.channels), 128, dtype=torch.uint8)
    return torch.rand((batch, 3, height, width), generator=torch.Generator().manual_seed(0))


def _metadata(model: StyleModel, options: ExportOptions) -> str:
    about = describe_model(model.card, options, __version__)
    return "".join(f"{key}: {value}\n" for key, value in about.items())
