"""The torch engine: for CUDA and Apple GPUs, and for CPUs without OpenVINO and ONNX Runtime."""

import copy
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fast_style.engines.base import (
    Device,
    EngineName,
    NormStatistics,
    Pictures,
    Precision,
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
from fast_style.engines.torch_device import (
    automatic_precision,
    choose_device,
    native_precisions,
    respect_core_limit,
)
from fast_style.models.config import norm_layers
from fast_style.models.model_file import StyleModel
from fast_style.models.network import StyleNetwork

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, eq=False)
class Computation:
    """The network with its conversions from and to uint8 pixels, all on the device.

    Attributes:
        network: the network, on the device and channels-last.
        device: the device.
        precision: the precision that the network computes in.
    """

    network: StyleNetwork
    device: Device
    precision: Precision

    def __call__(self, pixels: Tensor) -> Tensor:
        """Stylize pictures, within `torch.inference_mode`.

        Args:
            pixels: RGB on the device, shape (B, H, W, 3), uint8.

        Returns:
            A new tensor of the same shape and type on the device, without synchronization.
        """
        with self.autocast():
            stylized = self.network(as_images(pixels))
        stylized = stylized.float().mul_(255).round_().clamp_(0, 255).to(torch.uint8)
        found: Tensor = stylized.permute(0, 2, 3, 1).contiguous()
        return found

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context manager within which torch computes in `precision`."""
        if self.precision == "fp32":
            return nullcontext()
        # No cast weights are cached: each is used once, and a captured graph must not refer to a
        # cache that was filled before its capture.
        return torch.autocast(self.device, dtype=_DTYPES[self.precision], cache_enabled=False)


def as_images(pixels: Tensor) -> Tensor:
    """Convert uint8 pixels (B, H, W, 3) to float32 (B, 3, H, W) in [0, 1], channels-last."""
    # (B, H, W, 3) is the memory layout of (B, 3, H, W) channels-last, so nothing is copied.
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)


class TorchEngine:
    """One style network in torch, channels-last; pictures are copied to and from a GPU as uint8.

    On CUDA, shapes that repeat are computed by captured graphs, see `cuda_graphs`.
    """

    def __init__(
        self,
        model: StyleModel,
        device: str = "auto",
        precision: str = "auto",
        *,
        captures: Callable[[Compute], Capture] | None = None,
    ) -> None:
        """Build the network on its device.

        Args:
            model: the style.
            device: `auto` (CUDA, else an Apple GPU, else the CPU) or one of `DEVICES`.
            precision: `auto` (bf16 where CUDA or the processor has it natively, else fp32) or
                one of `PRECISIONS`.
            captures: returns an object that captures graphs of a computation; None uses
                `CudaCapture` on CUDA and no graphs elsewhere.

        Raises:
            EngineError: this machine does not have the device or the precision.
        """
        self._device = choose_device(device)
        respect_core_limit()
        self._precision = choose_precision(
            precision,
            native_precisions(self._device),
            automatic_precision(self._device),
            f"torch on this machine's {self._device}",
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
        """Device that it computes on."""
        return self._device

    @property
    def precision(self) -> Precision:
        """Precision that it computes in."""
        return self._precision

    @property
    def computation(self) -> Computation:
        """The computation on the device, without the copies to and from it."""
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
                # Captured graphs hold memory that this picture may need.
                if self._graphs is None or not self._graphs.clear():
                    raise
            return self._eager(batch)

    def measure(self, batch: Pictures) -> NormStatistics:
        """Compute the norms' statistics of pictures; see `Engine.measure`."""
        check_batch(batch)
        with self._lock, torch.inference_mode(), self._compute.autocast():
            images = as_images(self._upload(batch))
            measured = self._compute.network.measure_statistics(images)
            layers = [torch.stack(measured[name], dim=1) for name in measured]
            result: NormStatistics = torch.cat(layers, dim=2).cpu().numpy()
        return result

    def freeze(self, statistics: NormStatistics) -> "TorchEngine":
        """Return an engine with fixed statistics; see `Engine.freeze`."""
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
        """Stylize pictures without a captured graph."""
        stylized = self._compute(self._upload(batch))
        if self._device == "cuda":
            return PinnedMemory(batch.shape).download(stylized)
        result: Pictures = stylized.cpu().numpy()
        return result

    def _upload(self, batch: Pictures) -> Tensor:
        """Copy pictures to the device as uint8."""
        if self._device == "cuda":
            pixels = torch.empty(batch.shape, dtype=torch.uint8, device=self._device)
            return PinnedMemory(batch.shape).upload(batch, pixels)
        # torch.from_numpy warns about read-only arrays, so the caller's is copied.
        return torch.from_numpy(np.array(batch, order="C")).to(self._device)
