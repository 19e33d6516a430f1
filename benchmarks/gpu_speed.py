"""Time of the network on a CUDA GPU: eager, as a CUDA graph, and with the transfers.

python -m benchmarks.gpu_speed
python -m benchmarks.gpu_speed --size full --side 1024

"Network" is the GPU's time between two events, from pixels on the GPU to pixels on the GPU, with
conversion and rounding. Launches are queued, so that the time includes the CPU's only if the CPU is
too slow to keep the GPU busy, which CUDA graphs are meant to avoid. "Picture" is the time of the
engine's whole call, from array to array. All figures are medians. The weights are those of a
shipped style, or random: both take the same time.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.peers import find_model_file, list_missing
from fast_style.models.config import SIZES

_WARM_UPS = 10


def find_obstacle() -> str | None:
    """Return in one sentence why no GPU can be measured; None if one can."""
    if list_missing("torch"):
        return 'no GPU is measured, as torch is not installed: pip install "fast-style[torch]"'
    import torch

    if not torch.cuda.is_available():
        return "no GPU is measured, as torch finds no CUDA GPU that it can use here"
    return None


def measure_gpu(
    models: dict[str, Path], sides: Sequence[int], *, precision: str = "auto", repeats: int = 100
) -> dict[str, Any]:
    """Measure every network at every size.

    Args:
        models: model files, by the name of their size.
        sides: sides of the square pictures, in pixels.
        precision: as for `create_engine`.
        repeats: number of timed calls.

    Returns:
        The GPU's name, and rows with the milliseconds of each repetition.
    """
    import torch

    rows = []
    for size, model in models.items():
        for side in sides:
            print(f"gpu: {size}, {side} px", file=sys.stderr)
            rows.append(
                {"size": size, "side": side, **_measure_row(model, side, precision, repeats)}
            )
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    return {"gpu": f"{torch.cuda.get_device_name()}, {versions}", "rows": rows}


def _measure_row(model: Path, side: int, precision: str, repeats: int) -> dict[str, Any]:
    import numpy as np
    import torch

    from fast_style.engines.cuda_graphs import CudaCapture
    from fast_style.engines.torch_engine import TorchEngine
    from fast_style.models.model_file import load_model

    engine = TorchEngine(load_model(model), "cuda", precision)
    batch = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    with torch.inference_mode():
        pixels = torch.from_numpy(batch).to("cuda")
        eager = _time_on_gpu(lambda: engine.computation(pixels), repeats)
        graph = CudaCapture(engine.computation)(batch.shape)
        captured = _time_on_gpu(graph.launch, repeats)
        graph.release()
    whole = _time_calls(lambda: engine.predict(batch), repeats)
    return {
        "precision": engine.precision,
        "milliseconds": {"network, eager": eager, "network, graph": captured, "picture": whole},
    }


def _time_on_gpu(launch: Callable[[], object], repeats: int) -> list[float]:
    """Return the GPU's milliseconds for each launch, by events between queued launches."""
    import torch

    for _ in range(_WARM_UPS):
        launch()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    torch.cuda.synchronize()
    marks[0].record()
    for mark in marks[1:]:
        launch()
        mark.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in pairwise(marks)]


def _time_calls(call: Callable[[], object], repeats: int) -> list[float]:
    """Return the milliseconds of each call."""
    for _ in range(_WARM_UPS):
        call()
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - started))
    return found


def make_gpu_report(results: dict[str, Any]) -> str:
    """Return results of `measure_gpu` as a Markdown table."""
    names = list(results["rows"][0]["milliseconds"])
    lines = [results["gpu"], "", f"| network, side | {' | '.join(names)} |"]
    lines.append("|---|" + "---|" * len(names))
    for row in results["rows"]:
        values = (statistics.median(row["milliseconds"][name]) for name in names)
        cells = " | ".join(f"{value:.3g} ms" for value in values)
        lines.append(f"| {row['size']}, {row['side']}, {row['precision']} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=list(SIZES), nargs="+", default=list(SIZES))
    parser.add_argument("--side", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--precision", choices=["auto", "bf16", "fp16", "fp32"], default="auto")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all raw figures")
    arguments = parser.parse_args()
    reason = find_obstacle()
    if reason is not None:
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as folder:
        models = {size: find_model_file(size, Path(folder)) for size in arguments.size}
        results = measure_gpu(
            models, arguments.side, precision=arguments.precision, repeats=arguments.repeats
        )
    results["machine"] = describe_machine("torch")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    print(results["machine"])
    print(make_gpu_report(results))


if __name__ == "__main__":
    main()
