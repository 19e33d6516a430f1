"""The styles that ship are in the catalogue, and it says enough of each."""

import json
from pathlib import Path

from fast_style import list_styles

SHIPPED = Path(__file__).parents[1] / "saved_models"


def shipped(**options):
    return [e for e in list_styles(**options) if e.path.parent == SHIPPED.resolve()]


def test_every_shipped_style_has_its_place_tags_and_words():
    listed = json.loads((SHIPPED / "catalogue.json").read_text("utf-8"))
    assert [entry.name for entry in shipped(all_sizes=False)] == [one["name"] for one in listed]
    for one in listed:
        assert set(one) == {"name", "tags", "description"}
        assert one["tags"]
        assert all(tag.isalpha() and tag.islower() for tag in one["tags"])
        assert 10 < len(one["description"]) <= 70
        assert one["description"].endswith(".")


def test_sizes_follow_their_style_and_share_its_words():
    entries = shipped()
    names = [entry.name for entry in entries]
    sizes = [entry for entry in entries if entry.size_of is not None]
    assert {entry.name for entry in sizes} >= {"starry-night-full", "starry-night-tiny"}
    for entry in sizes:
        style = entries[names.index(entry.size_of)]
        assert (entry.tags, entry.description) == (style.tags, style.description)
        between = names[names.index(style.name) + 1 : names.index(entry.name)]
        assert all(name.startswith(f"{style.name}-") for name in between)
