"""Command-line options made from the fields of a configuration dataclass."""

from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def options_from(config: type) -> Callable[[Command], Command]:
    """Decorate a command with one option for each field of a dataclass.

    The field's name becomes the flag, its type the option's type, its default the default, and
    `metadata["help"]` the help text; a field without a default is required, a bool is a flag.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(config)
        for spec in reversed(fields(config)):
            flag = f"--{spec.name.replace('_', '-')}"
            help_text = spec.metadata["help"]
            if hints[spec.name] is bool:
                command = click.option(flag, is_flag=True, help=help_text)(command)
                continue
            required = spec.default is MISSING
            command = click.option(
                flag,
                spec.name,
                type=_click_type(hints[spec.name]),
                required=required,
                default=None if required else spec.default,
                show_default=spec.default not in (MISSING, None, ""),
                help=help_text,
            )(command)
        return command

    return decorate


def _click_type(hint: Any) -> Any:
    if get_origin(hint) is UnionType:
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    return click.Path(path_type=Path) if hint is Path else hint
