"""The command `fast-style worker`."""

import os
import signal
import sys
import threading
from types import FrameType

import click

from fast_style.cli.exit_codes import INTERRUPTED, TERMINATED, debug_option


@click.command()
@click.option(
    "--database",
    envvar="FAST_STYLE_DATABASE",
    show_envvar=True,
    metavar="URL",
    default="",
    help="Where jobs are kept: sqlite:///FILE, or postgresql://USER@HOST/NAME for several "
    "workers.  [default: SQLite in your data folder]",
)
@click.option(
    "--results",
    envvar="FAST_STYLE_RESULTS",
    show_envvar=True,
    metavar="FOLDER|URL",
    default="",
    help="Folder, or fsspec URL such as s3://bucket/jobs, for inputs and results; the service's.  "
    "[default: in your data folder]",
)
@click.option(
    "--jobs-at-once",
    type=click.IntRange(1, 64),
    metavar="N",
    default=1,
    show_default=True,
    help="Jobs that it does at once.",
)
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(0, 600),
    metavar="S",
    default=3.0,
    show_default=True,
    help="How often an optimisation leaves a checkpoint: as much is done again after a kill.",
)
@click.option("--with-parent", is_flag=True, hidden=True, help="Stop when stdin closes.")
@debug_option
def worker(
    database: str,
    results: str,
    jobs_at_once: int,
    checkpoint_seconds: float,
    with_parent: bool,
) -> None:
    r"""Do the background jobs that `fast-style serve` takes.

    The service starts one of its own. Several, on several machines, need PostgreSQL and a place
    for files that all can reach:

    \b
      fast-style serve --worker elsewhere --database postgresql://... --results s3://...
      fast-style worker --database postgresql://... --results s3://...

    SIGTERM and Ctrl-C end it after some seconds. However it ends, its jobs go on in another, or in
    the next.
    """
    from fast_style.service.jobs.settings import JobSettings
    from fast_style.service.jobs.worker import work

    settings = JobSettings(
        database=database,
        results=results,
        jobs_at_once=jobs_at_once,
        checkpoint_seconds=checkpoint_seconds,
    )
    stop = threading.Event()
    code = 0

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal code
        code = INTERRUPTED if number == signal.SIGINT else TERMINATED
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    if with_parent:
        for watch in (_stop_at_the_end_of_stdin, _stop_without_parent):
            threading.Thread(target=watch, args=(stop,), daemon=True).start()
    work(settings, stop, code=lambda: code)


def _stop_at_the_end_of_stdin(stop: threading.Event) -> None:
    """The parent holds the other end, which closes however it ends."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()


def _stop_without_parent(stop: threading.Event) -> None:
    """Some other child of the parent may still hold the pipe's end when the parent is killed."""
    parent = os.getppid()
    while os.name == "posix" and not stop.wait(1.0):
        if os.getppid() != parent:
            stop.set()
