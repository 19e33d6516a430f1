"""Progress on stderr, for all commands: a bar on a terminal, lines of text elsewhere."""

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressDisplay:
    """Shows the progress of one task, and messages above the bar.

    Attributes:
        quiet: whether nothing is shown.
    """

    def __init__(self, *, quiet: bool = False, seconds_between_lines: float | None = None) -> None:
        """Create a display, which shows nothing before `start`.

        Args:
            quiet: show neither progress nor messages.
            seconds_between_lines: interval of the lines that stand in for a bar where stderr is no
                terminal; the first update prints a line at once. None prints no lines.
        """
        self.quiet = quiet
        self._interval, self._last_line = seconds_between_lines, -math.inf
        self._bar: tuple[Progress, TaskID] | None = None

    @property
    def has_bar(self) -> bool:
        """Whether a bar is being shown."""
        return self._bar is not None

    def start(self, total: float | None = None, *, unit: str = "", transient: bool = True) -> None:
        """Draw the bar if stderr is a terminal.

        Args:
            total: the task's size; None if `update` sets it.
            unit: what the task counts, in the plural: shows a rate and the time left.
            transient: whether `stop` removes the bar.
        """
        if self.quiet or not stderr_is_terminal():
            return
        # Importing rich takes as long as stylizing a small picture.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                return Text("" if speed is None else f"{speed:.3g} {unit}/s")

        timing = [Rate(), TimeRemainingColumn(), TextColumn("left")] if unit else []
        progress = Progress(
            TextColumn("{task.fields[count]}", markup=False),
            BarColumn(),
            *timing,
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True, highlight=False),
            transient=transient,
            auto_refresh=False,
        )
        progress.start()
        self._bar = (progress, progress.add_task("", total=total, count=""))

    def is_due(self) -> bool:
        """Return whether the next `update` will show something."""
        if self.has_bar:
            return True
        if self.quiet or self._interval is None:
            return False
        return time.monotonic() - self._last_line >= self._interval

    def update(
        self, completed: float, count: str, status: str = "", *, total: float | None = None
    ) -> None:
        """Show how far the task is: in the bar, or as a line if one is due.

        Args:
            completed: how much of the total is done.
            count: the same as text, such as `step 3/10`.
            status: text behind it.
            total: the task's new size, if it has changed.
        """
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, completed=completed, total=total, count=count, description=status)
            with self._no_terminal_tolerated():
                progress.refresh()
        elif self.is_due():
            self._last_line = time.monotonic()
            self.print(f"{count}  {status}".rstrip())

    def print(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self.quiet:
            return
        with self._no_terminal_tolerated():
            if self._bar is None:
                click.echo(text, err=True)
            else:
                # Without markup: a file name may look like it.
                console = self._bar[0].console
                console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def _no_terminal_tolerated(self) -> Iterator[None]:
        """Show nothing more once stderr cannot be written: a closed terminal stops no long task.

        A command of many pictures ends then, as programs in a pipeline do: each one is finished or
        not begun.
        """
        try:
            yield
        except OSError:
            if self._interval is None:
                raise
            self.quiet, self._bar = True, None

    def stop(self) -> None:
        """Remove the bar, or leave it as it is; the terminal is then as before."""
        if self._bar is not None:
            with self._no_terminal_tolerated():
                self._bar[0].stop()
            self._bar = None


def stderr_is_terminal() -> bool:
    """Return whether stderr is a terminal that can draw a bar."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def format_duration(seconds: float) -> str:
    """Format a duration as `M:SS` or `H:MM:SS`.

    Example:
        >>> format_duration(75), format_duration(3675)
        ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
