"""Find and load styles by name.

A style is a model file, and its name is the file's name without `.safetensors`. Three folders are
searched; if two of them have the same name, the first one is used:

1. `saved_models` in the current directory, where training puts its models;
2. the user's own: `$FAST_STYLE_MODELS`, or else `fast-style/models` in the user's data directory;
3. the styles that ship with the package.
"""

import difflib
import hashlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from pathlib import Path

from fast_style.errors import (
    ModelFileError,
    StyleNotFoundError,
    UnreadableImageError,
    UsageError,
    shorten,
)
from fast_style.models.card import ModelCard
from fast_style.models.config import SIZES
from fast_style.models.model_file import SUFFIX, StyleModel, is_picture, load_model, read_card
from fast_style.styles.catalogue import read_catalogue
from fast_style.styles.mixing import looks_like_mixture, mix_models, parse_mixture

MODELS_VARIABLE = "FAST_STYLE_MODELS"
"""The environment variable that names the user's own folder of styles."""

CHECKPOINT_SUFFIX = ".ckpt"

_SHIPPED = "saved_models"


@dataclass(frozen=True, slots=True)
class StyleEntry:
    """A style in one of the folders.

    Attributes:
        name: its name, as for `find_style`.
        path: its model file.
        card: its card; None if the file cannot be used.
        problem: a sentence that says why the file cannot be used, or None.
        tags: words to choose by, such as `ink`, `oil`, `print`, `bold`; of styles that ship.
        description: a line of words; of styles that ship.
        size_of: the name of the style of which this is another size, such as `starry-night` for
            `starry-night-tiny`; None for a style of its own.
    """

    name: str
    path: Path
    card: ModelCard | None = None
    problem: str | None = None
    tags: tuple[str, ...] = ()
    description: str = ""
    size_of: str | None = None


def style_folders() -> list[Path]:
    """Return the folders that are searched, in order; not all of them need to exist."""
    package = Path(__file__).resolve().parents[1]
    candidates = [user_folder(), package / _SHIPPED]
    with suppress(OSError):  # the current directory may have been deleted
        candidates.insert(0, Path.cwd() / _SHIPPED)
    # Only in a checkout: beside an installed package, the folder would be another package's.
    if (package.parent / "pyproject.toml").is_file():
        candidates.append(package.parent / _SHIPPED)
    return list(dict.fromkeys(Path(os.path.realpath(folder)) for folder in candidates))


