"""Compare results with pictures that others published, under the objective of our model.

The reader puts them into a folder, since they may not ship: `photo.jpg`, and for each style NAME
the published picture of that photo as `NAME.jpg` (or PNG). Johnson et al. show `chicago.jpg` in
several styles: https://github.com/jcjohnson/fast-neural-style, folder `images`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.objective import TRAINED, MeasuredObjective, Terms, to_tensor
from fast_style.errors import FastStyleError
from fast_style.images import Photo, read_image, resize_to
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions

Pixels = NDArray[np.uint8]

_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class PublishedComparison:
    """A published picture and ours of the same photo.

    Attributes:
        model: name of our model.
        ours: its terms.
        published: those of the published picture.
        photo: those of the photo as it is.
    """

    model: str
    ours: Terms
    published: Terms
    photo: Terms


def find_published(folder: Path, name: str) -> tuple[Pixels, Pixels] | None:
    """Return the photo and the published picture of a style, or None if the folder has none.

    The photo is resized to the published picture, whose size is what its authors chose.

    Raises:
        FastStyleError: the folder has pictures but no photo.
    """
    picture = _find(folder, name)
    if picture is None:
        return None
    photo = _find(folder, "photo")
    if photo is None:
        raise FastStyleError(f"there is no photo.jpg in {folder} (--published)")
    pixels = read_image(picture).pixels
    return resize_to(read_image(photo).pixels, *pixels.shape[:2]), pixels


def compare_published(
    stylizer: Stylizer, objective: MeasuredObjective, photo: Pixels, published: Pixels
) -> PublishedComparison:
    """Measure a published picture and ours, under the objective that our model was trained for.

    Args:
        stylizer: our model.
        objective: its objective.
        photo: shape (H, W, 3), uint8.
        published: the published picture, of the same shape.
    """
    ours = stylizer.stylize_photo(Photo(photo), StyleOptions(stroke_size=1)).pixels
    of_photo = objective.for_photo(photo)
    found, theirs = (
        of_photo.terms(to_tensor(picture, "cpu"))[TRAINED] for picture in (ours, published)
    )
    unstylized = of_photo.terms(of_photo.photo)[TRAINED]
    return PublishedComparison(stylizer.card.name, found, theirs, unstylized)


def make_published_table(rows: Sequence[PublishedComparison]) -> list[str]:
    """Return the lines of a Markdown table: shares of the photo's own objective."""
    lines = ["| style | content, ours | published | style, ours | published |", f"|{'---|' * 5}"]
    for row in rows:
        cells = [
            f"{getattr(terms, part) / row.photo.total:.1%}"
            for part in ("content", "style")
            for terms in (row.ours, row.published)
        ]
        lines.append(f"| {row.model} | {' | '.join(cells)} |")
    return lines


def _find(folder: Path, stem: str) -> Path | None:
    return next((p for p in (folder / f"{stem}{s}" for s in _SUFFIXES) if p.is_file()), None)
