"""The contact sheet: every style on the same photos, on one page.

One row a style: its painting and what is known of it, then each photo in that style; the photos
themselves stand above. With few photos and many styles the rows are set in several columns. Photos
are read at the size they are shown at and one style is loaded at a time, so that memory is that of
the sheet.
"""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from fast_style.errors import FastStyleError, ImageError, ModelFileError, UsageError
from fast_style.images import ImageSource, Photo, read_image, resize_to, to_pil
from fast_style.inference.stylizer import Stylizer
from fast_style.models.model_file import ModelCard, StyleModel
from fast_style.styles.registry import list_styles, load_parts

Style = str | os.PathLike[str] | StyleModel
Problem = Callable[[FastStyleError], None]
"""Is told of what had to be left out."""

SMALLEST, LARGEST = 64, 2048
MOST_PIXELS = 200_000_000
"""The largest sheet, in pixels: 600 MB while it is made."""

_PAPER, _INK, _FAINT = (250, 249, 246), (34, 32, 30), (120, 116, 110)
_PROPORTION = 1.4  # width by height of the page that columns are chosen for


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is on a sheet, in pixels.

    Attributes:
        widths: of the places in a row: the painting's, then one for each photo.
        height: of all of them.
        styles: how many rows there are in all.
        columns: into how many columns these are set.
        gap: between pictures; twice that is between columns and around everything.
        text: size of the larger letters.
        caption: height kept for the caption below a painting.
    """

    widths: tuple[int, ...]
    height: int
    styles: int
    columns: int
    gap: int
    text: int
    caption: int

    @property
    def rows(self) -> int:
        """Rows of styles in the longest column."""
        return -(-self.styles // self.columns)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        margin = 2 * self.gap
        width = self.columns * (self._across(len(self.widths)) + self.gap) + margin
        return width, (self.rows + 1) * (self.height + self.gap) - self.gap + 2 * margin

    def place(self, style: int | None, number: int, column: int = 0) -> tuple[int, int, int, int]:
        """A place: left, top, width and height.

        Args:
            style: number of the style; None for the photos above a column.
            number: 0 for the painting, then the photos from 1.
            column: the column, for the photos above it.
        """
        row = 0
        if style is not None:
            column, row = style // self.rows, style % self.rows + 1
        left = 2 * self.gap + column * (self._across(len(self.widths)) + self.gap)
        top = 2 * self.gap + row * (self.height + self.gap)
        return left + self._across(number), top, self.widths[number], self.height

    def _across(self, count: int) -> int:
        return sum(self.widths[:count]) + count * self.gap


def common_height(photos: Sequence[tuple[int, int]], size: int) -> int:
    """Choose the height that all photos get, so that rows are full.

    Args:
        photos: width and height of each, neither more than `size`.
        size: longest side there may be.

    Returns:
        The height of the flattest, but no less than half of `size`: panoramas stay flatter.
    """
    return max(min(height for _, height in photos), size // 2)


def lay_out(
    photos: Sequence[tuple[int, int]], styles: int, size: int, columns: int | None = None
) -> Layout:
    """Settle where everything goes.

    Args:
        photos: width and height of each photo as it is shown.
        styles: how many.
        size: longest side that a photo may have, in pixels.
        columns: how many to set the styles in; None takes what makes the page a little wider than
            high, and leaves little of it empty.

    Raises:
        UsageError: no photo or style, columns below 1, or a sheet beyond `MOST_PIXELS`.
    """
    if not photos or styles < 1:
        raise UsageError("a contact sheet needs at least one photo and one style")
    if columns is not None and columns < 1:
        raise UsageError(f"columns must be 1 or more, and {columns} was given")
    text = max(11, round(size * 0.055))
    caption = round(4.6 * text)
    # Room for the caption and some of the painting, however flat the photos are.
    height = max(max(height for _, height in photos), 2 * caption)
    widths = (max(round(1.3 * height), 11 * text), *(max(1, width) for width, _ in photos))

    def made(number: int) -> Layout:
        rows = -(-styles // number)
        used = -(-styles // rows)  # so that no column is left without a style
        return Layout(widths, height, styles, used, max(4, size // 24), text, caption)

    def unfitness(layout: Layout) -> float:
        empty = 1 - styles / (layout.rows * layout.columns)
        return abs(math.log(layout.size[0] / layout.size[1] / _PROPORTION)) + empty

    if columns is None:
        best = min(map(made, range(1, styles + 1)), key=unfitness)
    else:
        best = made(min(columns, styles))
    if math.prod(best.size) > MOST_PIXELS:
        raise UsageError(
            f"the sheet would have {best.size[0]}x{best.size[1]} pixels: show fewer photos or "
            f"styles, or smaller ones (--size {max(SMALLEST, size // 2)} on the command line)"
        )
    return best


def contact_sheet(
    photos: Sequence[ImageSource],
    styles: Sequence[Style] | None = None,
    *,
    size: int = 384,
    columns: int | None = None,
    engine: str = "auto",
    on_problem: Problem | None = None,
    on_style: Callable[[str, int, int], None] | None = None,
) -> Image.Image:
    """Put every style on every photo, on one page with the paintings.

    Args:
        photos: as `fast_style.images.read_image` takes them.
        styles: names, files, mixtures or models; all that `list_styles` names if None.
        size: longest side of each picture, in pixels; larger photos are made smaller first, and
            taller ones as high as the flattest.
        columns: see `lay_out`.
        engine: as for `Stylizer`.
        on_problem: told of each photo and style that cannot be used, which is then left out; the
            first such error is raised if None.
        on_style: told, before each style is put on, its name, its number from 1, and how many
            there are.

    Returns:
        An image of mode "RGB".

    Raises:
        UsageError: an argument is out of range, or nothing is left to show.
        ImageError: a photo cannot be used, and there is no `on_problem`.
        ModelError: a style cannot be used, likewise.
        EngineError: this machine does not have the engine.
    """
    if type(size) is not int or not SMALLEST <= size <= LARGEST:
        raise UsageError(
            f"size must be a whole number from {SMALLEST} to {LARGEST}, and {size!r} was given"
        )
    report = _raise if on_problem is None else on_problem
    shown = list(_small_photos(photos, size, report))
    usable = list(_usable(styles, report))
    if not shown or not usable:
        kind = "photos" if not shown else "styles"
        raise UsageError(f"there are no {kind} to show: none could be used")
    highest = common_height([(photo.width, photo.height) for photo in shown], size)
    shown = [_fitted(photo, size, highest) for photo in shown]
    boxes = [(photo.width, photo.height) for photo in shown]
    layout = lay_out(boxes, len(usable), size, columns)
    sheet = Image.new("RGB", layout.size, _PAPER)
    for column in range(layout.columns):
        for i, photo in enumerate(shown, 1):
            _paste(sheet, photo, layout.place(None, i, column))
    for number, style in enumerate(usable):
        with _told(report, FastStyleError):
            stylizer = Stylizer(style, engine=engine)
            if on_style is not None:
                on_style(stylizer.card.name, number + 1, len(usable))
            _draw_painting(sheet, stylizer.card, _name_of(style, stylizer.card), layout, number)
            for i, photo in enumerate(shown, 1):
                with _told(report, ImageError):
                    _paste(sheet, stylizer.stylize_photo(photo), layout.place(number, i))
    return sheet


def _raise(error: FastStyleError) -> None:
    raise error


@contextmanager
def _told(report: Problem, kind: type[FastStyleError]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        report(error)


def _small_photos(sources: Sequence[ImageSource], size: int, report: Problem) -> Iterator[Photo]:
    for source in sources:
        with _told(report, ImageError):
            # Both sides of at least so many pixels: the long one then has `size` of them to spare.
            photo = read_image(source, at_least=size)
            yield _fitted(photo, size, size)


def _usable(styles: Sequence[Style] | None, report: Problem) -> Iterator[Style]:
    """Give the styles that can be loaded, so that no row stays empty; none is kept loaded."""
    if styles is None:
        for entry in list_styles():
            if entry.problem is None:
                yield from _usable([entry.path], report)
            else:
                report(ModelFileError(entry.problem))
        return
    for style in styles:
        with _told(report, FastStyleError):
            if not isinstance(style, StyleModel):
                load_parts(style)
            yield style


def _name_of(style: Style, card: ModelCard) -> str:
    """What one types for a style."""
    if isinstance(style, StyleModel):
        return card.name
    if isinstance(style, str) and os.sep not in style:
        return style
    name = os.path.basename(os.fspath(style))
    return name.removesuffix(".safetensors")


def _fitted(photo: Photo, width: int, height: int, *, enlarge: bool = False) -> Photo:
    """Make a picture small enough for a box."""
    scale = min(width / photo.width, height / photo.height)
    if scale == 1 or (scale > 1 and not enlarge):
        return photo
    sides = (max(1, round(side * scale)) for side in (photo.height, photo.width))
    return photo.with_pixels(resize_to(photo.pixels, *sides))


def _paste(sheet: Image.Image, photo: Photo, place: tuple[int, int, int, int]) -> None:
    """Put a picture into the middle of its place; paper shines through where it is transparent."""
    image = to_pil(photo)
    left, top, width, height = place
    corner = (left + (width - image.width) // 2, top + (height - image.height) // 2)
    sheet.paste(image.convert("RGB"), corner, image if image.mode == "RGBA" else None)


def _draw_painting(
    sheet: Image.Image, card: ModelCard, name: str, layout: Layout, number: int
) -> None:
    """Put a style's painting into its place, with the caption below it."""
    left, top, width, height = layout.place(number, 0)
    draw = ImageDraw.Draw(sheet)
    lines = _caption(draw, card, name, layout)
    below = layout.text // 2 + sum(line.height for line in lines)
    painting = _painting(card, width, height - below)
    taken = below if painting is None else painting.height + below
    y = top + max(0, height - taken) // 2  # in the middle, like the pictures of its row
    if painting is not None:
        _paste(sheet, painting, (left, y, width, painting.height))
        y += painting.height
    y += layout.text // 2
    for line in lines:
        draw.text((left + width // 2, y), line.text, line.color, line.font, anchor="ma")
        y += line.height


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    color: tuple[int, int, int]
    height: int


def _caption(draw: ImageDraw.ImageDraw, card: ModelCard, name: str, layout: Layout) -> list[_Line]:
    """The title in up to two lines, then artist and year, then what one types."""
    large, small = (ImageFont.load_default(s) for s in (layout.text, round(layout.text * 0.8)))
    width, high, low = layout.widths[0], round(layout.text * 1.25), round(layout.text * 1.05)
    title = drawable(card.title, large) or drawable(card.name, large) or drawable(name, large)
    lines = [
        _Line(text, large, _INK, high)
        for text in wrap(title, 2, lambda t: draw.textlength(t, large) <= width)
    ]
    by = ", ".join(filter(None, (card.artist, card.year)))
    for text in (drawable(by, small), drawable(name, small)):
        if text and text != title:
            fitted = wrap(text, 1, lambda t: draw.textlength(t, small) <= width)
            lines += [_Line(one, small, _FAINT, low) for one in fitted]
    return lines


def drawable(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Bring text down to the letters that a font has: Pillow's own lacks even those with accents.

    A letter that it lacks loses its accents (`é` becomes `e`), and goes if that does not help.
    """
    if not isinstance(font, ImageFont.FreeTypeFont):  # a Pillow without FreeType: Latin-1 bitmaps
        return text.encode("latin-1", "ignore").decode("latin-1")
    missing = bytes(font.getmask("\uffff"))

    def known(letters: str) -> str:
        return "".join(x for x in letters if x.isspace() or bytes(font.getmask(x)) != missing)

    return "".join(known(x) or known(unicodedata.normalize("NFKD", x)) for x in text).strip()


def wrap(text: str, most: int, fits: Callable[[str], bool]) -> list[str]:
    """Break text into lines.

    Args:
        text: a title; line breaks count as spaces.
        most: lines there may be; what is beyond them is cut, with an ellipsis in its place.
        fits: tells whether a line is short enough.

    Returns:
        1 to `most` lines; a word too long for a line is cut too.
    """
    words = text.split()
    lines: list[str] = []
    while words and len(lines) < most:
        count = len(words)
        if len(lines) < most - 1:
            while count > 1 and not fits(" ".join(words[:count])):
                count -= 1
        line, words = " ".join(words[:count]), words[count:]
        if not fits(line):
            while line and not fits(line + "..."):
                line = line[:-1]
            line = line.rstrip() + "..."
        lines.append(line)
    return lines or [""]


def _painting(card: ModelCard, width: int, height: int) -> Photo | None:
    """A style's painting, fitted into a box; None if the card has none that can be read."""
    if card.thumbnail is None or height < 1:
        return None
    try:
        photo = read_image(card.thumbnail, max_megapixels=4, name="the thumbnail")
    except ImageError:
        return None
    return _fitted(photo, width, height, enlarge=True)
