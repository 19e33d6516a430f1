"""Engines run a style network: torch, OpenVINO and ONNX Runtime behind one small protocol.

`create_engine` chooses one; a framework is imported only when its engine is chosen.
"""

from dataclasses import replace

from fast_style.engines.base import (
    ENGINES,
    Engine,
    GraphEngine,
    GraphFunction,
    NormStatistics,
    Pictures,
)
from fast_style.errors import (
    EngineError,
    FastStyleError,
    MissingExtraError,
    UsageError,
)
from fast_style.models.model_file import StyleModel
from fast_style.options import EngineOptions
from fast_style.storage.hardware import (
    has_apple_gpu,
    has_nvidia_gpu,
    installed,
    torch_lacks_cuda,
)

__all__ = [
    "ENGINES",
    "Engine",
    "GraphEngine",
    "GraphFunction",
    "NormStatistics",
    "Pictures",
    "available_engines",
    "create_engine",
    "unused_gpu",
]


def create_engine(model: StyleModel, options: EngineOptions | None = None) -> Engine:
    """Load a style into an engine.

    Args:
        model: the style.
        options: which engine, device and precision to use, whether to cache the compiled network on
            disk, and how many pictures to compute at once; the defaults if None. `tile` is not
            used here. Engine `auto` takes torch if it is installed and there is a GPU for it, else
            OpenVINO, else ONNX Runtime, else torch on the CPU; an engine that fails to load is
            skipped. Precision `auto` is bf16 where the device computes it natively, else fp32.
            `concurrency` applies to OpenVINO: concurrent calls share the cores, which gives more
            pictures a second at a longer latency each. With bf16, pixels may then differ by a few
            levels, because sums are rounded in another order. The other engines process concurrent
            calls one after the other.

    Raises:
        UsageError: the engine does not support the device.
        EngineError: this machine lacks the device or the precision, or no engine works.
        MissingExtraError: the engine's package is not installed.
    """
    options = options or EngineOptions()
    if options.engine != "auto":
        return _create(model, options)

    failures: list[FastStyleError] = []
    for candidate in _candidates(options):
        try:
            return _create(model, candidate)
        except (EngineError, MissingExtraError) as error:
            failures.append(error)
    # An installed engine that failed says more than one that is not installed.
    raise next((e for e in failures if isinstance(e, EngineError)), failures[0])


def available_engines() -> tuple[str, ...]:
    """Return the names of the engines whose packages are installed, without importing them."""
    return tuple(name for name in ENGINES if installed(name))


def unused_gpu() -> str | None:
    """Explain in one sentence why an NVIDIA GPU is not used, or return None."""
    if not has_nvidia_gpu() or (installed("torch") and not torch_lacks_cuda()):
        return None
    if installed("torch"):
        return (
            "this machine has an NVIDIA GPU, but the installed torch is built for CPUs only: "
            "https://pytorch.org/get-started has the command for a build that uses it"
        )
    return (
        "this machine has an NVIDIA GPU, but torch is not installed: "
        'pip install "fast-style[torch]" to use it'
    )


def _candidates(options: EngineOptions) -> list[EngineOptions]:
    """Return the options with each engine and device to try, the fastest first."""
    if options.device in ("cuda", "mps"):
        return [replace(options, engine="torch")]
    candidates = [
        replace(options, engine=name, device="cpu") for name in ("openvino", "onnxruntime", "torch")
    ]
    if options.device == "auto" and installed("torch"):
        if has_nvidia_gpu() and not torch_lacks_cuda():
            candidates.insert(0, replace(options, engine="torch", device="cuda"))
        elif has_apple_gpu():
            candidates.insert(0, replace(options, engine="torch", device="mps"))
    return candidates


def _create(model: StyleModel, options: EngineOptions) -> Engine:
    """Load a style into the engine named; what its package raises becomes an `EngineError`."""
    name, device = options.engine, options.device
    if name != "torch" and device not in ("auto", "cpu"):
        raise UsageError(
            f"engine {name} runs on the CPU, not on device {device}; choose engine torch"
        )
    if not installed(name):
        if name == "openvino":
            raise EngineError(
                "engine openvino is not installed: pip install openvino, or another engine where "
                'it has no wheels: pip install "fast-style[onnxruntime]" or "fast-style[torch]"'
            )
        feature = f"device {device}" if device in ("cuda", "mps") else f"engine {name}"
        raise MissingExtraError(feature, name, name)
    try:
        if name == "torch":
            from fast_style.engines.torch_engine import TorchEngine

            return TorchEngine(model, device, options.precision)
        if name == "openvino":
            from fast_style.engines.openvino_engine import OpenVINOEngine

            return OpenVINOEngine(
                model, options.precision, cache=options.cache, concurrency=options.concurrency
            )
        from fast_style.engines.onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(model, options.precision)
    except (FastStyleError, MemoryError):
        raise
    except Exception as error:  # a broken install fails in many ways: OSError, ImportError, ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EngineError(
            f"engine {name} does not work here ({reason}); try another one"
        ) from error
