"""Device and precision of everything that computes in torch: engine, training and optimisation."""

import torch

from fast_style.engines.base import DEVICES, Device, Precision
from fast_style.errors import EngineError
from fast_style.storage.hardware import core_limit

_MISSING = {
    "cuda": "torch finds no CUDA GPU that it can use (no GPU, an old driver, or a torch built for "
    "CPUs only)",
    "mps": "torch finds no Apple GPU here",
}


def choose_device(wanted: str) -> Device:
    """Return the device to compute on.

    Args:
        wanted: `auto` (CUDA, else an Apple GPU, else the CPU) or one of `DEVICES`.

    Raises:
        EngineError: this machine does not have the device, or there is no device of that name.
    """
    available = _available_devices()
    if wanted == "auto":
        return available[0]
    for device in available:
        if device == wanted:
            return device
    reason = _MISSING.get(wanted, f"no such device: {wanted}")
    raise EngineError(f"{reason}; choose device auto or cpu")


def accelerator_device(accelerator: str) -> Device:
    """Return the device that a Lightning accelerator stands for.

    Args:
        accelerator: Lightning's name, such as `auto`, `cpu`, `gpu`, `cuda` or `mps`. Whether the
            machine has it is left to Lightning.
    """
    available = _available_devices()
    if accelerator == "auto":
        return available[0]
    if accelerator == "gpu":
        return available[0] if available[0] != "cpu" else "cuda"
    for device in DEVICES:
        if device == accelerator:
            return device
    return "cpu"


def respect_core_limit() -> None:
    """Let torch use no more threads than the quota of this process's control groups allows."""
    limit = core_limit()
    if limit is not None and torch.get_num_threads() > limit:
        torch.set_num_threads(limit)


def native_precisions(device: Device) -> list[Precision]:
    """Return the precisions that a device computes in without emulation."""
    if device == "mps":
        return ["fp32", "fp16"]
    if device == "cuda":
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        return ["fp32", "bf16", "fp16"] if bf16 else ["fp32", "fp16"]
    # Processors with AMX have AVX-512 with bfloat16 too.
    bf16 = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return ["fp32", "bf16"] if bf16 else ["fp32"]


def automatic_precision(device: Device) -> Precision:
    """Return the precision that `auto` stands for: bf16 where it is native, else fp32."""
    return "bf16" if "bf16" in native_precisions(device) else "fp32"


def use_bf16(wanted: str, device: Device) -> bool:
    """Decide whether training or an optimisation computes in bfloat16.

    Args:
        wanted: `auto`, `fp32` or `bf16`; `bf16` is used where it is emulated, too.
        device: the device to compute on.

    Raises:
        EngineError: bf16 on an Apple GPU.
    """
    if wanted == "bf16" and device == "mps":
        raise EngineError("bf16 is not computed on mps; choose precision auto or fp32")
    return wanted == "bf16" or (wanted == "auto" and automatic_precision(device) == "bf16")


def _available_devices() -> list[Device]:
    """Return the devices of this machine, the fastest first; the CPU is always the last."""
    devices: list[Device] = ["cpu"]
    if torch.backends.mps.is_available():
        devices.insert(0, "mps")
    if torch.cuda.is_available():
        devices.insert(0, "cuda")
    return devices
