"""Memory and time of OpenVINO over pictures that each have another size.

    python -m benchmarks.many_sizes --capacities 32,5000

OpenVINO keeps what it prepares for each layer and each size of picture. Every limit on how much it
keeps (`openvino_engine.CACHED_KERNELS`) has its own process; all go through the same sizes, a
hundred at a time in turns. Then they stylize one size again and again, and two and eight sizes in
alternation, also in turns.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.one_process import read_resident_bytes

ROOT = Path(__file__).parent.parent
_CHUNK = 100  # sizes of one turn
_ALTERNATING = (1, 2, 8)


def draw_sizes(count: int, short: int, long: int) -> list[tuple[int, int]]:
    """Return different sizes (height, width), their sides drawn between two bounds."""
    rng = np.random.default_rng(0)
    sizes: dict[tuple[int, int], None] = {}
    while len(sizes) < count:
        height, width = rng.integers(short, long, 2, endpoint=True).tolist()
        sizes[height, width] = None
    return list(sizes)


class Process:
    """An engine with one limit, in a process of its own."""

    def __init__(self, style: str, capacity: int, callers: int, one_core: bool) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.many_sizes", "--worker"]
            + [f"--styles={style}", f"--capacities={capacity}", f"--callers={callers}"]
            + ["--one-core"] * one_core,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def stylize(self, sizes: list[tuple[int, int]]) -> tuple[list[float], int]:
        """Return the seconds of each picture, and the memory afterwards in bytes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(sizes) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a process ended early; its error is above")
        return json.loads(line), read_resident_bytes(self.process.pid)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def run_worker(style: str, capacity: int, callers: int, one_core: bool) -> None:
    """Stylize noise of the sizes that arrive on stdin; write the seconds of each to stdout."""
    clock = time.perf_counter
    if one_core:  # before OpenVINO starts its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
        clock = time.process_time
    from concurrent.futures import ThreadPoolExecutor

    from fast_style.engines import openvino_engine
    from fast_style.styles.registry import load_style

    openvino_engine.CACHED_KERNELS = capacity
    engine = openvino_engine.OpenVINOEngine(load_style(style), cache=False, concurrency=callers)
    noise = np.random.default_rng(0).integers(0, 256, 3 << 22, np.uint8)

    def stylize(size: tuple[int, int]) -> float:
        height, width = size
        photo = noise[: height * width * 3].reshape(1, height, width, 3)
        start = clock()
        engine.predict(photo)
        return clock() - start

    with ThreadPoolExecutor(callers) as pool:
        for line in sys.stdin:
            print(json.dumps(list(pool.map(stylize, map(tuple, json.loads(line))))), flush=True)


def measure(
    style: str,
    capacities: list[int],
    sizes: list[tuple[int, int]],
    *,
    callers: int,
    rounds: int,
    one_core: bool,
) -> dict[int, dict[str, Any]]:
    """Return memory in bytes after so many sizes, and seconds, for every limit."""
    processes = {capacity: Process(style, capacity, callers, one_core) for capacity in capacities}
    found: dict[int, dict[str, Any]] = {
        capacity: {"memory": {}, "new": [], **{f"{n} alternating": [] for n in _ALTERNATING}}
        for capacity in capacities
    }
    try:
        for process in processes.values():
            process.stylize([(64, 64)] * 3)
        for capacity, process in processes.items():
            found[capacity]["memory"][0] = process.stylize([(64, 64)])[1]
        for start in range(0, len(sizes), _CHUNK):
            for capacity in _rotate(capacities, start // _CHUNK):
                chunk = sizes[start : start + _CHUNK]
                seconds, memory = processes[capacity].stylize(chunk)
                found[capacity]["new"] += seconds
                found[capacity]["memory"][start + len(chunk)] = memory
            print(f"{start + _CHUNK} sizes", file=sys.stderr)
        for turn in range(rounds):
            for capacity in _rotate(capacities, turn):
                for count in _ALTERNATING:
                    repeated = sizes[:count] * (16 // count)
                    seconds, _ = processes[capacity].stylize(repeated)
                    found[capacity][f"{count} alternating"] += seconds[count:]
    finally:
        for process in processes.values():
            process.close()
    return found


def _rotate(values: list[int], by: int) -> list[int]:
    by %= len(values)
    return values[by:] + values[:by]


def print_table(found: dict[int, dict[str, Any]]) -> None:
    """Print memory and medians of the time, a row for each limit."""
    counts = list(next(iter(found.values()))["memory"])
    shown = sorted({counts[0], *(c for c in (100, 600, 1000, 2000) if c in counts), counts[-1]})
    heads = [f"MB after {count}" for count in shown]
    heads += ["ms, a new size", *(f"ms, {n} size{'s' * (n > 1)} in turns" for n in _ALTERNATING)]
    print("| cached | " + " | ".join(heads) + " |")
    print("|" + "---|" * (len(heads) + 1))
    for capacity, row in found.items():
        cells = [f"{row['memory'][count] / 1e6:.0f}" for count in shown]
        for name in ("new", *(f"{n} alternating" for n in _ALTERNATING)):
            cells.append(f"{1e3 * statistics.median(row[name]):.2f}")
        print(f"| {capacity} | " + " | ".join(cells) + " |")


@click.command()
@click.option("--styles", default="starry-night", help="Styles to measure, by commas.")
@click.option("--capacities", default="32,5000", help="Limits to compare, by commas.")
@click.option("--sizes", default=2000, help="Number of sizes.")
@click.option("--sides", default="64,224", help="Shortest and longest side, in pixels.")
@click.option("--callers", default=1, help="Pictures at once.")
@click.option("--rounds", default=12, help="Rounds of repeated sizes.")
@click.option("--one-core", is_flag=True, help="CPU time on one core: for a busy machine.")
@click.option("--worker", is_flag=True, hidden=True)
def main(
    styles: str,
    capacities: str,
    sizes: int,
    sides: str,
    callers: int,
    rounds: int,
    one_core: bool,
    worker: bool,
) -> None:
    """Measure memory and time over many sizes of pictures."""
    limits = [int(text) for text in capacities.split(",")]
    if worker:
        run_worker(styles, limits[0], callers, one_core)
        return
    print(describe_machine("openvino"))
    short, long = (int(text) for text in sides.split(","))
    for style in styles.split(","):
        print(f"\n{style}, {sizes} sizes of {short} to {long} pixels, {callers} at once\n")
        drawn = draw_sizes(sizes, short, long)
        options = {"callers": callers, "rounds": rounds, "one_core": one_core}
        print_table(measure(style, limits, drawn, **options))


if __name__ == "__main__":
    main()
