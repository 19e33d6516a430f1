"""Export styles for other programs: ONNX, TorchScript, `torch.export` and plain weights.

`export_model` writes a file, runs it, and compares its picture with the library's.
"""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fast_style.engines import GraphEngine, available_engines, create_engine
from fast_style.engines.onnx.graph import INPUT, OUTPUT, build_graph
from fast_style.engines.onnx.writer import OPSET
from fast_style.errors import ExportError, MissingExtraError
from fast_style.images.grain import add_grain
from fast_style.models.model_file import StyleModel, load_model, save_model
from fast_style.options import EngineOptions
from fast_style.storage.atomic_write import replace_file
from fast_style.styles.exporting.onnx_file import build_onnx
from fast_style.styles.exporting.options import FORMATS, ExportOptions, Format, describe_model
from fast_style.styles.fingerprint import add_fingerprint, photo_like

__all__ = [
    "FORMATS",
    "OPSET",
    "ExportOptions",
    "ExportResult",
    "Format",
    "build_onnx",
    "describe_model",
    "export_model",
]

LIMITS = {"fp32": 2e-3, "fp16": 5e-2, "uint8": 1.01 / 255}
"""The largest difference from the library's picture, on [0, 1], of a valid export.

In float32, only the order of sums differs; float16 has eleven bits in every layer; uint8 may be
rounded to the neighbouring level."""

_CHECK_SIZE = (238, 317)  # not multiples of the network's stride


@dataclass(frozen=True, slots=True)
class ExportResult:
    """An exported file, and the comparison of its picture with the library's.

    Attributes:
        path: the file.
        difference: the largest difference of a value, on [0, 1].
        limit: the largest difference of a valid export.
        runner: name of the program that ran the file.
        size: height and width of the picture that was compared.
    """

    path: Path
    difference: float
    limit: float
    runner: str
    size: tuple[int, int]


def export_model(
    model: StyleModel,
    path: str | os.PathLike[str],
    options: ExportOptions,
    picture: NDArray[np.uint8] | None = None,
) -> ExportResult:
    """Write a style for other programs, run the file, and compare its picture.

    Args:
        model: the style.
        path: the file; an existing one is replaced once the new file has passed the comparison.
        options: kind of file, and what it contains.
        picture: RGB of shape (H, W, 3), 0-255, to compare on, of the options' size if they fix it.
            None uses a generated one.

    Returns:
        The file, and its largest difference from the library in float32.

    Raises:
        UsageError: the options' size is too small for the network.
        ExportError: the file cannot be written, or its picture differs from the library's.
        MissingExtraError: the format needs torch, which is not installed.
        EngineError: no engine works here.
    """
    options.check_size(model.card.network)
    path = Path(path)
    pixels = photo_like(*(options.size or _CHECK_SIZE)) if picture is None else picture
    write, run, runner = _FORMATS[options.format](model, options)
    temporary = path.with_name(f".fast-style-{secrets.token_hex(8)}.{options.format}")
    try:
        if not path.parent.is_dir():
            raise ExportError(f"{path.parent} is not a folder; create it first")
        write(temporary)
        found = run(temporary, _convert_input(pixels, options))
        content = temporary.read_bytes()
        result = _compare_with_library(model, options, pixels, found, runner, path)
        replace_file(path, content)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return result


WriteFile = Callable[[Path], None]
RunFile = Callable[[Path, NDArray[Any]], NDArray[Any]]


def _compare_with_library(
    model: StyleModel,
    options: ExportOptions,
    pixels: NDArray[np.uint8],
    found: NDArray[Any],
    runner: str,
    path: Path,
) -> ExportResult:
    expected = _stylize_in_library(model, pixels, options.grain)
    if options.uint8:
        found = found[0].astype(np.float64) / 255
        if options.rgba and not (found[..., 3] == _make_alpha(pixels) / 255).all():
            raise ExportError(f"{path}: the alpha does not come out as it went in")
        expected = np.round(expected * 255) / 255
    else:
        found = found[0].transpose(1, 2, 0).astype(np.float64)
    if found.shape[:2] != expected.shape[:2]:
        raise ExportError(f"{path} gives a picture of shape {found.shape}, not {expected.shape}")
    difference = float(np.abs(found[..., :3] - expected).max())
    limit = LIMITS["fp16" if options.float16 else "uint8" if options.uint8 else "fp32"]
    if not difference <= limit:  # written so that NaN fails too
        raise ExportError(
            f"{path} is not written: its picture differs by {difference:.4f} of [0, 1] from the "
            f"library's, in {runner}, and at most {limit:.4f} is sound"
        )
    height, width = pixels.shape[:2]
    return ExportResult(path, difference, limit, runner, (height, width))


