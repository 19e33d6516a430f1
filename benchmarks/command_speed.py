"""Whole processes: time from the command to the file, and peak memory; photos one by one and a lot.

Each run is a fresh process, started by a small one that measures it (`benchmarks.one_process`). The
commands are used as their users use them, with their own defaults, so the JPEG files that they
write differ in quality: ours is the highest. An untimed run of each on a small photo comes first,
so that no one is measured while the system reads its files from disk.
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
from benchmarks.warm_speed import running

_LAUNCHER = Path(__file__).with_name("one_process.py")
_FOLDER_PHOTO = (1024, 682)


class CommandError(Exception):
    """A command that failed; the text says how."""


def run_command(command: Command, photo: Path, output: Path) -> dict[str, Any]:
    """Run a command once.

    Returns:
        `seconds`, and `peak` in bytes.

    Raises:
        CommandError: it failed, or took more memory than there is.
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
                # Not the checkout, whose own files would be found first.
                cwd=folder,
                env=command.environment,
                check=True,
            )
        result: dict[str, Any] = json.loads(report.read_text())
        if result["stopped"]:
            raise CommandError(
                f"stopped at {result['peak'] / 1e9:.1f} GB: there is no more memory than that"
            )
        if result["code"] != 0 or not output.exists():
            lines = [line for line in log.read_text(errors="replace").split("\n") if line.strip()]
            said = lines[-1] if lines else "it said nothing"
            raise CommandError(f"failed (exit code {result['code']}): {said}")
    return {"seconds": result["seconds"], "peak": result["peak"]}


def imports_torch(command: Command, photo: Path, output: Path) -> bool:
    """Say whether a command of ours imports torch on its way."""
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
    """Run commands on photos, in turns.

    Args:
        section: a name for these jobs.
        jobs: the photo's width and height, and the command.
        folder: for photos and what is made of them.
        rounds: how often each is run.

    Returns:
        A row for each job, with its runs; `failed` says why there are no more of them.
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
        _try(command, small, folder, [row for row in rows if row["command"] == command.name])
    for start in range(rounds):
        for i in range(len(jobs)):
            k = (start + i) % len(jobs)
            row = rows[k]
            if row["failed"] is None and (result := _try(jobs[k][1], photos[k], folder, [row])):
                row["runs"].append(result)
    return rows


def _try(
    command: Command, photo: Path, folder: Path, rows: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """Run a command; where it fails, its rows say why."""
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
    """Stylize a folder in one command, beside one photo in a process that goes on.

    Args:
        command: `fast-style stylize`.
        model: its model file.
        folder: for photos and what is made of them.
        cache: where compiled models are kept.
        photos: how many are in the folder.
        rounds: how often.

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
    with running(network, cache) as network_worker, running(whole, cache) as whole_worker:
        for _ in range(rounds):
            print(f"folder: {photos} photos", file=sys.stderr)
            # Warm times before and after, as the machine's speed may drift in between.
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
