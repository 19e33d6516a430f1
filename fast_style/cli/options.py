"""Command-line options made from the fields of a dataclass, and options that commands share.

The fields are made with `fast_style.options.option`; the dataclass checks the values.
"""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, fields
from functools import wraps
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

import click

from fast_style.options import split_hint, type_hints

Command = TypeVar("Command", bound=Callable[..., Any])


def options_from(
    config: Callable[..., Any],
    parameter: str,
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[Command], Command]:
    """Decorate a command with one option for each field of a dataclass.

    The field's name becomes the flag, its type the option's type, its default the default, and
    `metadata["help"]` the help text; a field without a default is required, a bool is a flag
    (`--NAME/--no-NAME` if it is True by default).
    Fields made with `option(..., cli=False)` are left out and keep their defaults.

    Args:
        config: the dataclass.
        parameter: the command's parameter that gets the instance made from the options.
        only: names of the fields to make options of; all if None.
        without: names of fields that this command does not have.
        defaults: defaults of this command that differ from those of the dataclass.
    """
    hints = type_hints(config)
    specs = [
        spec
        for spec in fields(config)  # type: ignore[arg-type]
        if spec.metadata["cli"] and (only is None or spec.name in only) and spec.name not in without
    ]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def call_with_config(*args: Any, **values: Any) -> Any:
            own = {spec.name: values.pop(spec.name) for spec in specs}
            own = {name: value for name, value in own.items() if value is not None}
            return command(*args, **values, **{parameter: config(**own)})

        decorated: Any = call_with_config
        for spec in reversed(specs):
            default = (defaults or {}).get(spec.name, spec.default)
            decorated = _click_option(spec, hints[spec.name], default)(decorated)
        result: Command = decorated
        return result

    return decorate


_STYLE_HELP = (
    "The style: a name from `fast-style styles`, a model file, any picture, or a mixture of "
    "these with their shares, NAME:0.6,painting.jpg:0.4."
)


def style_name_option(command: Command) -> Command:
    """Add a required `--style` to a command."""
    return click.option("--style", "-s", metavar="NAME|FILE", required=True, help=_STYLE_HELP)(
        command
    )


def styles_option(command: Command) -> Command:
    """Add a required `--style` that may be given several times, as the parameter `styles`."""
    return click.option(
        "--style",
        "-s",
        "styles",
        metavar="NAME|FILE",
        required=True,
        multiple=True,
        help=f"{_STYLE_HELP} Several, each with its own --mask, share the picture.",
    )(command)


def colors_of_option(command: Command) -> Command:
    """Add `--colors-of` to a command."""
    help_text = "Give the result the colours of a picture, in place of the style's."
    return click.option("--colors-of", metavar="PICTURE", help=help_text)(command)


def mask_option(command: Command) -> Command:
    """Add `--mask`, which may be given several times, as the parameter `masks`."""
    help_text = (
        "Where the style is applied: a picture of any size, white where it is and black where the "
        "photo stays; alpha for the photo's own opacity; or a folder with a mask of each photo's "
        "name. Repeated for several styles, in their order; without the last mask, the last style "
        "has the rest."
    )
    return click.option(
        "--mask", "-m", "masks", metavar="MASK|FOLDER|alpha", multiple=True, help=help_text
    )(command)


def standard_output(output: str | None) -> str | None:
    """Return "-" for an output such as `/dev/stdout` that is the standard output, else itself."""
    from fast_style.storage.atomic_write import descriptor_of

    return "-" if output is not None and descriptor_of(output) == 1 else output


def json_option(command: Command) -> Command:
    """Add `--json` to a command, as the parameter `as_json`."""
    help_text = "Print one JSON document to stdout."
    return click.option("--json", "as_json", is_flag=True, help=help_text)(command)


def quiet_option(command: Command) -> Command:
    """Add `-q` and `--quiet` to a command, as the parameter `quiet`."""
    return click.option("-q", "--quiet", is_flag=True, help="Print errors only.")(command)


def _click_option(spec: "Field[Any]", hint: Any, default: Any) -> Callable[[Any], Any]:
    flag = f"--{spec.name.replace('_', '-')}"
    if hint is bool:
        if default is True:
            flag += f"/--no-{flag[2:]}"
        return click.option(flag, is_flag=True, default=default, help=spec.metadata["help"])
    if "flag_value" in spec.metadata:
        return _FlagWithValue.option(flag, spec, split_hint(hint)[0])
    required = default is MISSING
    return click.option(
        flag,
        spec.name,
        type=_click_type(hint),
        required=required,
        default=None if required else default,
        show_default=default not in (MISSING, None, ""),
        metavar=spec.metadata.get("metavar"),
        envvar=spec.metadata.get("envvar"),
        show_envvar="envvar" in spec.metadata,
        help=spec.metadata["help"],
    )


def _click_type(hint: Any) -> Any:
    choices, types = split_hint(hint)
    wanted = [kind for kind in types if kind is not NoneType]
    if choices and wanted:
        return _ChoiceOrNumber(choices, wanted[0])
    if choices:
        return click.Choice(choices, case_sensitive=False)
    return click.Path(path_type=Path) if wanted[0] is Path else wanted[0]


class _FlagWithValue(click.Option):
    """A flag that may be followed by one of some names: `--preserve-color [histogram]`.

    click takes whatever follows such an option for its value. Here it is no value if it is empty,
    another option or a path, so that an argument can follow the flag too. Any other word is left to
    click, which refuses it by naming the choices.
    """

    @classmethod
    def option(
        cls, flag: str, spec: "Field[Any]", choices: tuple[str, ...]
    ) -> Callable[[Any], Any]:
        return click.option(
            flag,
            spec.name,
            cls=cls,
            type=click.Choice(choices, case_sensitive=False),
            is_flag=False,
            flag_value=spec.metadata["flag_value"],
            default=None,
            show_default=False,
            metavar=f"[{spec.metadata['metavar']}]",
            help=spec.metadata["help"],
        )

    def expand(self, args: list[str]) -> list[str]:
        """Add the value to the flag where an option, a path or nothing follows it."""
        assert isinstance(self.type, click.Choice)
        names, flag, expanded = self.type.choices, self.opts[0], list(args)
        for i, arg in enumerate(args):
            if arg == "--":
                break
            following = args[i + 1] if i + 1 < len(args) else ""
            if arg == flag and following.lower() not in names and not _is_plain_word(following):
                expanded[i] = f"{flag}={self.flag_value}"
        return expanded


def _is_plain_word(text: str) -> bool:
    """Return whether a word is neither an option nor a path nor a URL."""
    return text.isalpha() and not os.path.exists(text)


class StyleCommand(click.Command):
    """A command whose options may be flags with an optional value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments; see `_FlagWithValue`."""
        for param in self.params:
            if isinstance(param, _FlagWithValue):
                args = param.expand(args)
        return super().parse_args(ctx, args)


class _ChoiceOrNumber(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since 8.5
    """One of some names, or a number, such as `auto`, `off` or `512`."""

    def __init__(self, choices: tuple[str, ...], number: type) -> None:
        self._choices, self._number = choices, number
        self.name = "|".join((*choices, "N"))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self._choices:
            return value
        try:
            return self._number(value)
        except ValueError:
            self.fail(f"{value!r} is not {', '.join(self._choices)} or a number", param, ctx)
