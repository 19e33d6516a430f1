"""Engines run a style network: torch, OpenVINO and ONNX Runtime behind one small protocol.

`create_engine` chooses one; frameworks are imported only once chosen.
"""

from fast_style.engines.base import (
    DEVICES,
    ENGINES,
    PRECISIONS,
    Engine,
    EngineName,
    GraphEngine,
    Pictures,
    Run,
    Statistics,
)
from fast_style.errors import (
    EngineError,
    FastStyleError,
    MissingExtraError,
    UsageError,
)
from fast_style.models.model_file import StyleModel
from fast_style.storage.hardware import (
    has_apple_gpu,
    has_nvidia_gpu,
    installed,
    torch_lacks_cuda,
)

__all__ = [
    "DEVICES",
    "ENGINES",
    "PRECISIONS",
    "Engine",
    "GraphEngine",
    "Pictures",
    "Run",
    "Statistics",
    "available_engines",
    "create_engine",
    "unused_gpu",
]


def create_engine(
    model: StyleModel,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    cache: bool = True,
    concurrency: int = 1,
) -> Engine:
    """Load a style into an engine.

    Args:
        model: the style.
        engine: `auto` or one of `ENGINES`. `auto` takes torch if it is installed and there is a GPU
            for it, else OpenVINO, else ONNX Runtime, else torch on the CPU; one that does not work
            is passed over.
        device: `auto` or one of `DEVICES`.
        precision: `auto` (bf16 where the device has it natively, else fp32) or one of `PRECISIONS`.
        cache: whether the compiled network may be kept on disk.
        concurrency: how many pictures of several threads OpenVINO takes at once when they meet,
            each with its share of the cores: more pictures a second, each a little later. With bf16
            pixels may then differ by some levels, for sums are rounded in another order. The other
            engines take one picture after the other.

    Raises:
        UsageError: a name that does not exist, or an engine that never runs on that device.
        EngineError: this machine lacks the device or the precision, or no engine works.
        MissingExtraError: the engine's package is not installed.
    """
    for what, value, known in (
        ("engine", engine, ENGINES),
        ("device", device, DEVICES),
        ("precision", precision, PRECISIONS),
    ):
        if value not in ("auto", *known):
            raise UsageError(f"no such {what}: {value!r}; choose auto or {' or '.join(known)}")
    if engine != "auto":
        return _create(engine, model, device, precision, cache, concurrency)

    failures: list[FastStyleError] = []
    for name, place in _candidates(device):
        try:
            return _create(name, model, place, precision, cache, concurrency)
        except (EngineError, MissingExtraError) as error:
            failures.append(error)
    # One that is there and cannot do what was asked says more than one that is not there.
    raise next((e for e in failures if isinstance(e, EngineError)), failures[0])


def available_engines() -> tuple[str, ...]:
    """Name the engines whose packages are installed; none is imported or tried."""
    return tuple(name for name in ENGINES if installed(name))


def unused_gpu() -> str | None:
    """Say in one sentence that an NVIDIA GPU cannot be used for want of torch; None if not so."""
    if not has_nvidia_gpu() or (installed("torch") and not torch_lacks_cuda()):
        return None
    if installed("torch"):
        return (
            "an NVIDIA GPU is here, but the installed torch is built for CPUs only: "
            "https://pytorch.org/get-started has the command for one that uses it"
        )
    return 'an NVIDIA GPU is here, but torch is not: pip install "fast-style[torch]" to use it'


def _candidates(device: str) -> list[tuple[EngineName, str]]:
    """Engines to try with the device for each, the fastest first."""
    if device in ("cuda", "mps"):
        return [("torch", device)]
    candidates: list[tuple[EngineName, str]] = [
        ("openvino", "cpu"),
        ("onnxruntime", "cpu"),
        ("torch", "cpu"),
    ]
    if device == "auto" and installed("torch"):
        if has_nvidia_gpu() and not torch_lacks_cuda():
            candidates.insert(0, ("torch", "cuda"))
        elif has_apple_gpu():
            candidates.insert(0, ("torch", "mps"))
    return candidates


def _create(
    name: str, model: StyleModel, device: str, precision: str, cache: bool, concurrency: int
) -> Engine:
    """Load a style into a given engine; whatever its package raises becomes an `EngineError`."""
    if name != "torch" and device not in ("auto", "cpu"):
        raise UsageError(
            f"engine {name} runs on the CPU, not on device {device}; choose engine torch"
        )
    if not installed(name):
        if name == "openvino":
            raise EngineError(
                "engine openvino is not installed, though it belongs to fast-style: "
                "pip install openvino"
            )
        feature = f"device {device}" if device in ("cuda", "mps") else f"engine {name}"
        raise MissingExtraError(feature, name, name)
    try:
        if name == "torch":
            from fast_style.engines.torch_engine import TorchEngine

            return TorchEngine(model, device, precision)
        if name == "openvino":
            from fast_style.engines.openvino_engine import OpenVINOEngine

            return OpenVINOEngine(model, precision, cache=cache, concurrency=concurrency)
        from fast_style.engines.onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(model, precision)
    except (FastStyleError, MemoryError):
        raise
    except Exception as error:  # a broken install fails in many ways: OSError, ImportError, ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EngineError(
            f"engine {name} does not work here ({reason}); try another one"
        ) from error
