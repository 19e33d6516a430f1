"""What `stylize` tells the person at the terminal while it works, on stderr."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from fast_style.cli.exit_codes import one_line, say
from fast_style.cli.file_pipeline import Outcome
from fast_style.cli.output_plan import STANDARD

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Report:
    """A bar where there is a terminal and several pictures, a line for each picture otherwise.

    Failures are told in any case; notes once each, even when many pictures give the same.
    """

    def __init__(self, *, quiet: bool = False, debug: bool = False) -> None:
        """Take whether to tell of failures only, and whether to show tracebacks."""
        self.quiet, self.debug = quiet, debug
        self._told: set[str] = set()
        self._bar: tuple[Progress, TaskID] | None = None

    @contextmanager
    def showing(self, total: int) -> Iterator[None]:
        """Show a bar for so many pictures meanwhile, if there is to be one."""
        if self.quiet or total < 2 or not _stderr_is_terminal():
            yield
            return
        # Rich takes as long to import as a small picture takes to stylize.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
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
                return Text("" if speed is None else f"{speed:.3g} photos/s")

        progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            TextColumn("left"),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        with progress:
            self._bar = (progress, progress.add_task("", total=total))
            try:
                yield
            finally:
                self._bar = None

    def outcome(self, outcome: Outcome) -> None:
        """Tell what became of a picture."""
        if outcome.error is not None:
            if self.debug:
                self._line("".join(traceback.format_exception(outcome.error)).rstrip())
            self.problem(outcome.sentence)
        else:
            for note in outcome.notes:
                self.note(note, outcome.job.name)
            if self._bar is None and outcome.job.target != STANDARD and not self.quiet:
                size = f"{outcome.width}x{outcome.height}"
                self._line(
                    f"{one_line(outcome.job.name)} -> {one_line(outcome.job.target)} "
                    f"({size}, {outcome.seconds:.2f} s)"
                )
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, advance=1, description=one_line(outcome.job.name)[-40:])

    def advance(self, pictures: int, description: str) -> None:
        """Move the bar, if there is one, without a word on single pictures."""
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, advance=pictures, description=description)

    def line(self, text: str) -> None:
        """Tell something that only `--quiet` keeps back."""
        if not self.quiet:
            self._line(one_line(text))

    def problem(self, sentence: str) -> None:
        """Tell of a failure; not even `--quiet` keeps it back."""
        if self._bar is None:
            say(sentence)
        else:
            self._line(f"fast-style: {one_line(sentence)}")

    def note(self, text: str, about: str | None = None) -> None:
        """Tell what the user should know, the first time that it comes up."""
        if self.quiet or text in self._told:
            return
        self._told.add(text)
        self._line(f"fast-style: note: {one_line(f'{about}: {text}' if about else text)}")

    def summary(self, done: int, skipped: int, failed: int) -> None:
        """Tell how many pictures are done, where that is not obvious."""
        if self.quiet or done + skipped + failed < 2:
            return
        parts = [f"{done} stylized"]
        parts += [f"{skipped} skipped"] if skipped else []
        parts += [f"{failed} failed"] if failed else []
        self._line(", ".join(parts))

    def _line(self, text: str) -> None:
        if self._bar is None:
            click.echo(text, err=True)
        else:
            # Above the bar; as it is, for a file name may look like rich's markup.
            self._bar[0].console.print(text, markup=False, highlight=False, soft_wrap=True)


def _stderr_is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
