"""The command `fast-style worker`."""

import os
import signal
import sys
import threading
from types import FrameType

import click

from fast_style.cli.exit_codes import INTERRUPTED, TERMINATED, debug_option
from fast_style.cli.options import options_from
from fast_style.service.jobs.settings import JobSettings


@click.command()
@options_from(
    JobSettings, "settings", only=("database", "results", "jobs_at_once", "checkpoint_seconds")
)
@click.option("--with-parent", is_flag=True, hidden=True, help="Stop when stdin closes.")
@debug_option
def worker(settings: JobSettings, with_parent: bool) -> None:
    """Run the background jobs that `fast-style serve` accepts.

    The service starts one worker itself. Several workers, on several machines, need PostgreSQL and
    a storage that all of them can reach:

    \b
      fast-style serve --worker elsewhere --database postgresql://... --results s3://...
      fast-style worker --database postgresql://... --results s3://...

    SIGTERM and Ctrl-C end it after some seconds. However it ends, another worker, or the next one,
    continues its jobs.
    """  # noqa: D301 (the \b is click's)
    from fast_style.service.jobs.worker import run_worker

    stop = threading.Event()
    code = 0

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal code
        code = INTERRUPTED if number == signal.SIGINT else TERMINATED
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    if with_parent:
        for watch in (_stop_when_stdin_closes, _stop_when_orphaned):
            threading.Thread(target=watch, args=(stop,), daemon=True).start()
    run_worker(settings, stop, exit_code=lambda: code)


def _stop_when_stdin_closes(stop: threading.Event) -> None:
    """Set `stop` when stdin closes, as it does when the parent process ends in any way."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()


def _stop_when_orphaned(stop: threading.Event) -> None:
    """Set `stop` when the parent process ends, even if another process still holds the pipe."""
    parent = os.getppid()
    while os.name == "posix" and not stop.wait(1.0):
        if os.getppid() != parent:
            stop.set()
