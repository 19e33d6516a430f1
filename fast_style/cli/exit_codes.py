"""How a command ends: in one line and an exit code, whatever happens, and never in a traceback."""

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

from fast_style.errors import OptionError, UsageError
from fast_style.errors import describe as describe  # commands take it from here

FAILED = 1
WRONG_USAGE = 2
SOME_FAILED = 3
INTERRUPTED = 130
TERMINATED = 143

EXIT_CODES = (
    "Exit codes: 0 all done, 1 failed, 2 wrong usage, 3 some inputs failed (each is named), "
    "130 interrupted, 143 terminated."
)
"""For the end of a command's help."""

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


@dataclass(slots=True)
class Settings:
    """What holds for a whole run of the command; the click context's `obj`."""

    debug: bool = False


class Terminated(BaseException):
    """SIGTERM came; not an Exception, so that nothing takes it for a failure of one picture."""


def run(
    command: click.Command, args: Sequence[str] | None = None, prog_name: str | None = None
) -> NoReturn:
    """Run a command and end the process with its exit code.

    Args:
        command: the command or group.
        args: its arguments, those of the process if None.
        prog_name: its name in help and usage; told from the process if None.
    """
    settings = Settings()
    # A painting's title may have letters that the terminal's encoding has not.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _terminable():
            # Unbound: a group's own `main` leads back here.
            result = click.Command.main(
                command,
                args,
                prog_name,
                standalone_mode=False,
                obj=settings,
                # A group's commands inherit these.
                help_option_names=["-h", "--help"],
                max_content_width=100,
            )
            if sys.stdout is not None:
                sys.stdout.flush()
        code = result if isinstance(result, int) else 0
    except BaseException as error:
        code = _report(error, settings.debug)
    sys.exit(code)


def say(message: str) -> None:
    """Print a line to stderr, with the name of the program before it."""
    # Whoever listened may have gone, and then there is nobody to tell.
    with suppress(OSError):
        click.echo(f"fast-style: {one_line(message)}", err=True)


def one_line(text: str) -> str:
    """Make text safe to print: a single line, without control characters (file names have them)."""
    return "".join(
        character
        if character.isprintable()
        else (" " if character in "\n\r\t" else repr(character)[1:-1])
        for character in text.strip()
    )


def debug_option(command: _Decorated) -> _Decorated:
    """Add `--debug` to a command, which shows the traceback of whatever goes wrong."""
    return click.option(
        "--debug",
        is_flag=True,
        is_eager=True,  # also in force when another option is wrong
        expose_value=False,
        callback=_note_debug,
        help="Show the traceback of an error.",
    )(command)


def debugging() -> bool:
    """Tell whether the running command was given `--debug`."""
    context = click.get_current_context(silent=True)
    settings = context.find_object(Settings) if context else None
    return settings is not None and settings.debug


def _note_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Settings).debug = True


def _report(error: BaseException, debug: bool) -> int:
    """Tell of an exception in one line, and give the exit code that it means."""
    if isinstance(error, SystemExit):
        raise error
    # Click makes an Abort of a KeyboardInterrupt, but of an EOFError too, which is none.
    if isinstance(error, click.Abort) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, KeyboardInterrupt | click.Abort):
        say("interrupted")
        return INTERRUPTED
    if isinstance(error, Terminated):
        say("terminated")
        return TERMINATED
    if isinstance(error, BrokenPipeError):  # `fast-style styles | head`: nothing went wrong here
        _abandon_stdout()
        return FAILED
    if debug:
        traceback.print_exception(error)
    # New in click 8.2.
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        click.echo(str(error), err=True)
        return WRONG_USAGE
    if isinstance(error, click.UsageError):
        help_hint = f" ({error.ctx.command_path} --help)" if error.ctx else ""
        say(error.format_message().rstrip(".") + help_hint)
        return WRONG_USAGE
    if isinstance(error, click.ClickException):
        say(error.format_message())
        return error.exit_code
    if isinstance(error, OptionError):
        say(f"--{error.option.replace('_', '-')} {error.problem}")
        return WRONG_USAGE
    say(describe(error))
    if isinstance(error, OSError):
        _abandon_stdout()  # a full disk, perhaps: the interpreter would try again, and complain
    return WRONG_USAGE if isinstance(error, UsageError) else FAILED


def _abandon_stdout() -> None:
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that temporary files go."""
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
