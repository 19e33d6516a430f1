"""Style networks by torch: on CUDA and Apple GPUs, and on CPUs where nothing else is installed."""

import copy
import threading
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from fast_style.architecture import norm_layers
from fast_style.checkpoint import StyleModel
from fast_style.engines.protocol import (
    DEVICES,
    Device,
    EngineName,
    Pictures,
    Precision,
    Statistics,
    check_batch,
    choose_precision,
)
from fast_style.errors import EngineError
from fast_style.graph import check_statistics
from fast_style.networks import StyleNetwork

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine:
    """One style in torch, channels-last; pictures cross to the GPU and back as uint8."""

    def __init__(self, model: StyleModel, device: str = "auto", precision: str = "auto") -> None:
        """Build the network and move it to its device.

        Args:
            model: the style.
            device: `auto` (CUDA, else an Apple GPU, else the CPU) or one of `DEVICES`.
            precision: `auto` (bf16 where CUDA or the processor has it natively, else fp32) or
                one of `PRECISIONS`.

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
        self._network = network.to(memory_format=torch.channels_last)
        self._lock = threading.Lock()

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

    def predict(self, batch: Pictures) -> Pictures:
        """Stylize pictures; see `Engine.predict`."""
        check_batch(batch)
        with self._lock, torch.inference_mode():
            images = self._upload(batch)
            with self._autocast():
                stylized = self._network(images)
            stylized = stylized.float().mul_(255).round_().clamp_(0, 255).to(torch.uint8)
            result: Pictures = stylized.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return result

    def measure(self, batch: Pictures) -> Statistics:
        """Take the statistics of pictures; see `Engine.measure`."""
        check_batch(batch)
        with self._lock, torch.inference_mode(), self._autocast():
            measured = self._network.measure_statistics(self._upload(batch))
            layers = [torch.stack(measured[name], dim=1) for name in measured]
            result: Statistics = torch.cat(layers, dim=2).cpu().numpy()
        return result

    def freeze(self, statistics: Statistics) -> "TorchEngine":
        """Give an engine with fixed statistics; see `Engine.freeze`."""
        layers = norm_layers(self._network.config)
        check_statistics(self._network.config, statistics)
        given, start = {}, 0
        for name, channels in layers.items():
            part = torch.tensor(statistics[:, None, start : start + channels], device=self._device)
            given[name] = (part[0], part[1])
            start += channels
        frozen = copy.copy(self)
        frozen._network = copy.deepcopy(self._network)
        frozen._network.fix_statistics(given)
        frozen._lock = threading.Lock()
        return frozen

    def _upload(self, batch: Pictures) -> Tensor:
        """Give float images on the device: (B, 3, H, W) in [0, 1], channels-last."""
        pixels = torch.from_numpy(
            np.array(batch, order="C")
        )  # a copy: the caller's may be read-only
        if self._device == "cuda":
            pixels = pixels.pin_memory().to(self._device, non_blocking=True)
        else:
            pixels = pixels.to(self._device)
        # (B, H, W, 3) in memory is (B, 3, H, W) channels-last, and stays so.
        return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)

    def _autocast(self) -> AbstractContextManager[object]:
        if self._precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device, dtype=_DTYPES[self._precision])


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
