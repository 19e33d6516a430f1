"""A style as a TorchScript or `torch.export` program, which does all that `onnx_file` does."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_style._version import __version__
from fast_style.errors import ExportError
from fast_style.models.config import MINIMUM_SIDE, NORM_EPSILON
from fast_style.models.model_file import StyleModel
from fast_style.models.network import StyleNetwork, output_convolution
from fast_style.styles.exporting.onnx_file import GRAIN_SIDE, grain_tile
from fast_style.styles.exporting.options import ExportOptions, describe_model

# What the programs are traced with; odd sides, so that none is taken for a multiple of four.
_EXAMPLE = (37, 43)


class ExportedStyle(nn.Module):
    """A style network with all that an app would have to do around it."""

    grain: Tensor

    def __init__(self, model: StyleModel, options: ExportOptions) -> None:
        """Build it from a model.

        Raises:
            ExportError: weights that float16 cannot hold.
        """
        super().__init__()
        self.network = StyleNetwork(model.card.network)
        self.network.load_state_dict({k: torch.from_numpy(v) for k, v in model.weights.items()})
        self.eval().requires_grad_(False)
        if options.float16:
            for name, layer in self.network.named_modules():
                if name.endswith("conv") or name == "output":
                    layer.half()
                    if not all(bool(value.isfinite().all()) for value in layer.parameters()):
                        raise ExportError(
                            f"{name} holds values that float16 cannot; leave --float16 out"
                        )
        self.options = options
        amplitude = model.card.grain if options.grain else 0
        self.has_grain = amplitude > 0
        tile = torch.from_numpy(grain_tile(amplitude)).permute(2, 0, 1)[None].to(torch.int8)
        self.register_buffer("grain", tile.contiguous())

    def forward(self, image: Tensor) -> Tensor:
        """Stylize a batch; shapes and ranges are those of the options."""
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
        whole = self._stylize(picture.clamp(0, 255))
        # A crop by bounds would have torch.export prove that the picture is large enough.
        stylized = whole[:, :, rows][:, :, :, columns].clamp(0, 255)
        if not self.options.uint8:
            return stylized / 255
        levels = stylized.round().to(torch.uint8).permute(0, 2, 3, 1)
        return torch.cat([levels, image[..., 3:]], dim=3) if self.options.rgba else levels

    def _stylize(self, features: Tensor) -> Tensor:
        """The network itself, on 0-255; norms compute in float32 whatever the convolutions do."""
        network, half = self.network, self.options.float16
        kind = torch.float16 if half else torch.float32

        def layer(part: Any, features: Tensor) -> Tensor:
            # Written out: torch.export takes the sides for fixed where it meets a group norm.
            convolved = part.convolve(features.to(kind)).to(torch.float32)
            variance, mean = torch.var_mean(convolved, dim=(2, 3), correction=0, keepdim=True)
            normalized = (convolved - mean) * torch.rsqrt(variance + NORM_EPSILON)
            scale, shift = part.norm.weight[:, None, None], part.norm.bias[:, None, None]
            result: Tensor = normalized * scale + shift
            return result

        for part in network.encoder:
            features = functional.relu(layer(part, features))
        for block in network.trunk:
            assert isinstance(block, nn.Module)
            inner = functional.relu(layer(block.first, features))
            features = features + layer(block.second, inner)
        for part in network.decoder:
            features = functional.relu(layer(part, features))
        output = network.output
        picture = output_convolution(features.to(kind), output.weight, output.bias)
        picture = picture.to(torch.float32)
        tanh = network.config.tanh
        return torch.tanh(picture) * tanh if tanh else picture


def write_torchscript(path: Path, model: StyleModel, options: ExportOptions) -> None:
    """Write a TorchScript program; its metadata is the extra file `fast_style.txt`.

    Raises:
        ExportError: weights that float16 cannot hold.
    """
    program = ExportedStyle(model, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is to go: who asks for it knows
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
        first = 1 if options.uint8 else 2
        names = {0: "batch", first: "height", first + 1: "width"}
        free = {
            axis: torch.export.Dim(name, min=1 if name == "batch" else MINIMUM_SIDE)
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
    batch = 1 if options.size else 2  # one of each free side would be taken for fixed
    if options.uint8:
        return torch.full((batch, height, width, options.channels), 128, dtype=torch.uint8)
    return torch.rand((batch, 3, height, width), generator=torch.Generator().manual_seed(0))


def _metadata(model: StyleModel, options: ExportOptions) -> str:
    about = describe_model(model.card, options, __version__)
    return "".join(f"{key}: {value}\n" for key, value in about.items())
