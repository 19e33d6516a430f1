"""The command `fast-style styles`."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING

import click

from fast_style.cli.exit_codes import debug_option, one_line, print_message
from fast_style.cli.options import json_option
from fast_style.errors import UsageError, shorten

if TYPE_CHECKING:
    from fast_style.styles.registry import StyleEntry

_HEADINGS = ("NAME", "TITLE", "ARTIST", "YEAR", "SIZES", "TAGS", "DESCRIPTION")
_MIN_COLUMN_WIDTH = 8


@click.command()
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="WORD",
    help="Only styles with this tag, such as ink, oil, print, bold, gentle, dark, light; may be "
    "repeated.",
)
@json_option
@debug_option
def styles(tags: tuple[str, ...], as_json: bool) -> None:
    """List the available styles: what pleases most first, the best on faces before all.

    A style may come in several sizes: NAME is the standard one, NAME-full the most faithful,
    NAME-tiny the fastest.

    They are searched in ./saved_models, in your own folder ($FAST_STYLE_MODELS, or else
    fast-style/models in your data directory), and among those installed with the program; if two
    have the same name, the first is used. Unusable files are named on stderr and do not change the
    exit code.
    """
    from fast_style.models.config import parameter_count, size_name
    from fast_style.styles.registry import list_styles, style_folders

    everything = list_styles()
    entries = _select(everything, tags)
    rows = []
    document = []
    for entry in entries:
        item: dict[str, object] = {"name": entry.name, "path": str(entry.path)}
        if entry.card is None:
            print_message(f"{entry.name} cannot be used: {entry.problem}")
            document.append(item | {"problem": entry.problem})
            continue
        card = entry.card
        others = [one for one in everything if one.size_of == entry.name and one.card is not None]
        size = size_name(card.network)
        sizes = ", ".join([size, *(one.name[len(entry.name) + 1 :] for one in others)])
        words = (sizes, ", ".join(entry.tags), entry.description)
        rows.append((entry.name, card.title, card.artist, card.year, *words))
        document.append(
            item
            | {"title": card.title, "artist": card.artist, "year": card.year}
            | {"licence": card.licence, "network": size}
            | {"parameters": parameter_count(card.network), "tags": list(entry.tags)}
            | {"description": entry.description, "other_sizes": [one.name for one in others]}
        )
    if as_json:
        click.echo(json.dumps(document, indent=2))
    elif rows:
        for line in table([_HEADINGS, *rows], _terminal_width()):
            click.echo(line)
    if not everything:
        print_message(
            f"there are no styles in {', '.join(str(folder) for folder in style_folders())}"
        )


def _select(entries: list[StyleEntry], tags: tuple[str, ...]) -> list[StyleEntry]:
    """Return the styles that have all tags, without those that are another size of a style.

    Raises:
        UsageError: no style has one of the tags.
    """
    known = sorted({tag for entry in entries for tag in entry.tags})
    wanted = {tag.casefold() for tag in tags}
    for tag in sorted(wanted.difference(known)):
        raise UsageError(
            f"no style has the tag {shorten(repr(tag))}; there are {', '.join(known) or 'none'}"
        )
    styles = (entry for entry in entries if entry.size_of is None)
    return [entry for entry in styles if wanted.issubset(entry.tags)]


def table(rows: list[tuple[str, ...]], width: int | None) -> list[str]:
    """Lay out rows in columns, as plain text.

    Args:
        rows: cells, the same number in each row.
        width: width of the terminal in characters, to which the widest cells are cut; None cuts
            nothing.

    Returns:
        A line for each row, without trailing spaces.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(_display_width, column)) for column in zip(*cells, strict=True)]
    gaps = 2 * (len(widths) - 1)
    # The name is never cut, since users have to type it.
    while width is not None and sum(widths) + gaps > width and max(widths[1:]) > _MIN_COLUMN_WIDTH:
        widths[1 + widths[1:].index(max(widths[1:]))] -= 1
    return [
        "  ".join(_pad_or_cut(cell, wide) for cell, wide in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _terminal_width() -> int | None:
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size((80, 24)).columns


def _display_width(text: str) -> int:
    """Return the width of text in terminal cells: wide East Asian characters take two."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def _pad_or_cut(text: str, width: int) -> str:
    if _display_width(text) > width:
        while _display_width(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - _display_width(text))
