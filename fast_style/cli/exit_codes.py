"""Exit codes and error messages: every command ends with one line on stderr, never a traceback."""

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn, TypeVar

import click

from fast_style.errors import OptionError, UsageError, describe

FAILED = 1
WRONG_USAGE = 2
SOME_FAILED = 3
INTERRUPTED = 130
TERMINATED = 143

EXIT_CODES = (
    "Exit codes: 0 all done, 1 failed, 2 wrong usage, 3 some inputs failed (each is named), "
    "130 interrupted, 143 terminated."
)
"""Text for the end of a command's help."""

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


@dataclass(slots=True)
class CommandState:
    """CommandState of the running command, kept as the click context's `obj`.

    Attributes:
        debug: whether `--debug` was given.
    """

    debug: bool = False


class Terminated(BaseException):
    """Raised on SIGTERM; not an Exception, so that no picture's error handling catches it."""


def run(
    command: click.Command, args: Sequence[str] | None = None, prog_name: str | None = None
) -> NoReturn:
    """Run a command and end the process with its exit code.

    Args:
        command: the command or group.
        args: its arguments, those of the process if None.
        prog_name: its name in help and usage; that of the process if None.
    """
    state = CommandState()
    # A painting's title may contain letters that the terminal's encoding lacks.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _sigterm_raises():
            # Called unbound, since a group's own `main` calls this function.
            result = click.Command.main(
                command,
                args,
                prog_name,
                standalone_mode=False,
                obj=state,
                # Inherited by a group's commands.
                help_option_names=["-h", "--help"],
                max_content_width=100,
            )
            if sys.stdout is not None:
                sys.stdout.flush()
        code = result if isinstance(result, int) else 0
    except BaseException as error:
        code = _print_error(error, state.debug)
    sys.exit(code)


def print_message(message: str) -> None:
    """Print a line to stderr, with the name of the program before it."""
    # The reader of stderr may have closed it.
    with suppress(OSError):
        click.echo(f"fast-style: {one_line(message)}", err=True)


def one_line(text: str) -> str:
    """Replace line breaks and control characters, which file names may contain."""
    return "".join(
        character
        if character.isprintable()
        else (" " if character in "\n\r\t" else repr(character)[1:-1])
        for character in text.strip()
    )


def debug_option(command: _Decorated) -> _Decorated:
    """Add `--debug` to a command, which shows the traceback of an error."""
    return click.option(
        "--debug",
        is_flag=True,
        is_eager=True,  # so that it also applies to errors in other options
        expose_value=False,
        callback=_set_debug,
        help="Show the traceback of an error.",
    )(command)


def debugging() -> bool:
    """Return whether the running command was given `--debug`."""
    context = click.get_current_context(silent=True)
    state = context.find_object(CommandState) if context else None
    return state is not None and state.debug


def _set_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(CommandState).debug = True


def _print_error(error: BaseException, debug: bool) -> int:
    """Print an exception as one line to stderr, and return the exit code."""
    if isinstance(error, SystemExit):
        raise error
    # Click raises Abort for a KeyboardInterrupt, but also for an EOFError.
    if isinstance(error, click.Abort) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, KeyboardInterrupt | click.Abort):
        print_message("interrupted")
        return INTERRUPTED
    if isinstance(error, Terminated):
        print_message("terminated")
        return TERMINATED
    if isinstance(error, BrokenPipeError):  # such as `fast-style styles | head`
        _discard_stdout()
        return FAILED
    if debug:
        traceback.print_exception(error)
    # New in click 8.2.
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        click.echo(str(error), err=True)
        return WRONG_USAGE
    if isinstance(error, click.UsageError):
        help_hint = f" ({error.ctx.command_path} --help)" if error.ctx else ""
        print_message(error.format_message().rstrip(".") + help_hint)
        return WRONG_USAGE
    if isinstance(error, click.ClickException):
        print_message(error.format_message())
        return error.exit_code
    if isinstance(error, OptionError):
        print_message(f"--{error.option.replace('_', '-')} {error.problem}")
        return WRONG_USAGE
    print_message(describe(error))
    if isinstance(error, OSError):
        _discard_stdout()  # on a full disk the interpreter would try to write again at exit
    return WRONG_USAGE if isinstance(error, UsageError) else FAILED


def _discard_stdout() -> None:
    """Redirect stdout to nowhere, so that flushing it at exit raises nothing."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Make SIGTERM raise an exception as Ctrl-C does, so that temporary files are deleted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def unwind(_: int, __: FrameType | None) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
