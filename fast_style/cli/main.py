"""The group `fast-style`; the file of a command is imported when that command is called."""

import difflib
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

import click

from fast_style._version import __version__
from fast_style.cli.exit_codes import EXIT_CODES, debug_option, run
from fast_style.errors import MissingExtraError


class _Entry(NamedTuple):
    target: str
    help: str
    extra: str | None = None


COMMANDS = {
    "stylize": _Entry("fast_style.cli.stylize:stylize", "Put a style on photos."),
    "video": _Entry("fast_style.cli.video:video", "Put a style on a video.", "video"),
    "optimize": _Entry(
        "fast_style.cli.optimize:optimize", "Put any painting on a photo, in minutes.", "torch"
    ),
    "bulk": _Entry("fast_style.cli.bulk:bulk", "Put a style on millions of photos."),
    "sheet": _Entry("fast_style.cli.sheet:sheet", "Show all styles on photos, on one sheet."),
    "styles": _Entry("fast_style.cli.styles:styles", "List the styles that are there."),
    "info": _Entry("fast_style.cli.info:info", "Show what is known of a style."),
    "train": _Entry("fast_style.cli.train:train", "Learn a style from a painting.", "train"),
    "import": _Entry("fast_style.cli.import_:import_", "Make a style of another's checkpoint."),
    "export": _Entry("fast_style.cli.export:export", "Write a style for other programs."),
    "verify": _Entry("fast_style.cli.verify:verify", "Check that model files are what they were."),
    "models": _Entry("fast_style.cli.models:models", "Add styles to your folder, remove them."),
    "demo": _Entry("fast_style.cli.demo:demo", "Open the demo in the browser.", "demo"),
    "serve": _Entry("fast_style.cli.serve:serve", "Serve styles over HTTP.", "serve"),
    "worker": _Entry("fast_style.cli.worker:worker", "Do the background jobs of serve.", "serve"),
}
"""Each command: where it is, the line that `--help` shows, the extra of the package it needs."""


class LazyGroup(click.Group):
    """A group that imports a command only to run it.

    The pattern of click's documentation ("Lazily Loading Subcommands"), but with the short helps in
    the table, so that `fast-style --help` imports nothing either.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, in the order in which one needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        try:
            command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if entry.extra is None or package in ("", "fast_style"):
                raise
            raise MissingExtraError(f"fast-style {cmd_name}", package, entry.extra) from error
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called, or say which one may have been meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run and exit; see `run` for how failures are told."""
        if not kwargs.get("standalone_mode", True):
            return super().main(*args, **kwargs)
        run(self, *args, **kwargs)


@click.command(
    "fast-style",
    cls=LazyGroup,
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name="fast-style", message="%(prog)s %(version)s")
@debug_option
def group() -> None:
    """Fast neural style transfer: put the style of a painting on photos."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command `fast-style` and end the process with its exit code.

    Args:
        args: the arguments after the program's name; those of the process if None.
    """
    run(group, args)
