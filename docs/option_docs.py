"""Sphinx extension that documents options from the code: commands' help texts, dataclasses' fields.

The directive `command-help COMMAND` inserts the output of `fast-style COMMAND --help`. Dataclasses
whose fields carry a help text get a list of them in the Python reference.
"""

import dataclasses
import re
from typing import Any

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from fast_style.cli.main import group

WIDTH = 88  # characters that fit into the theme's column


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


def list_fields(app: Sphinx, what: str, name: str, item: Any, _: Any, lines: list[str]) -> None:
    """Append the fields of a dataclass of options to its docstring."""
    if what != "class" or not dataclasses.is_dataclass(item):
        return
    for field in dataclasses.fields(item):
        if text := field.metadata.get("help"):
            text = re.sub(r"([*_|`])", r"\\\1", text)
            default = "" if field.default is dataclasses.MISSING else f" (``{field.default!r}``)"
            lines += ["", f"- **{field.name}**{default}: {text}"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and the list of fields."""
    app.add_directive("command-help", CommandHelp)
    app.connect("autodoc-process-docstring", list_fields)
    return {"parallel_read_safe": True}
