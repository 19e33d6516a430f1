"""Run `fast-style` in tests: in this process, or as a command in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from fast_style.cli.main import group

CHECKOUT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Result:
    """The result of a command."""

    code: int
    out: str
    err: str
    out_bytes: bytes

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def invoke(*args: object, input: bytes | None = None) -> Result:
    """Run in this process, and check that no traceback is printed."""
    done = CliRunner().invoke(group, [str(arg) for arg in args], input=input)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    err = done.stderr
    if "--debug" not in args:
        assert "Traceback" not in done.output
    return Result(
        done.exit_code, done.stdout_bytes.decode("utf-8", "replace"), err, done.stdout_bytes
    )


def failure(*args: object, code: int = 1, input: bytes | None = None) -> str:
    """Run a command that must fail with one line on stderr, and return that message."""
    result = invoke(*args, input=input)
    assert result.code == code, result.err
    assert result.out == ""
    assert len(result.lines) == 1, result.err
    assert result.err.startswith("fast-style: ")
    return result.lines[0].removeprefix("fast-style: ")


def command(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run as a command in a process of its own, from the current directory."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "fast_style", *map(str, args)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def environment() -> dict[str, str]:
    """Return an environment in which commands import this checkout."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}
