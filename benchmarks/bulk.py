"""Compare `fast-style bulk`, with and without Ray, with `fast-style stylize` on a folder.

    python -m benchmarks.bulk --photos 2000 --side 256

Each command runs in a new process on the same photos; `benchmarks.one_process` measures its time
and the peak memory of all its processes. It runs on all photos and on a tenth of them: the
difference gives the time per photo, and what remains is the start. `operators` does the same work
as three operators of Ray Data, with the photos in the object store.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.photos import save_photo

STYLE = "starry-night"
CHECKOUT = Path(__file__).parents[1]
_LAUNCHER = Path(__file__).with_name("one_process.py")
_PYTHON = [sys.executable, "-m"]

NATIVE = ["--stroke-size", "1", "--quiet", "--style", STYLE]
COMMANDS = {
    "stylize": ["fast_style", "stylize", "--recursive", *NATIVE],
    "bulk, local": ["fast_style", "bulk", "--runner", "local", *NATIVE],
    "bulk, ray": ["fast_style", "bulk", "--runner", "ray", *NATIVE],
    "bulk, ray, 1 core an actor": [
        *("fast_style", "bulk", "--runner", "ray", "--cpus-per-actor", "1"),
        *NATIVE,
    ],
    "operators": ["benchmarks.bulk", "--operators"],
}


def run_operators(source: Path, output: Path) -> None:
    """Read, stylize and write in three operators that exchange decoded photos."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    import ray.data

    from fast_style.images import Photo, encode_image, read_image
    from fast_style.inference.stylizer import Stylizer
    from fast_style.options import StyleOptions

    class Stylize:
        def __init__(self) -> None:
            self.stylizer = Stylizer(STYLE)

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            painted = self.stylizer.stylize_photo(Photo(row["pixels"]), StyleOptions(stroke_size=1))
            return {"path": row["path"], "pixels": painted.pixels}

    def read(row: dict[str, Any]) -> dict[str, Any]:
        return {"path": row["path"], "pixels": read_image(row["path"]).pixels}

    def write(row: dict[str, Any]) -> dict[str, Any]:
        path = output / Path(row["path"]).relative_to(source)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(Photo(row["pixels"]), format="JPEG")[0])
        return {"done": 1}

    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    paths = [{"path": str(path)} for path in sorted(source.rglob("*.jpg"))]
    dataset = (
        ray.data.from_items(paths, override_num_blocks=max(1, len(paths) // 32))
        .map(read, num_cpus=0.5)
        .map(Stylize, num_cpus=1, compute=ray.data.ActorPoolStrategy(size=1))
        .map(write, num_cpus=0.5)
    )
    assert sum(1 for _ in dataset.iter_rows()) == len(paths)


def measure_command(command: list[str], output: Path, photos: int) -> dict[str, float]:
    """Run a command once; return its seconds, and its peak memory in bytes."""
    with tempfile.TemporaryDirectory() as name:
        report = Path(name, "report.json")
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(report)]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        subprocess.run([*launcher, *command], env=environment, check=True)
        result: dict[str, Any] = json.loads(report.read_text())
    if result["code"] != 0:
        raise SystemExit(f"{command} ended with {result['code']}")
    found = sum(1 for path in output.rglob("*.jpg"))
    if found != photos:
        raise SystemExit(f"{command} wrote {found} of {photos} photos")
    return {"seconds": result["seconds"], "peak": result["peak"]}


def make_table(rows: Mapping[str, Mapping[str, float]], photos: int) -> str:
    """Return the figures of all commands as a Markdown table."""
    base = rows["stylize"]
    lines = [
        f"| {photos} photos | whole | start | photos/s | time relative to stylize | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        ratios = (row["seconds"] / base["seconds"], base["rate"] / row["rate"])
        lines.append(
            f"| {name} | {row['seconds']:.1f} s | {row['start']:.1f} s | {row['rate']:.1f} "
            f"| {ratios[0]:.2f} (photos alone {ratios[1]:.2f}) | {row['peak'] / 1e9:.2f} GB |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--only", nargs="*", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--operators", nargs="*", metavar="PATH", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.operators is not None:
        run_operators(Path(options.operators[0]).resolve(), Path(options.output).resolve())
        return
    print(describe_machine("openvino", "ray"))
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="fast-style-bulk-") as temporary:
        folder = Path(temporary)
        tenth = options.photos // 10
        for number in range(options.photos):
            part = "tenth" if number < tenth else "rest"
            path = folder / "photos" / part / f"{number:06}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_photo(path, options.side, options.side, seed=number)
        for name in options.only:
            runs = []
            for source, photos in (("photos/tenth", tenth), ("photos", options.photos)):
                output = folder / "output"
                shutil.rmtree(output, ignore_errors=True)
                command = [*_PYTHON, *COMMANDS[name], str(folder / source)]
                runs.append(measure_command([*command, "-o", str(output)], output, photos))
            few, many = runs
            rate = (options.photos - tenth) / (many["seconds"] - few["seconds"])
            start = few["seconds"] - tenth / rate
            rows[name] = {**many, "rate": rate, "start": start}
            print(f"{name}: {rows[name]}", file=sys.stderr)
    if "stylize" in rows:
        print(make_table(rows, options.photos))


if __name__ == "__main__":
    main()
