"""Time and peak memory of whole commands, on single photos and on a folder.

Each run is a new process, started and measured by a small one (`benchmarks.one_process`). Commands
have their own defaults, so their JPEG files differ in quality: ours is the highest. Each command
first runs once untimed on a small photo, so that no run includes reading its program from disk.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers import Command
from benchmarks.photos import save_photo
from benchmarks.warm_speed import start_worker

_LAUNCHER = Path(__file__).with_name("one_process.py")
_FOLDER_PHOTO = (1024, 682)


class CommandError(Exception):
    """A command failed; the message says how."""


def run_command(command: Command, photo: Path, output: Path) -> dict[str, Any]:
    """Run a command once.

    Returns:
        `seconds`, and `peak` in bytes.

    Raises:
        CommandError: it failed, or needed more memory than the machine has.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if command.nothing_cached:
            environment = command.environment | {"XDG_CACHE_HOME": str(folder / "cache")}
            command = replace(command, environment=environment)
        report, log = folder / "report.json", folder / "log.txt"
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(report)]
        with log.open("w") as file:
            subprocess.run(
                [*launcher, *command.arguments(photo, output)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                # Not in the checkout, whose modules would be imported first.
                cwd=folder,
                env=command.environment,
                check=True,
            )
        result: dict[str, Any] = json.loads(report.read_text())
        if result["stopped"]:
            raise CommandError(
                f"stopped at {result['peak'] / 1e9:.1f} GB, when the machine ran out of memory"
            )
        if result["code"] != 0 or not output.exists():
            lines = [line for line in log.read_text(errors="replace").split("\n") if line.strip()]
            reason = lines[-1] if lines else "it printed nothing"
            raise CommandError(f"failed (exit code {result['code']}): {reason}")
    return {"seconds": result["seconds"], "peak": result["peak"]}


def imports_torch(command: Command, photo: Path, output: Path) -> bool:
    """Return whether a command of ours imports torch."""
    python, *rest = command.arguments(photo, output)
    result = subprocess.run(
        [python, "-X", "importtime", *rest],
        env=command.environment,
        cwd=output.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return any(line.rpartition("|")[2].strip() == "torch" for line in result.stderr.splitlines())


def measure_commands(
    section: str, jobs: Sequence[tuple[tuple[int, int], Command]], *, folder: Path, rounds: int
) -> list[dict[str, Any]]:
    """Run commands on photos, alternating between them.

    Args:
        section: a name for these jobs.
        jobs: the photo's width and height, and the command.
        folder: for the photos and the outputs.
        rounds: number of runs of each job.

    Returns:
        A row for each job, with its runs; `failed` is the reason if it has not all of them.
    """
    small = save_photo(folder / "small.jpg", 128, 96)
    rows: list[dict[str, Any]] = []
    photos: list[Path] = []
    for (width, height), command in jobs:
        photo = folder / f"{width}x{height}.jpg"
        photos.append(photo if photo.exists() else save_photo(photo, width, height))
        row = {"section": section, "command": command.name, "photo": f"{width}x{height}"}
        rows.append(row | {"megapixels": width * height / 1e6, "runs": [], "failed": None})
    for command in {command.name: command for _, command in jobs}.values():
        _run_or_note_failure(
            command, small, folder, [row for row in rows if row["command"] == command.name]
        )
    for start in range(rounds):
        for i in range(len(jobs)):
            k = (start + i) % len(jobs)
            row = rows[k]
            if row["failed"] is None and (
                result := _run_or_note_failure(jobs[k][1], photos[k], folder, [row])
            ):
                row["runs"].append(result)
    return rows


def _run_or_note_failure(
    command: Command, photo: Path, folder: Path, rows: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """Run a command once; if it fails, put the reason into its rows."""
    print(f"{rows[0]['section']}: {command.name}, {photo.name}", file=sys.stderr)
    output = folder / "output.jpg"
    output.unlink(missing_ok=True)
    try:
        return run_command(command, photo, output)
    except CommandError as error:
        print(f"{command.name}: {error}", file=sys.stderr)
        for row in rows:
            row["failed"] = str(error)
        return None


def measure_folder(
    command: Command, model: Path, *, folder: Path, cache: Path, photos: int, rounds: int
) -> dict[str, Any]:
    """Stylize a folder in one command, and repeatedly one photo in a running process.

    Args:
        command: `fast-style stylize`.
        model: its model file.
        folder: for the photos and the outputs.
        cache: folder of compiled models.
        photos: number of photos in the folder.
        rounds: number of runs.

    Returns:
        For each round the command's seconds and peak memory, and the warm seconds of one photo, in
        the network alone and from file to file.
    """
    source, output = folder / "photos", folder / "stylized"
    source.mkdir()
    for seed in range(photos):
        save_photo(source / f"{seed:04}.jpg", *_FOLDER_PHOTO, seed=seed)
    one = {"model": str(model), "photo": str(source / "0000.jpg")}
    network = one | {"kind": "engine", "engine": "auto"}
    whole = one | {"kind": "photo", "output": str(folder / "one.jpg")}
    results = []
    with start_worker(network, cache) as network_worker, start_worker(whole, cache) as whole_worker:
        for _ in range(rounds):
            print(f"folder: {photos} photos", file=sys.stderr)
            # Warm times before and after, since the machine's speed may change in between.
            warm = {
                "network": [network_worker.measure(1.0)],
                "photo": [whole_worker.measure(1.0)],
            }
            shutil.rmtree(output, ignore_errors=True)
            run = run_command(command, source, output)
            if len(list(output.iterdir())) != photos:
                raise CommandError(f"{command.name} did not stylize all {photos} photos")
            warm["network"].append(network_worker.measure(1.0))
            warm["photo"].append(whole_worker.measure(1.0))
            results.append(run | warm)
    return {
        "command": command.name,
        "photos": photos,
        "width": _FOLDER_PHOTO[0],
        "height": _FOLDER_PHOTO[1],
        "rounds": results,
    }
