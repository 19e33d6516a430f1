"""Print the tables of the shipped styles, from their cards.

    python -m benchmarks.style_table [FOLDER]

The figures come from `benchmarks.quality --write-cards`.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.equivalents import make_card_key
from fast_style.models.card import ModelCard
from fast_style.models.config import parameter_count, size_name
from fast_style.models.model_file import read_card
from fast_style.styles.catalogue import read_catalogue

SIDES = (256, 512)
PICTURES = "../docs/styles"
"""Folder of the strips of `docs/make_pictures.py`, relative to the shipped models."""

SHIPPED = Path(__file__).parents[1] / "saved_models"


def format_figure(values: Mapping[str, Any] | None, limit: int | None) -> str:
    """Format median and quartiles as `make_quality_table` does; a dash if not measured."""
    if values is None:
        return "-"

    def one(value: float) -> str:
        return f"{'>' if limit is not None and value >= limit else ''}{value:.0f}"

    lower, upper = values["quartiles"]
    return f"{one(values['median'])} ({one(lower)}-{one(upper)})"


def describe_training(values: Mapping[str, Any]) -> str:
    """Return steps, minutes and start of a model's training; a dash if unknown."""
    if not values.get("steps_taken") or not values.get("seconds"):
        return "-"
    start = (values.get("started_from") or {}).get("name") or "scratch"
    return f"{values['steps_taken']:,} steps, {values['seconds'] / 60:.0f} min, from {start}"


def make_gallery(cards: Sequence[ModelCard]) -> list[str]:
    """Return the lines of a Markdown table: each style with its picture and its painting."""
    lines = ["| style |  | painting |", "|---|---|---|"]
    for card in cards:
        painting = ", ".join(filter(None, (f"*{card.title or card.name}*", card.artist, card.year)))
        licence = f" ({card.licence})" if card.licence else ""
        lines.append(f"| `{card.name}` | ![]({PICTURES}/{card.name}.jpg) | {painting}{licence} |")
    return lines


def make_style_table(styles: Sequence[tuple[ModelCard, int]]) -> list[str]:
    """Return the lines of a Markdown table: each style with its network, training and quality.

    Args:
        styles: each style's card, and the size of its file in bytes.
    """
    head = ["style", "network", "file", "last training"]
    head += [f"equals L-BFGS iteration, {side} px" for side in SIDES] + ["on unseen layers"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for card, size in styles:
        network = f"{size_name(card.network)}, {parameter_count(card.network):,} parameters"
        cells = [
            f"`{card.name}`",
            network,
            f"{size / 1000:,.0f} KB",
            describe_training(card.training),
        ]
        found = [card.quality.get(make_card_key(side), {}) for side in SIDES]
        cells += [
            format_figure(f.get("equals_iteration"), f.get("lbfgs_iterations"))
            + (f", {f['photos']} photos" if "photos" in f else "")
            for f in found
        ]
        cells += [format_figure(found[0].get("on_unseen_layers"), found[0].get("lbfgs_iterations"))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=SHIPPED)
    folder = parser.parse_args().folder
    catalogue = read_catalogue(folder)

    def place(path: Path) -> tuple[int, str]:
        style = path.stem if path.stem in catalogue else path.stem.rpartition("-")[0]
        return (catalogue[style].place if style in catalogue else len(catalogue), path.stem)

    files = sorted(folder.glob("*.safetensors"), key=place)
    styles = [(read_card(path), path.stat().st_size) for path in files]
    print("\n".join([*make_gallery([card for card, _ in styles]), "", *make_style_table(styles)]))


if __name__ == "__main__":
    main()
