"""The command `fast-style styles`."""

import json
import shutil
import sys
import unicodedata

import click

from fast_style.cli.exit_codes import debug_option, one_line, say

_HEADINGS = ("NAME", "TITLE", "ARTIST", "YEAR", "NETWORK")
_NARROWEST = 8


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Write a JSON document to stdout.")
@debug_option
def styles(as_json: bool) -> None:
    """List the styles that are there.

    They are looked for in ./saved_models, in your own folder ($FAST_STYLE_MODELS, or the
    fast-style/models of your data directory), and among those that ship with the program; where two
    have one name, the first counts. Files that cannot be used are named on stderr, and do not
    change the exit code.
    """
    from fast_style.models.config import parameter_count, size_name
    from fast_style.styles.registry import list_styles, style_folders

    entries = list_styles()
    rows = []
    document = []
    for entry in entries:
        item: dict[str, object] = {"name": entry.name, "path": str(entry.path)}
        if entry.card is None:
            say(f"{entry.name} cannot be used: {entry.problem}")
            document.append(item | {"problem": entry.problem})
            continue
        card = entry.card
        size = size_name(card.network)
        rows.append((entry.name, card.title, card.artist, card.year, size))
        document.append(
            item
            | {"title": card.title, "artist": card.artist, "year": card.year}
            | {"licence": card.licence, "network": size}
            | {"parameters": parameter_count(card.network)}
        )
    if as_json:
        click.echo(json.dumps(document, indent=2))
    elif rows:
        for line in table([_HEADINGS, *rows], _terminal_width()):
            click.echo(line)
    if not entries:
        say(f"there are no styles in {', '.join(str(folder) for folder in style_folders())}")


def table(rows: list[tuple[str, ...]], width: int | None) -> list[str]:
    """Lay out rows in columns, as plain text.

    Args:
        rows: cells, the same number in each row.
        width: columns of the terminal, to which the widest cells are cut; None cuts nothing.

    Returns:
        A line for each row, without spaces at its end.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(_cells_wide, column)) for column in zip(*cells, strict=True)]
    gaps = 2 * (len(widths) - 1)
    # The name is never cut: it is what one has to type.
    while width is not None and sum(widths) + gaps > width and max(widths[1:]) > _NARROWEST:
        widths[1 + widths[1:].index(max(widths[1:]))] -= 1
    return [
        "  ".join(_fitted(cell, wide) for cell, wide in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _terminal_width() -> int | None:
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size((80, 24)).columns


def _cells_wide(text: str) -> int:
    """Count the terminal's cells that text takes: two for each of the wide East Asian letters."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def _fitted(text: str, width: int) -> str:
    if _cells_wide(text) > width:
        while _cells_wide(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - _cells_wide(text))
