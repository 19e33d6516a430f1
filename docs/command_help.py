"""The Sphinx directive `command-help`: the output of `fast-style COMMAND --help`, as it is now."""

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from fast_style.cli.main import group

WIDTH = 96


class CommandHelp(Directive):
    """Insert the help text of one command, or of the program where no command is named."""

    optional_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Return one literal block."""
        command: click.Command = group
        context = click.Context(group, info_name="fast-style", max_content_width=WIDTH)
        for name in self.arguments:
            assert isinstance(command, click.Group)
            found = command.get_command(context, name)
            if found is None:
                raise self.error(f"there is no command {' '.join(self.arguments)}")
            command = found
            context = click.Context(
                found, info_name=name, parent=context, max_content_width=WIDTH, terminal_width=WIDTH
            )
        block = nodes.literal_block(text=command.get_help(context))
        block["language"] = "text"
        return [block]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
