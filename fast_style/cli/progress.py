"""Progress, notes and errors of commands that process many pictures, printed to stderr."""

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fast_style.cli.exit_codes import one_line, print_message
from fast_style.images.left_out import LeftOut
from fast_style.inference.pipeline import STANDARD, PictureResult
from fast_style.training.progress_bar import ProgressDisplay


class ProgressReporter:
    """Shows a bar on a terminal if there are several pictures, else a line for each picture.

    Errors are always printed, each note only once.

    Attributes:
        quiet: whether only errors are printed.
    """

    def __init__(self, *, quiet: bool = False, debug: bool = False) -> None:
        """Create a reporter.

        Args:
            quiet: print errors only.
            debug: print tracebacks of errors.
        """
        self.quiet, self._debug = quiet, debug
        self._notes: set[str] = set()
        self._display = ProgressDisplay()  # not quiet: errors are always printed
        self._done = self._total = 0

    @contextmanager
    def bar(self, total: int) -> Iterator[None]:
        """Show a bar for `total` pictures during the block, if stderr is a terminal."""
        if self.quiet or total < 2:
            yield
            return
        self._done, self._total = 0, total
        self._display.start(total, unit="photos")
        try:
            yield
        finally:
            self._display.stop()

    def result(self, result: PictureResult) -> None:
        """Print the result for a picture and advance the bar."""
        name = one_line(result.task.name)
        if result.error is not None:
            if self._debug:
                self._print("".join(traceback.format_exception(result.error)).rstrip())
            self.error(result.error_message)
        else:
            for note in result.notes:
                self.note(note, result.task.name)
            if not self._display.has_bar and result.task.target != STANDARD and not self.quiet:
                self._print(
                    f"{name} -> {one_line(result.task.target)} "
                    f"({result.width}x{result.height}, {result.seconds:.2f} s)"
                )
        self.advance(1, name[-40:])

    def advance(self, pictures: int, description: str) -> None:
        """Advance the bar, if there is one; print nothing about single pictures."""
        self._done += pictures
        if self._display.has_bar:
            self._display.update(self._done, f"{self._done}/{self._total}", description)

    def line(self, text: str) -> None:
        """Print a line, unless quiet."""
        if not self.quiet:
            self._print(one_line(text))

    def error(self, sentence: str) -> None:
        """Print an error, even if quiet."""
        if self._display.has_bar:
            self._print(f"fast-style: {one_line(sentence)}")
        else:
            print_message(sentence)

    def errors(self, errors: Iterable[tuple[str, str]]) -> None:
        """Print errors, each given as an input and a sentence, even if quiet."""
        for source, sentence in errors:
            self.error(f"{source}: {sentence}")

    def note(self, text: str, about: str | None = None) -> None:
        """Print a note the first time that it occurs, unless quiet.

        Args:
            text: the note.
            about: the picture that it is about.
        """
        if self.quiet or text in self._notes:
            return
        self._notes.add(text)
        self._print(f"fast-style: note: {one_line(f'{about}: {text}' if about else text)}")

    def left_out(self, folder: str, left_out: LeftOut) -> None:
        """Print what a folder contains beside readable pictures, unless quiet."""
        if left_out.counts:
            self.note(f"left out: {left_out.describe()}", folder)
        if left_out.folders:
            count = left_out.folders
            self.note(f"{count} subfolder{'s' * (count > 1)} not searched (--recursive)", folder)

    def summary(self, done: int, skipped: int, failed: int) -> None:
        """Print the numbers of pictures, if there are several."""
        if self.quiet or done + skipped + failed < 2:
            return
        parts = [f"{done} stylized"]
        parts += [f"{skipped} skipped"] if skipped else []
        parts += [f"{failed} failed"] if failed else []
        self._print(", ".join(parts))

    def _print(self, text: str) -> None:
        self._display.print(text)
