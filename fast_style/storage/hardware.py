"""What this machine has: packages, GPUs, cores and memory, without importing a framework."""

import importlib
import importlib.util
import math
import os
import platform
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from fast_style.errors import MissingExtraError
from fast_style.storage.control_groups import core_quota, memory_left

_ROOT = Path("/")
"""The folder of `proc` and `sys`; tests set another one."""

_CUDA_SIGNS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/usr/lib/wsl/lib/libcuda.so.1")


def installed(package: str) -> bool:
    """Return whether a package can be found, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a parent that fails, or a module blocked in sys.modules
        return False


def import_optional(package: str, feature: str, extra: str) -> Any:
    """Import a package that only an optional extra installs.

    Args:
        package: the package or module.
        feature: what needs it, for the error message.
        extra: the extra that installs it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature, package, extra) from error


def has_nvidia_gpu() -> bool:
    """Return whether an NVIDIA driver is loaded and its GPUs are not hidden from this process.

    Only the file system is checked. `torch.cuda.is_available` is the final test, but importing
    torch for it takes longer than stylizing a picture on a CPU.
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
    """Return whether this is a Mac whose GPU torch can use."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def torch_lacks_cuda() -> bool:
    """Return whether the installed torch is a build for CPUs only, by its version."""
    from importlib.metadata import PackageNotFoundError, version  # its import takes 10 ms

    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def core_limit() -> int | None:
    """Return a quota of cores where it is below the number of visible cores, else None.

    Engines respect the CPU affinity of the process but not the quotas of its control groups, and
    many more threads than cores are slow.
    """
    quota = core_quota(_ROOT)
    if quota is None:
        return None
    granted = max(1, math.ceil(quota))
    return granted if granted < visible_cores() else None


def visible_cores() -> int:
    """Count the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_cores() -> int:
    """Count the cores that this process may run on and has the quota for."""
    return core_limit() or visible_cores()


def shared_memory_left() -> int | None:
    """Return the free bytes for memory that processes share; None on systems without `/dev/shm`."""
    if sys.platform != "linux":
        return None
    try:
        return shutil.disk_usage(_ROOT / "dev/shm").free
    except OSError:
        return 0


def available_memory() -> int:
    """Return the bytes of memory that are free; 2 GiB where the system does not report them.

    The smaller one of what Linux calls available and what the limits of control groups leave.
    """
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = (_ROOT / "proc/meminfo").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024)
    left = memory_left(_ROOT)
    if left is not None:
        found.append(left)
    return min(found, default=2 << 30)
