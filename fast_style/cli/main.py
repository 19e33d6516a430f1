"""The command group `fast-style`; a command's module is imported only when it is called."""

import difflib
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

import click

from fast_style._version import __version__
from fast_style.cli.exit_codes import EXIT_CODES, debug_option, run
from fast_style.errors import MissingExtraError


class _CommandEntry(NamedTuple):
    target: str
    help: str
    extra: str | None = None


COMMANDS = {
    "stylize": _CommandEntry("fast_style.cli.stylize:stylize", "Apply a style to photos."),
    "video": _CommandEntry("fast_style.cli.video:video", "Apply a style to a video.", "video"),
    "webcam": _CommandEntry(
        "fast_style.cli.webcam:webcam", "Apply a style to a camera, live.", "video"
    ),
    "optimize": _CommandEntry(
        "fast_style.cli.optimize:optimize", "Apply any painting to a photo, in minutes.", "torch"
    ),
    "bulk": _CommandEntry("fast_style.cli.bulk:bulk", "Apply a style to millions of photos."),
    "sheet": _CommandEntry(
        "fast_style.cli.sheet:sheet", "Show all styles on photos, on one sheet."
    ),
    "styles": _CommandEntry("fast_style.cli.styles:styles", "List the available styles."),
    "info": _CommandEntry("fast_style.cli.info:info", "Show a style's card."),
    "train": _CommandEntry("fast_style.cli.train:train", "Train a style from a painting.", "train"),
    "import": _CommandEntry(
        "fast_style.cli.import_:import_", "Import another project's checkpoint."
    ),
    "export": _CommandEntry("fast_style.cli.export:export", "Export a style for other programs."),
    "verify": _CommandEntry("fast_style.cli.verify:verify", "Check that model files are intact."),
    "models": _CommandEntry("fast_style.cli.models:models", "Add and remove your own styles."),
    "demo": _CommandEntry("fast_style.cli.demo:demo", "Open the demo in the browser.", "demo"),
    "serve": _CommandEntry("fast_style.cli.serve:serve", "Serve styles over HTTP.", "serve"),
    "worker": _CommandEntry(
        "fast_style.cli.worker:worker", "Run the background jobs of serve.", "serve"
    ),
}
"""The commands: the function, the line in `--help`, and the extra with the packages it needs."""


class LazyGroup(click.Group):
    """A group that imports a command only when it is run.

    This follows "Lazily Loading Subcommands" in click's documentation; the one-line helps are in
    the table, so that `fast-style --help` imports no command either.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of that name."""
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
        """Find the command that is called, or suggest a similar one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands for `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the group and end the process, see `exit_codes.run`."""
        if not kwargs.get("standalone_mode", True):
            return super().main(*args, **kwargs)
        run(self, *args, **kwargs)


@click.command("fast-style", cls=LazyGroup, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="fast-style", message="%(prog)s %(version)s")
@debug_option
def group() -> None:
    """Fast neural style transfer: apply the style of a painting to photos."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command `fast-style` and end the process with its exit code.

    Args:
        args: the arguments after the program's name; those of the process if None.
    """
    run(group, args)
