"""The styles that can be chosen, and the sizes of one painting as one group."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

from fast_style import SIZES, ModelCard, StyleModel, size_name
from fast_style.demo.backend import list_cards, list_tags

UPLOADED_PREFIX = "own-"
"""Prefix of the key of an uploaded style."""


_MAX_TITLE = 120  # letters of a title that are shown: a card may hold a megabyte


@dataclass(frozen=True, slots=True)
class Style:
    """A style that can be chosen.

    Attributes:
        key: what `Stylizer` takes; for an uploaded one, the prefix and a digest of its file.
        card: the style's card.
        model: the model, if it was uploaded.
        tags: words to choose by, such as `ink` or `bold`.
    """

    key: str
    card: ModelCard
    model: StyleModel | None = None
    tags: tuple[str, ...] = ()

    @property
    def size(self) -> str:
        """The name of its network's size; empty if it is none of the usual ones."""
        name = size_name(self.card.network)
        return name if name in SIZES else ""

    @property
    def painting(self) -> str:
        """The title of its painting."""
        return (self.card.title or self.card.name or "Untitled")[:_MAX_TITLE]

    @property
    def title(self) -> str:
        """Its title, with the size, since one painting may be there in several sizes."""
        return self.painting + (f" ({self.size})" if self.size not in ("", "standard") else "")

    @property
    def attribution(self) -> str:
        """Artist and year."""
        return ", ".join(filter(None, (self.card.artist, self.card.year)))[:_MAX_TITLE]


@dataclass(frozen=True, slots=True)
class StyleGroup:
    """The styles of one painting, which differ in the size of their networks.

    Attributes:
        sizes: the styles by the names of their sizes; at least one.
    """

    sizes: Mapping[str, Style]

    @property
    def title(self) -> str:
        """The title of the painting or, of a single style, its title."""
        return self.first.painting if len(self.sizes) > 1 else self.first.title

    @property
    def first(self) -> Style:
        """The style that a click chooses: the standard size if there is one."""
        return self.sizes.get("standard") or next(iter(self.sizes.values()))

    def __contains__(self, key: object) -> bool:
        """Return whether a style's key is that of one of the sizes."""
        return any(style.key == key for style in self.sizes.values())


def list_registered_styles() -> dict[str, Style]:
    """Return the styles of the registry or the service, by key."""
    tags = list_tags()
    return {name: Style(name, card, tags=tags.get(name, ())) for name, card in list_cards()}


def group_styles(styles: Iterable[Style]) -> list[StyleGroup]:
    """Put the sizes of one painting together; the order is that of each group's first style.

    Two styles of one painting and one size stay apart: they were trained in two ways.
    """
    groups: list[dict[str, Style]] = []
    found: dict[Hashable, dict[str, Style]] = {}
    for style in styles:
        card = style.card
        painting = card.title, card.artist, card.year
        sizes = found.get(painting)
        if sizes is None or style.size in sizes or not style.size or style.model is not None:
            sizes = {}
            groups.append(sizes)
            if card.title and style.model is None:
                found[painting] = sizes
        sizes[style.size] = style
    return [StyleGroup(sizes) for sizes in groups]


def mix_styles(first: Style, second: Style, share: int) -> Style:
    """Return a mixture of two registered styles.

    Args:
        first: one style.
        second: the other.
        share: of the second, in per cent.
    """
    if share in (0, 100):
        return second if share else first
    key = f"{first.key}:{1 - share / 100:.2f},{second.key}:{share / 100:.2f}"
    names = f"{first.card.name}+{second.card.name}"
    card = replace(first.card, name=names, title=f"{first.title} + {second.title}")
    return Style(key, card)
