"""Style networks by torch: on CUDA and Apple GPUs, and on CPUs where nothing else is installed."""

import copy
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fast_style.engines.base import (
    DEVICES,
    Device,
    EngineName,
    Pictures,
    Precision,
    Statistics,
    check_batch,
    choose_precision,
)
from fast_style.engines.cuda_graphs import (
    Capture,
    Compute,
    CudaCapture,
    GraphCache,
    PinnedMemory,
)
from fast_style.engines.onnx.graph import check_statistics
from fast_style.errors import EngineError
from fast_style.models.config import norm_layers
from fast_style.models.model_file import StyleModel
from fast_style.models.network import StyleNetwork

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, eq=False)
class Computation:
    """The network from pixels to pixels, all of it on the device.

    Attributes:
        network: on the device, channels-last.
        device: where it computes.
        precision: what it computes in.
    """

    network: StyleNetwork
    device: Device
    precision: Precision

    def __call__(self, pixels: Tensor) -> Tensor:
        """Stylize pictures, within `torch.inference_mode`.

        Args:
            pixels: RGB on the device, shape (B, H, W, 3), uint8.

        Returns:
            A new tensor of the same shape and type on the device; nothing waits for it.
        """
        with self.autocast():
            stylized = self.network(as_images(pixels))
        stylized = stylized.float().mul_(255).round_().clamp_(0, 255).to(torch.uint8)
        found: Tensor = stylized.permute(0, 2, 3, 1).contiguous()
        return found

    def autocast(self) -> AbstractContextManager[object]:
        """Compute in the precision meanwhile."""
        if self.precision == "fp32":
            return nullcontext()
        # Nothing to keep: each weight is used once. A graph must not see what was kept before it.
        return torch.autocast(self.device, dtype=_DTYPES[self.precision], cache_enabled=False)


def as_images(pixels: Tensor) -> Tensor:
    """Pixels of shape (B, H, W, 3) as images, (B, 3, H, W) in [0, 1], channels-last."""
    # (B, H, W, 3) in memory is (B, 3, H, W) channels-last, and stays so.
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)


class TorchEngine:
    """One style in torch, channels-last; pictures cross to the GPU and back as uint8.

    On CUDA, sizes that come again are computed by graphs, see `cuda_graphs`.
    """

    def __init__(
        self,
        model: StyleModel,
        device: str = "auto",
        precision: str = "auto",
        *,
        captures: Callable[[Compute], Capture] | None = None,
    ) -> None:
        """Build the network and move it to its device.

        Args:
            model: the style.
            device: `auto` (CUDA, else an Apple GPU, else the CPU) or one of `DEVICES`.
            precision: `auto` (bf16 where CUDA or the processor has it natively, else fp32) or
                one of `PRECISIONS`.
            captures: makes what captures graphs of a computation; None takes CUDA's on CUDA, and
                no graphs elsewhere.

        Raises:
            EngineError: a device or a precision that this machine does not have.
        """
        self._device = _choose_device(device)
        native = _native_precisions(self._device)
        automatic: Precision = "bf16" if "bf16" in native and self._device != "mps" else "fp32"
        self._precision = choose_precision(
            precision, native, automatic, f"torch on this machine's {self._device}"
        )
        network = StyleNetwork(model.card.network)
        network.load_state_dict(
            {name: torch.from_numpy(values) for name, values in model.weights.items()}
        )
        network.eval().requires_grad_(False)
        network.to(self._device)
        network = network.to(memory_format=torch.channels_last)
        self._lock = threading.Lock()
        if captures is None and self._device == "cuda":
            captures = CudaCapture
        self._captures = captures
        self._prepare(network)

    def _prepare(self, network: StyleNetwork) -> None:
        self._compute = Computation(network, self._device, self._precision)
        self._graphs = None if self._captures is None else GraphCache(self._captures(self._compute))

    @property
    def name(self) -> EngineName:
        """Always `torch`."""
        return "torch"

    @property
    def device(self) -> Device:
        """Where it computes."""
        return self._device

    @property
    def precision(self) -> Precision:
        """What it computes in."""
        return self._precision

    @property
    def computation(self) -> Computation:
        """What it computes, without the ways to the device and back."""
        return self._compute

    def predict(self, batch: Pictures) -> Pictures:
        """Stylize pictures; see `Engine.predict`."""
        check_batch(batch)
        with self._lock, torch.inference_mode():
            graph = None if self._graphs is None else self._graphs.find(batch.shape)
            if graph is not None:
                return graph.run(batch)
            try:
                return self._eager(batch)
            except torch.OutOfMemoryError:
                # The graphs may hold what is wanting.
                if self._graphs is None or not self._graphs.clear():
                    raise
            return self._eager(batch)

    def measure(self, batch: Pictures) -> Statistics:
        """Take the statistics of pictures; see `Engine.measure`."""
        check_batch(batch)
        with self._lock, torch.inference_mode(), self._compute.autocast():
            images = as_images(self._upload(batch))
            measured = self._compute.network.measure_statistics(images)
            layers = [torch.stack(measured[name], dim=1) for name in measured]
            result: Statistics = torch.cat(layers, dim=2).cpu().numpy()
        return result

    def freeze(self, statistics: Statistics) -> "TorchEngine":
        """Give an engine with fixed statistics; see `Engine.freeze`."""
        network = self._compute.network
        check_statistics(network.config, statistics)
        given, start = {}, 0
        for name, channels in norm_layers(network.config).items():
            part = torch.tensor(statistics[:, None, start : start + channels], device=self._device)
            given[name] = (part[0], part[1])
            start += channels
        frozen = copy.copy(self)
        network = copy.deepcopy(network)
        network.fix_statistics(given)
        frozen._lock = threading.Lock()
        frozen._prepare(network)
        return frozen

    def _eager(self, batch: Pictures) -> Pictures:
        """Stylize pictures operation by operation."""
        stylized = self._compute(self._upload(batch))
        if self._device == "cuda":
            return PinnedMemory(batch.shape).download(stylized)
        result: Pictures = stylized.cpu().numpy()
        return result

    def _upload(self, batch: Pictures) -> Tensor:
        """Bring pictures to the device as they are."""
        if self._device == "cuda":
            pixels = torch.empty(batch.shape, dtype=torch.uint8, device=self._device)
            return PinnedMemory(batch.shape).upload(batch, pixels)
        # A copy: the caller's may be read-only.
        return torch.from_numpy(np.array(batch, order="C")).to(self._device)


def _choose_device(wanted: str) -> Device:
    there: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return next(device for device in there if there[device])
    for device in DEVICES:
        if device == wanted and there[device]:
            return device
    reasons = {
        "cuda": "torch finds no CUDA GPU that it can use (no GPU, an old driver, or a torch built "
        "for CPUs only)",
        "mps": "torch finds no Apple GPU here",
    }
    raise EngineError(
        f"{reasons.get(wanted, f'no such device: {wanted}')}; choose device auto or cpu"
    )


def _native_precisions(device: Device) -> list[Precision]:
    if device == "mps":
        return ["fp32", "fp16"]
    if device == "cuda":
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ["fp32", "bf16", "fp16"] if bf16 else ["fp32", "fp16"]
    capabilities = torch.cpu.get_capabilities()
    return ["fp32", "bf16"] if capabilities.get("avx512_bf16") else ["fp32"]
