"""The tables of the styles that ship, from their cards.

    python -m benchmarks.style_table [FOLDER]

Its figures are those that `benchmarks.quality --write-cards` put there.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.equivalents import card_key
from fast_style.models.config import parameter_count, size_name
from fast_style.models.model_file import ModelCard, read_card

SIDES = (256, 512)
PICTURES = "../docs/styles"
"""Where `docs/make_pictures.py` puts a strip for each style, seen from the shipped models."""

SHIPPED = Path(__file__).parents[1] / "saved_models"


def figure(values: Mapping[str, Any] | None, limit: int | None) -> str:
    """Median and quartiles as in `quality_table`; a dash where nothing was measured."""
    if values is None:
        return "-"

    def one(value: float) -> str:
        return f"{'>' if limit is not None and value >= limit else ''}{value:.0f}"

    lower, upper = values["quartiles"]
    return f"{one(values['median'])} ({one(lower)}-{one(upper)})"


def training(values: Mapping[str, Any]) -> str:
    """Steps, minutes and start of the run that ended in a model; a dash where they are unknown."""
    if not values.get("steps_taken") or not values.get("seconds"):
        return "-"
    start = (values.get("started_from") or {}).get("name") or "scratch"
    return f"{values['steps_taken']:,} steps, {values['seconds'] / 60:.0f} min, from {start}"


def gallery(cards: Sequence[ModelCard]) -> list[str]:
    """Return the lines of a Markdown table: each style with its picture and its painting."""
    lines = ["| style |  | painting |", "|---|---|---|"]
    for card in cards:
        painting = ", ".join(filter(None, (f"*{card.title or card.name}*", card.artist, card.year)))
        licence = f" ({card.licence})" if card.licence else ""
        lines.append(f"| `{card.name}` | ![]({PICTURES}/{card.name}.jpg) | {painting}{licence} |")
    return lines


def style_table(styles: Sequence[tuple[ModelCard, int]]) -> list[str]:
    """Return the lines of a Markdown table: each style with its network, training and quality.

    Args:
        styles: cards, and sizes of their files in bytes.
    """
    head = ["style", "network", "file", "last training"]
    head += [f"equals L-BFGS iteration, {side} px" for side in SIDES] + ["on unseen layers"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for card, size in styles:
        network = f"{size_name(card.network)}, {parameter_count(card.network):,} parameters"
        cells = [f"`{card.name}`", network, f"{size / 1000:,.0f} KB", training(card.training)]
        found = [card.quality.get(card_key(side), {}) for side in SIDES]
        cells += [
            figure(f.get("equals_iteration"), f.get("lbfgs_iterations"))
            + (f", {f['photos']} photos" if "photos" in f else "")
            for f in found
        ]
        cells += [figure(found[0].get("on_unseen_layers"), found[0].get("lbfgs_iterations"))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=SHIPPED)
    files = sorted(parser.parse_args().folder.glob("*.safetensors"))
    styles = [(read_card(path), path.stat().st_size) for path in files]
    print("\n".join([*gallery([card for card, _ in styles]), "", *style_table(styles)]))


if __name__ == "__main__":
    main()
