"""Warm time of the network: our engines and other programs, each in its own process.

All programs for one network and size stay loaded during the rounds. Each round runs every one of
them, starting with a different one each time, so that changes in the machine's speed affect all.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import EAGER, LITE, OURS, ROOT, Lite, Omission, make_tasks
from benchmarks.photos import save_photo

_REST = 0.05  # seconds for the last program's threads to go to sleep
_ALIKE = 4.0
"""Mean difference, in levels of 255, up to which two results count as the same network's: with bf16
it is about one, with other weights tens."""


class WorkerError(Exception):
    """A program did not start or ended early; the message is the last line of its log."""


class Worker:
    """The process of one program; see `benchmarks.warm_worker`."""

    def __init__(self, task: dict[str, Any], python: str, environment: dict[str, str]) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by close)
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.warm_worker", json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.about: str = ""

    def start(self) -> None:
        self.about = self._answer()

    def measure(self, budget: float) -> list[float]:
        """Time calls for about `budget` seconds; return the seconds of each, at least one."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(budget)}\n")
        self.process.stdin.flush()
        seconds: list[float] = self._answer()
        return seconds

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.log.close()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            lines = self.log.read().split("\n")
            raise WorkerError(
                next((line for line in reversed(lines) if line.strip()), "it ended without output")
            )
        return json.loads(line)


@contextmanager
def start_worker(
    task: dict[str, Any], cache: Path, lite: Lite | Omission | None = None
) -> Iterator[Any]:
    """Start the process of a program; yield it when it is ready.

    Args:
        task: what to run.
        cache: folder for compiled models.
        lite: the environment of styletransfer-lite.
    """
    python, environment = sys.executable, dict(os.environ)
    if task["kind"] == "lite" and isinstance(lite, Lite):
        python, environment = lite.python, lite.environment()
    worker = Worker(task, python, environment | {"XDG_CACHE_HOME": str(cache)})
    try:
        worker.start()
        yield worker
    finally:
        worker.close()


def measure_warm(
    models: dict[str, Path],
    sides: Sequence[int],
    *,
    folder: Path,
    lite: Lite | Omission,
    rounds: int,
    budget: float,
) -> tuple[list[dict[str, Any]], list[Omission]]:
    """Measure every network at every size.

    Args:
        models: model files, by the name of their size.
        sides: sides of the square photos, in pixels.
        folder: folder of the plain exports, and for temporary files.
        lite: the environment of styletransfer-lite.
        rounds: number of rounds.
        budget: seconds for each program in each round.

    Returns:
        Rows with the seconds of all calls in all rounds, by program; and the omissions.
    """
    rows, problems = [], []
    for size, model in models.items():
        for side in sides:
            photo = save_photo(folder / f"{side}.png", side, side)
            tasks, absent = make_tasks(model, folder, side, lite)
            for number, (name, task) in enumerate(tasks.items()):
                picture = "" if name == LITE else str(folder / f"picture-{number}.npy")
                task |= {"photo": str(photo), "picture": picture}
            problems += absent
            print(f"warm: {size}, {side} px", file=sys.stderr)
            row = {"size": size, "side": side, "weights": model.stem}
            rows.append(row | _measure_row(tasks, folder, lite, rounds, budget))
    return rows, list(dict.fromkeys(problems))


def _measure_row(
    tasks: dict[str, dict[str, Any]], cache: Path, lite: Lite | Omission, rounds: int, budget: float
) -> dict[str, Any]:
    about, failed = {}, {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, task in tasks.items():
            try:
                workers[name] = stack.enter_context(start_worker(task, cache, lite))
                about[name] = workers[name].about
            except WorkerError as error:
                failed[name] = str(error)
                print(f"{name} failed: {error}", file=sys.stderr)
        _compare_pictures({name: task for name, task in tasks.items() if name in workers})
        seconds: dict[str, list[list[float]]] = {name: [] for name in workers}
        names = list(workers)
        for start in range(rounds):
            for i in range(len(names)):
                name = names[(start + i) % len(names)]
                time.sleep(_REST)
                seconds[name].append(workers[name].measure(budget))
    return {"about": about, "failed": failed, "seconds": seconds}


def _compare_pictures(tasks: dict[str, dict[str, Any]]) -> None:
    """Exit if the programs do not give the same result."""
    if EAGER not in tasks:
        return
    expected = np.load(tasks[EAGER]["picture"]).astype(np.float32)
    for name, task in tasks.items():
        if task["picture"]:
            difference = np.abs(np.load(task["picture"]) - expected).mean()
            if not difference < _ALIKE:
                raise SystemExit(
                    f"{name} gives another result than {EAGER}: mean difference {difference:.1f}"
                )


def find_our_engine(row: dict[str, Any]) -> str | None:
    """Return the name of our default engine among the programs of a row."""
    return next((name for name in row["seconds"] if name.startswith(OURS)), None)
