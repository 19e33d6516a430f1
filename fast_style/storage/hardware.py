"""What this machine has, found out without importing a framework."""

import importlib.util
import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CUDA_SIGNS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/usr/lib/wsl/lib/libcuda.so.1")


def installed(package: str) -> bool:
    """Say whether a package can be found; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a parent that fails, or a module blocked in sys.modules
        return False


def has_nvidia_gpu() -> bool:
    """Say whether an NVIDIA driver is loaded and its GPUs are not hidden from this process.

    A look at the file system only: `torch.cuda.is_available` has the last word, but importing torch
    to ask it would cost every CPU user more than stylizing a picture does.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    return any(Path(sign).exists() for sign in _CUDA_SIGNS)


def gpu_count() -> int:
    """Count the NVIDIA GPUs that this process may use, by what the driver lists; Linux only."""
    if not has_nvidia_gpu():
        return 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len(named.split(","))
    with suppress(OSError):
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    return 1


def has_apple_gpu() -> bool:
    """Say whether this is a Mac whose GPU torch can use."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def torch_lacks_cuda() -> bool:
    """Say whether the installed torch is a build for CPUs only, by its version."""
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def core_limit() -> int | None:
    """Give the number of cores that a container's quota leaves, where it is below those visible.

    Engines see the cores and the affinity of the process by themselves, but not the quota of a
    control group, and far too many threads on few cores are slow.
    """
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        granted = max(1, -(-int(quota) // int(period)))  # rounded up
    except (OSError, ValueError):  # no control groups, or "max": no limit
        return None
    return granted if granted < visible_cores() else None


def visible_cores() -> int:
    """Count the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory() -> int:
    """Say how many bytes of memory are free, as far as this machine tells; else 2 GiB.

    What Linux calls available, or what a container's limit leaves, whichever is less.
    """
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024)
    with suppress(OSError, ValueError):  # "max": no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        found.append(max(0, limit - int((group / "memory.current").read_text(encoding="ascii"))))
    return min(found, default=2 << 30)