def _stylize_in_library(
    model: StyleModel, pixels: NDArray[np.uint8], grain: bool
) -> NDArray[np.float64]:
    """Stylize with the library, in float32, to [0, 1], unrounded if the engine allows it."""
    seen = add_grain(pixels, model.card.grain if grain else 0)[None]
    engine = create_engine(model, EngineOptions(device="cpu", precision="fp32"))
    if isinstance(engine, GraphEngine):
        graph = build_graph(model.card.network, model.weights, float_output=True)
        picture = engine.load_graph(graph)({INPUT: seen}, [OUTPUT])[OUTPUT][0]
    else:
        picture = engine.predict(seen)[0]
    clamped: NDArray[np.float64] = np.clip(picture.astype(np.float64), 0, 255)
    return clamped / 255


def _make_alpha(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an alpha channel that is not constant, for the comparison."""
    return pixels[..., 0] ^ np.uint8(255)


def _convert_input(pixels: NDArray[np.uint8], options: ExportOptions) -> NDArray[Any]:
    if options.format == "safetensors":
        return pixels[None]
    if options.uint8:
        if options.rgba:
            pixels = np.concatenate([pixels, _make_alpha(pixels)[..., None]], axis=2)
        return pixels[None]
    planes = pixels.transpose(2, 0, 1)[None].astype(np.float32)
    return planes / np.float32(255)


def _prepare_onnx(model: StyleModel, options: ExportOptions) -> tuple[WriteFile, RunFile, str]:
    content = build_onnx(model, options)
    # Most apps will use ONNX Runtime; OpenVINO is always installed.
    name: Literal["onnxruntime", "openvino"] = (
        "onnxruntime" if "onnxruntime" in available_engines() else "openvino"
    )
    engine = create_engine(model, EngineOptions(engine=name, device="cpu", precision="fp32"))
    assert isinstance(engine, GraphEngine)

    def run(path: Path, image: NDArray[Any]) -> NDArray[Any]:
        return engine.load_graph(path.read_bytes())({INPUT: image}, [OUTPUT])[OUTPUT]

    return lambda path: _write_bytes(path, content), run, name


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _prepare_torch(model: StyleModel, options: ExportOptions) -> tuple[WriteFile, RunFile, str]:
    try:
        import torch

        from fast_style.styles.exporting import torch_files
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"export to {options.format}", "torch", "torch") from error
    is_script = options.format == "torchscript"
    writer = torch_files.write_torchscript if is_script else torch_files.write_pt2
    runner = torch_files.run_torchscript if is_script else torch_files.run_pt2

    def run(path: Path, image: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any] = runner(path, torch.from_numpy(image)).numpy()
        return result

    return lambda path: writer(path, model, options), run, f"torch {torch.__version__}"


def _prepare_safetensors(
    model: StyleModel, options: ExportOptions
) -> tuple[WriteFile, RunFile, str]:
    def write(path: Path) -> None:
        save_model(path, model.card, model.weights, float32=not options.float16)
        add_fingerprint(path)  # of the stored weights, which may be float16

    def run(path: Path, image: NDArray[Any]) -> NDArray[Any]:
        picture = _stylize_in_library(load_model(path), image[0], options.grain)
        return picture.transpose(2, 0, 1)[None]

    return write, run, "fast-style"


_FORMATS: dict[Format, Callable[[StyleModel, ExportOptions], tuple[WriteFile, RunFile, str]]] = {
    "onnx": _prepare_onnx,
    "torchscript": _prepare_torch,
    "pt2": _prepare_torch,
    "safetensors": _prepare_safetensors,
}
