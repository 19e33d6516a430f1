"""What `stylize` tells the person at the terminal while it works, on stderr."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from fast_style.cli.exit_codes import one_line, say
from fast_style.cli.file_pipeline import Outcome
from fast_style.cli.output_plan import STANDARD
from fast_style.training.progress_bar import ProgressDisplay


class Report:
    """A bar where there is a terminal and several pictures, a line for each picture otherwise.

    Failures are told in any case; notes once each, even when many pictures give the same.
    """

    def __init__(self, *, quiet: bool = False, debug: bool = False) -> None:
        """Take whether to tell of failures only, and whether to show tracebacks."""
        self.quiet, self.debug = quiet, debug
        self._told: set[str] = set()
        # Not quiet: failures are shown in any case.
        self._display = ProgressDisplay()
        self._done = self._total = 0

    @contextmanager
    def showing(self, total: int) -> Iterator[None]:
        """Show a bar for so many pictures meanwhile, if there is to be one."""
        if self.quiet or total < 2:
            yield
            return
        self._done, self._total = 0, total
        self._display.start(total, unit="photos")
        try:
            yield
        finally:
            self._display.stop()

    def outcome(self, outcome: Outcome) -> None:
        """Tell what became of a picture."""
        if outcome.error is not None:
            if self.debug:
                self._line("".join(traceback.format_exception(outcome.error)).rstrip())
            self.problem(outcome.sentence)
        else:
            for note in outcome.notes:
                self.note(note, outcome.job.name)
            if not self._display.has_bar and outcome.job.target != STANDARD and not self.quiet:
                size = f"{outcome.width}x{outcome.height}"
                self._line(
                    f"{one_line(outcome.job.name)} -> {one_line(outcome.job.target)} "
                    f"({size}, {outcome.seconds:.2f} s)"
                )
        self.advance(1, one_line(outcome.job.name)[-40:])

    def advance(self, pictures: int, description: str) -> None:
        """Move the bar, if there is one, without a word on single pictures."""
        self._done += pictures
        if self._display.has_bar:
            self._display.update(self._done, f"{self._done}/{self._total}", description)

    def line(self, text: str) -> None:
        """Tell something that only `--quiet` keeps back."""
        if not self.quiet:
            self._line(one_line(text))

    def problem(self, sentence: str) -> None:
        """Tell of a failure; not even `--quiet` keeps it back."""
        if not self._display.has_bar:
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
        self._display.print(text)