def user_folder() -> Path:
    """Return the user's own folder of styles, which need not exist."""
    chosen = os.environ.get(MODELS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_data_path  # not needed if the variable is set

    return user_data_path("fast-style", appauthor=False) / "models"


def list_styles(*, all_sizes: bool = True) -> list[StyleEntry]:
    """Return the styles in the folders: those that please most first, others by name.

    Args:
        all_sizes: whether the other sizes of a style, such as `starry-night-tiny`, have entries of
            their own, each after its style; if not, they have none.

    Returns:
        One entry for each name. A file that cannot be used is listed with its problem.
    """
    entries = {entry.name: entry for entry in _read_entries()}
    placed = []
    for entry in entries.values():
        style = _style_of_size(entry, entries)
        found = read_catalogue(entry.path.parent).get(style or entry.name)
        place = sys.maxsize if found is None else found.place
        if found is not None:
            entry = replace(entry, tags=found.tags, description=found.description)
        if style is None or all_sizes:
            order = (place, style or entry.name, style is not None, entry.name)
            placed.append((order, replace(entry, size_of=style)))
    return [entry for _, entry in sorted(placed, key=itemgetter(0))]


def _style_of_size(entry: StyleEntry, entries: Mapping[str, StyleEntry]) -> str | None:
    """Return the name of the style of which an entry is another size, or None."""
    style, _, size = entry.name.rpartition("-")
    known = entries.get(style)
    if known is None or known.card is None or entry.card is None or size not in SIZES:
        return None
    is_size = entry.card.network == SIZES[size] and entry.card.title == known.card.title
    return style if is_size and entry.path.parent == known.path.parent else None


def _read_entries() -> list[StyleEntry]:
    entries = []
    for name, path in sorted(_files_by_name().items()):
        if not name.isprintable():  # also what is not valid Unicode
            shown = shorten(name)
            problem = f"the name of the file {shown} has characters that cannot be shown: rename it"
            entries.append(StyleEntry(shown, path, problem=problem))
            continue
        try:
            entries.append(StyleEntry(name, path, card=_read_entry_card(path)))
        except ModelFileError as error:
            entries.append(StyleEntry(name, path, problem=str(error)))
    return entries


def find_style(name_or_path: str | os.PathLike[str]) -> Path:
    """Find the model file of a style.

    Args:
        name_or_path: a style's name, such as `starry-night`, or the path of a model file. Text
            without a path separator is looked up as a name first.

    Returns:
        The path of an existing file, whose content has not been checked.

    Raises:
        StyleNotFoundError: there is no such style; the message suggests similar names.
    """
    text = os.fspath(name_or_path)
    is_text = isinstance(name_or_path, str)
    has_separator = any(mark in text for mark in (os.sep, os.altsep) if mark)
    styles = _files_by_name() if is_text and not has_separator else {}
    if text in styles:
        return styles[text]
    path = os.path.expanduser(text)
    # A folder that happens to have the style's name does not count, unless given as a path.
    if os.path.isfile(path) or ((has_separator or not is_text) and os.path.exists(path)):
        return Path(path)
    if text.removesuffix(SUFFIX) in styles:
        return styles[text.removesuffix(SUFFIX)]
    if has_separator or not is_text or text.endswith(SUFFIX):
        raise StyleNotFoundError(
            f"there is no model file {text}: check the path, or give the name of a style "
            "(`fast-style styles` lists them)"
        )
    from fast_style.images.folder import is_picture_name  # it loads Pillow

    if is_picture_name(text):
        raise StyleNotFoundError(
            f"there is no picture {text}: check the path, or give the name of a style "
            "(`fast-style styles` lists them)"
        )
    raise StyleNotFoundError(_describe_unknown(text, list(styles)))


def find_parts(style: str | os.PathLike[str]) -> list[tuple[Path, float]]:
    """Find the model files of a style or of a mixture of styles.

    Args:
        style: as in `find_style`, or text such as `starry-night:0.6,great-wave:0.4`. A style or
            file of exactly that name is preferred.

    Returns:
        Files and their shares, each above 0, which sum to 1; a single style has a share of 1.

    Raises:
        StyleNotFoundError: there is no such style, even if its share is 0.
        UsageError: the text is not a valid mixture.
    """
    if not isinstance(style, str) or not looks_like_mixture(style):
        return [(find_style(style), 1.0)]
    with suppress(StyleNotFoundError):
        return [(find_style(style), 1.0)]
    shares: dict[Path, float] = {}
    for name, share in parse_mixture(style):
        path = find_style(name)
        shares[path] = shares.get(path, 0.0) + share
    return [(path, share) for path, share in shares.items() if share > 0]


def load_parts(
    style: str | os.PathLike[str], *, style_size: int | None = None
) -> list[tuple[StyleModel, float]]:
    """Load a style or the styles of a mixture.

    Args:
        style: as in `find_parts`.
        style_size: as for `load_file`.

    Returns:
        Models and their shares, which sum to 1.

    Raises:
        StyleNotFoundError: there is no such style.
        ModelFileError: a file is not a valid model file.
        UsageError: the text is not a valid mixture.
    """
    return [(load_file(path, style_size=style_size), share) for path, share in find_parts(style)]


def identify_parts(parts: Sequence[tuple[Path, float]]) -> str:
    """Return a hash that changes with the files of a style or mixture, and with their shares.

    Args:
        parts: as `find_parts` returns them.

    Raises:
        ModelFileError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path, share in parts:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from error
        digest.update(f" {share!r}\n".encode())
    return digest.hexdigest()[:16]


def check_style_size(style_size: int | None, paths: Iterable[Path]) -> None:
    """Refuse a style size for styles none of which is a picture.

    Raises:
        UsageError: a size was given, and all files are models.
    """
    if style_size is not None and not any(is_picture(path) for path in paths):
        raise UsageError(
            "a style size is for a style that is a picture, and none is: leave --style-size out, "
            "or give the painting's file as the style; --stroke-size suits every style"
        )


def load_file(path: Path, *, style_size: int | None = None) -> StyleModel:
    """Load a model file or a training run's checkpoint, or predict a style from a picture.

    Args:
        path: a file; whether it is a picture is told by its first bytes.
        style_size: of a picture, see `predict_style`; a model file has strokes of its own.

    Raises:
        ModelFileError: the file is neither a sound model file nor a readable picture.
        MissingExtraError: it is a checkpoint, and torch is not installed.
        UsageError: the picture is too narrow or wholly transparent.
    """
    if is_training_checkpoint(path):
        from fast_style.styles.importing.training_checkpoint import load_training_checkpoint

        return load_training_checkpoint(path)
    if not is_picture(path):
        return load_model(path)
    from fast_style.styles.prediction import predict_style  # it loads an engine

    try:
        return predict_style(path, style_size=style_size)
    except UnreadableImageError as error:
        raise ModelFileError(
            f"{path} is neither a model file nor a picture that can be a style ({error})"
        ) from error


def is_training_checkpoint(path: Path) -> bool:
    """Return whether a file has the suffix of a checkpoint of `fast-style train`."""
    return path.suffix == CHECKPOINT_SUFFIX and path.is_file()


def load_style(name_or_path: str | os.PathLike[str]) -> StyleModel:
    """Load a style by name or from a file, or a mixture that can be one network.

    Args:
        name_or_path: as in `find_parts`.

    Returns:
        The model: its card and its weights.

    Raises:
        StyleNotFoundError: there is no such style.
        ModelFileError: the file is not a valid model file.
        UsageError: the text is not a valid mixture, or its styles were not trained from one base.
    """
    return mix_models(load_parts(name_or_path))


def _read_entry_card(path: Path) -> ModelCard:
    try:
        status = path.stat()
    except OSError:
        return read_card(path)  # raises with the reason
    return _read_card_cached(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _read_card_cached(path: Path, changed: int, size: int) -> ModelCard:
    """Read a card once for each state of its file, as services and pages list styles often."""
    return read_card(path)


def _files_by_name() -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder in style_folders():
        try:
            found = sorted(folder.iterdir())
        except OSError:  # missing or unreadable: no styles
            continue
        for path in found:
            if path.suffix == SUFFIX and not path.name.startswith("."):
                files.setdefault(path.stem, path)
    return files


def _describe_unknown(name: str, names: list[str]) -> str:
    """Return the message for a style that does not exist, with similar names."""
    by_folded = {known.casefold(): known for known in names}
    folded = name.casefold().replace(" ", "-").replace("_", "-")
    near = [
        by_folded[match]
        for match in difflib.get_close_matches(folded, list(by_folded), n=3, cutoff=0.5)
    ]
    # People remember parts of names, which difflib scores low against a long name.
    near += [known for known in names if folded and folded in known and known not in near][:3]
    if near:
        hint = f"did you mean {' or '.join(near)}? `fast-style styles` lists what is there"
    elif names:
        hint = f"there are {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        hint += " (`fast-style styles` lists them)"
    else:
        searched = ", ".join(str(folder) for folder in style_folders())
        hint = f"there are no styles in {searched} (`fast-style styles`)"
    return f"there is no style named {shorten(repr(name))}: {hint}"
