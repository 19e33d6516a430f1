"""The contact sheet: every style applied to the same photos, on one page.

Each style has a row: its painting with a caption, then each photo in that style; the photos
themselves are in the row above. With few photos and many styles the rows are set in several
columns. Photos are read at the size at which they are shown and one style is loaded at a time, so
that the memory is that of the sheet.
"""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageFont

from fast_style.errors import FastStyleError, ImageError, ModelFileError, UsageError
from fast_style.images import ImageSource, Photo, read_image, to_pil
from fast_style.inference.stylizer import StyleSource, Stylizer
from fast_style.models.card import ModelCard
from fast_style.options import MIN_SHEET_SIZE, EngineChoice, SheetOptions, StyleOptions
from fast_style.styles.registry import list_styles, load_parts

OnError = Callable[[FastStyleError], None]
"""Called with the error of a photo or style that is left out."""

MAX_SHEET_PIXELS = 200_000_000
"""The largest sheet, in pixels: 600 MB while it is made."""

Box = tuple[int, int, int, int]

_PAPER, _INK, _FAINT = (250, 249, 246), (34, 32, 30), (120, 116, 110)
_PROPORTION = 1.4  # width by height of the page that columns are chosen for


@dataclass(frozen=True, slots=True)
class SheetLayout:
    """The positions of all pictures on a sheet, in pixels.

    Attributes:
        widths: widths of the cells in a row: the painting's, then one for each photo.
        height: height of every cell.
        styles: number of styles, and so of rows in all columns together.
        columns: number of columns.
        gap: gap between pictures; columns and margins have twice as much.
        text: size of the larger font.
        caption: height reserved for the caption below a painting.
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
        """Number of rows of styles in the longest column."""
        return -(-self.styles // self.columns)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        margin = 2 * self.gap
        width = self.columns * (self._across(len(self.widths)) + self.gap) + margin
        return width, (self.rows + 1) * (self.height + self.gap) - self.gap + 2 * margin

    def cell(self, style: int | None, number: int, column: int = 0) -> Box:
        """Return the box of a cell: left, top, width and height.

        Args:
            style: index of the style; None for the row of photos above a column.
            number: 0 for the painting, from 1 for the photos.
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
    """Choose one height for all photos, so that they fill their rows.

    Args:
        photos: width and height of each, neither more than `size`.
        size: longest side that a photo may have.

    Returns:
        The height of the flattest photo, but at least half of `size`; panoramas stay flatter.
    """
    return max(min(height for _, height in photos), size // 2)


def lay_out(
    photos: Sequence[tuple[int, int]], styles: int, size: int, columns: int | None = None
) -> SheetLayout:
    """Compute the layout of a sheet.

    Args:
        photos: width and height of each photo as it is shown.
        styles: number of styles.
        size: longest side that a photo may have, in pixels.
        columns: number of columns; None chooses it such that the page is a little wider than high
            and little of it is empty.

    Raises:
        UsageError: no photo or style, `columns` below 1, or a sheet larger than `MAX_SHEET_PIXELS`.
    """
    if not photos or styles < 1:
        raise UsageError("a contact sheet needs at least one photo and one style")
    if columns is not None and columns < 1:
        raise UsageError(f"columns is {columns}; expected 1 or more")
    text = max(11, round(size * 0.055))
    caption = round(4.6 * text)
    # Room for the caption and some of the painting, however flat the photos are.
    height = max(max(height for _, height in photos), 2 * caption)
    widths = (max(round(1.3 * height), 11 * text), *(max(1, width) for width, _ in photos))

    def layout_with(number: int) -> SheetLayout:
        rows = -(-styles // number)
        used = -(-styles // rows)  # so that no column is empty
        return SheetLayout(widths, height, styles, used, max(4, size // 24), text, caption)

    def badness(layout: SheetLayout) -> float:
        empty = 1 - styles / (layout.rows * layout.columns)
        return abs(math.log(layout.size[0] / layout.size[1] / _PROPORTION)) + empty

    if columns is None:
        best = min(map(layout_with, range(1, styles + 1)), key=badness)
    else:
        best = layout_with(min(columns, styles))
    if math.prod(best.size) > MAX_SHEET_PIXELS:
        raise UsageError(
            f"the sheet would have {best.size[0]}x{best.size[1]} pixels: show fewer photos or "
            f"styles, or smaller ones (--size {max(MIN_SHEET_SIZE, size // 2)} on the command line)"
        )
    return best


def contact_sheet(
    photos: Sequence[ImageSource],
    styles: Sequence[StyleSource] | None = None,
    *,
    size: int = 384,
    columns: int | None = None,
    options: StyleOptions | None = None,
    engine: EngineChoice = "auto",
    on_problem: OnError | None = None,
    on_style: Callable[[str, int, int], None] | None = None,
) -> Image.Image:
    """Apply every style to every photo, and draw the results with the paintings on one page.

    Args:
        photos: pictures, as for `fast_style.read_image`.
        styles: names, files, mixtures or models; all styles of `list_styles` if None.
        size: longest side of each picture, in pixels, from 64 to 2048; larger photos are resized
            first, and all to the height of the flattest.
        columns: number of columns; chosen by the shape of the page if None.
        options: how the photos are stylized, but for their size; the defaults if None.
        engine: as for `Stylizer`.
        on_problem: called with the error of each photo or style that cannot be used, which is then
            left out; the first such error is raised if None.
        on_style: called before each style with its name, its number from 1, and their number.

    Returns:
        An image of mode "RGB".

    Raises:
        UsageError: an argument is out of range, or nothing is left to show.
        ImageError: a photo cannot be used, and there is no `on_problem`.
        ModelError: a style cannot be used, and there is no `on_problem`.
        EngineError: this machine does not have the engine.
    """
    SheetOptions(size=size, columns=columns)
    look = replace(options or StyleOptions(), size=None)
    on_error = _raise if on_problem is None else on_problem
    # 1) Read the photos, and leave out what cannot be used, so that no cell stays empty.
    shown = list(_read_photos(photos, size, on_error))
    usable = list(_usable_styles(styles, on_error))
    if not shown or not usable:
        raise UsageError(f"there are no {'styles' if shown else 'photos'} to show: none was usable")
    # 2) Compute the layout, and draw the photos above each column.
    highest = common_height([(photo.width, photo.height) for photo in shown], size)
    shown = [_fit(photo, size, highest) for photo in shown]
    sides = [(photo.width, photo.height) for photo in shown]
    layout = lay_out(sides, len(usable), size, columns)
    sheet = Image.new("RGB", layout.size, _PAPER)
    _draw_photos(sheet, shown, layout)
    # 3) Draw a row for each style, with one style loaded at a time.
    for number, style in enumerate(usable):
        with _errors_passed_to(on_error, FastStyleError):
            stylizer = Stylizer(style, engine=engine)
            if on_style is not None:
                on_style(stylizer.card.name, number + 1, len(usable))
            _draw_painting(sheet, stylizer.card, _name_of(style, stylizer.card), layout, number)
            for i, photo in enumerate(shown, 1):
                with _errors_passed_to(on_error, ImageError):
                    _paste(sheet, stylizer.stylize_photo(photo, look), layout.cell(number, i))
    return sheet


def _draw_photos(sheet: Image.Image, photos: Sequence[Photo], layout: SheetLayout) -> None:
    for column in range(layout.columns):
        for i, photo in enumerate(photos, 1):
            _paste(sheet, photo, layout.cell(None, i, column))


def _raise(error: FastStyleError) -> None:
    raise error


@contextmanager
def _errors_passed_to(on_error: OnError, kind: type[FastStyleError]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        on_error(error)


def _read_photos(sources: Sequence[ImageSource], size: int, on_error: OnError) -> Iterator[Photo]:
    for source in sources:
        with _errors_passed_to(on_error, ImageError):
            photo = read_image(source, at_least=size)  # decoded no larger than needed
            yield _fit(photo, size, size)


def _usable_styles(
    styles: Sequence[StyleSource] | None, on_error: OnError
) -> Iterator[StyleSource]:
    """Yield the styles that can be loaded; none is kept loaded."""
    if styles is None:
        for entry in list_styles(all_sizes=False):
            if entry.problem is None:
                yield from _usable_styles([entry.path], on_error)
            else:
                on_error(ModelFileError(entry.problem))
        return
    for style in styles:
        with _errors_passed_to(on_error, FastStyleError):
            if isinstance(style, str | os.PathLike):
                load_parts(style)
            yield style


def _name_of(style: StyleSource, card: ModelCard) -> str:
    """Return the text by which users name a style."""
    if not isinstance(style, str | os.PathLike):
        return card.name
    if isinstance(style, str) and os.sep not in style:
        return style
    name = os.path.basename(os.fspath(style))
    return name.removesuffix(".safetensors")


def _fit(photo: Photo, width: int, height: int, *, enlarge: bool = False) -> Photo:
    """Resize a picture to fit into a box."""
    scale = min(width / photo.width, height / photo.height)
    if scale == 1 or (scale > 1 and not enlarge):
        return photo
    sides = (max(1, round(side * scale)) for side in (photo.height, photo.width))
    return photo.resize(*sides)


def _paste(sheet: Image.Image, photo: Photo, cell: Box) -> None:
    """Paste a picture into the middle of a cell, blended with the paper where transparent."""
    image = to_pil(photo)
    left, top, width, height = cell
    corner = (left + (width - image.width) // 2, top + (height - image.height) // 2)
    sheet.paste(image.convert("RGB"), corner, image if image.mode == "RGBA" else None)


def _draw_painting(
    sheet: Image.Image, card: ModelCard, name: str, layout: SheetLayout, number: int
) -> None:
    """Draw a style's painting and its caption into the first cell of a row."""
    left, top, width, height = layout.cell(number, 0)
    draw = ImageDraw.Draw(sheet)
    lines = _caption(draw, card, name, layout)
    below = layout.text // 2 + sum(line.height for line in lines)
    painting = _painting(card, width, height - below)
    taken = below if painting is None else painting.height + below
    y = top + max(0, height - taken) // 2  # centred, like the photos of the row
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


def _caption(
    draw: ImageDraw.ImageDraw, card: ModelCard, name: str, layout: SheetLayout
) -> list[_Line]:
    """Return the lines: the title in up to two, then artist and year, then the style's name."""
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
    """Replace letters that a font lacks; Pillow's default font has no accented letters.

    A missing letter loses its accents (`é` becomes `e`), or is removed if that does not help.
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
        most: maximum number of lines; longer text is cut and ends in an ellipsis.
        fits: returns whether a line is short enough.

    Returns:
        1 to `most` lines; a word that is too long for a line is cut too.
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
    """Return the painting on a style's card, fitted into a box; None if it cannot be read."""
    if card.thumbnail is None or height < 1:
        return None
    try:
        photo = read_image(card.thumbnail, max_megapixels=4, name="the thumbnail")
    except ImageError:
        return None
    return _fit(photo, width, height, enlarge=True)
