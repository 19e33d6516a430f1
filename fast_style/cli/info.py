"""The command `fast-style info`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from fast_style.cli.exit_codes import debug_option, one_line
from fast_style.cli.options import json_option

_LABEL_WIDTH = 12


@click.command()
@click.argument("style", metavar="NAME|FILE")
@json_option
@debug_option
def info(style: str, as_json: bool) -> None:
    """Show the card and the size of a style.

    The whole file is read and checked: if this command succeeds, the style can be used.
    """
    from fast_style.models.config import parameter_count, size_name
    from fast_style.styles.registry import find_style, load_file

    path = find_style(style)
    card = load_file(path).card
    parameters = parameter_count(card.network)
    if as_json:
        document = {"path": str(path), "parameters": parameters} | card.to_dict()
        click.echo(json.dumps(document, indent=2))
        return
    network = card.network
    named = {
        "name": card.name,
        "title": card.title,
        "artist": card.artist,
        "year": card.year,
        "licence": card.licence,
        "network": f"{size_name(network)}, {parameters:,} parameters",
        "file": f"{path} ({path.stat().st_size:,} bytes, format {card.format_version})",
        "thumbnail": f"{len(card.thumbnail):,} bytes of WebP" if card.thumbnail else "",
        "training": card.training,
        "quality": card.quality,
    }
    for line in _lines(named):
        click.echo(line)


def _lines(named: Mapping[str, Any], indent: int = 0) -> Iterator[str]:
    """Yield a line for each name and value, nested values indented; empty values are left out."""
    for name, value in named.items():
        if value in ("", None) or value == {}:
            continue
        label = " " * indent + one_line(str(name))
        if isinstance(value, Mapping):
            yield label
            yield from _lines(value, indent + 2)
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{label:<{_LABEL_WIDTH + indent}} {one_line(text)}"
