"""Which styles are there, and where.

A style is a model file, and its name is the file's name without `.safetensors`. Three folders are
looked through, and where two hold the same name, the first wins:

1. `saved_models` in the current directory, where training puts its models;
2. the user's own: `$FAST_STYLE_MODELS`, or else `fast-style/models` in the user's data directory;
3. the styles that ship with the package.
"""

import difflib
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fast_style.errors import ModelFileError, StyleNotFoundError, UnreadableImageError
from fast_style.models.model_file import SUFFIX, ModelCard, StyleModel, load_model, read_card
from fast_style.styles.mixing import looks_like_mixture, mix_models, parse_mixture

MODELS_VARIABLE = "FAST_STYLE_MODELS"
"""The environment variable that names the user's own folder of styles."""

_SHIPPED = "saved_models"


@dataclass(frozen=True, slots=True)
class StyleEntry:
    """One style of the catalogue.

    Attributes:
        name: what `find_style` takes.
        path: its model file.
        card: what is known of it; None if the file cannot be used.
        problem: a sentence saying why the file cannot be used, or None.
    """

    name: str
    path: Path
    card: ModelCard | None = None
    problem: str | None = None


def style_folders() -> list[Path]:
    """List the folders that are looked through, first one first; not all of them need exist."""
    package = Path(__file__).resolve().parents[1]
    candidates = [user_folder(), package / _SHIPPED]
    with suppress(OSError):  # the current directory may have been deleted
        candidates.insert(0, Path.cwd() / _SHIPPED)
    # Only a checkout has this beside the package: in site-packages it would be somebody else's.
    if (package.parent / "pyproject.toml").is_file():
        candidates.append(package.parent / _SHIPPED)
    return list(dict.fromkeys(Path(os.path.realpath(folder)) for folder in candidates))


def user_folder() -> Path:
    """Give the user's own folder of styles, which need not exist."""
    chosen = os.environ.get(MODELS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_data_path  # not needed where the variable is set

    return user_data_path("fast-style", appauthor=False) / "models"


def list_styles() -> list[StyleEntry]:
    """List every style that has a name here, in the order of their names.

    Returns:
        One entry a name. A file that cannot be used is listed with its problem, not raised.
    """
    entries = []
    for name, path in sorted(_files_by_name().items()):
        try:
            entries.append(StyleEntry(name, path, card=_card_of(path)))
        except ModelFileError as error:
            entries.append(StyleEntry(name, path, problem=str(error)))
    return entries


def find_style(name_or_path: str | os.PathLike[str]) -> Path:
    """Find a model file.

    Args:
        name_or_path: a style's name, such as `starry-night`, or the path of a model file. A text
            is taken for a name first, unless it has a path separator in it.

    Returns:
        The path of a file that is there; what is in it has not been looked at.

    Raises:
        StyleNotFoundError: there is no such style; the message gives the nearest names.
    """
    text = os.fspath(name_or_path)
    is_text = isinstance(name_or_path, str)
    has_separator = any(mark in text for mark in (os.sep, os.altsep) if mark)
    styles = _files_by_name() if is_text and not has_separator else {}
    if text in styles:
        return styles[text]
    path = os.path.expanduser(text)
    # A folder that happens to be called like the style that was meant is no answer to a name.
    if os.path.isfile(path) or ((has_separator or not is_text) and os.path.exists(path)):
        return Path(path)
    if text.removesuffix(SUFFIX) in styles:
        return styles[text.removesuffix(SUFFIX)]
    if has_separator or not is_text or text.endswith(SUFFIX):
        raise StyleNotFoundError(
            f"there is no model file {text}: check the path, or give the name of a style "
            "(`fast-style styles` lists them)"
        )
    raise StyleNotFoundError(_unknown_name(text, list(styles)))


def find_parts(style: str | os.PathLike[str]) -> list[tuple[Path, float]]:
    """Find the model files of a style or of a mixture of styles.

    Args:
        style: as in `find_style`, or a text such as `starry-night:0.6,great-wave:0.4`. A style or
            file of that very name comes first.

    Returns:
        Files and their shares, each above 0, which sum to 1; a single style has a share of 1.

    Raises:
        StyleNotFoundError: there is no such style; also where its share is 0.
        UsageError: the text is no sound mixture.
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


def load_parts(style: str | os.PathLike[str]) -> list[tuple[StyleModel, float]]:
    """Load a style or the styles of a mixture.

    Args:
        style: as in `find_parts`.

    Returns:
        Models and their shares, which sum to 1.

    Raises:
        StyleNotFoundError: there is no such style.
        ModelFileError: a file is no sound model file.
        UsageError: the text is no sound mixture.
    """
    return [(load_file(path), share) for path, share in find_parts(style)]


def load_file(path: Path) -> StyleModel:
    """Load a model file, or predict a style from a picture.

    Args:
        path: a file; whether it is a picture is told by its first bytes.

    Raises:
        ModelFileError: the file is neither a sound model file nor a readable picture.
        UsageError: the picture is too narrow or wholly transparent.
    """
    from fast_style.styles.prediction import is_picture, predict_style  # it loads an engine

    if not is_picture(path):
        return load_model(path)
    try:
        return predict_style(path)
    except UnreadableImageError as error:
        raise ModelFileError(
            f"{path} is neither a model file nor a picture that can be a style ({error})"
        ) from error


def load_style(name_or_path: str | os.PathLike[str]) -> StyleModel:
    """Load a style by its name or from its file, or a mixture that fits into one network.

    Args:
        name_or_path: as in `find_parts`.

    Returns:
        The model: its card and its weights.

    Raises:
        StyleNotFoundError: there is no such style.
        ModelFileError: the file is no sound model file.
        UsageError: the text is no sound mixture, or its styles did not grow from one base.
    """
    return mix_models(load_parts(name_or_path))


def _card_of(path: Path) -> ModelCard:
    try:
        status = path.stat()
    except OSError:
        return read_card(path)  # it says what is wrong
    return _known_card(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _known_card(path: Path, changed: int, size: int) -> ModelCard:
    """Read a card once for each state of its file: services and pages list the styles often."""
    return read_card(path)


def _files_by_name() -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder in style_folders():
        try:
            found = sorted(folder.iterdir())
        except OSError:  # not there, or not ours to read: then it holds no styles for us
            continue
        for path in found:
            if path.suffix == SUFFIX and not path.name.startswith("."):
                files.setdefault(path.stem, path)
    return files


def _unknown_name(name: str, names: list[str]) -> str:
    by_folded = {known.casefold(): known for known in names}
    folded = name.casefold().replace(" ", "-").replace("_", "-")
    near = [
        by_folded[match]
        for match in difflib.get_close_matches(folded, list(by_folded), n=3, cutoff=0.5)
    ]
    # A part of a name is what people remember; difflib scores it low against a long name.
    near += [known for known in names if folded and folded in known and known not in near][:3]
    if near:
        hint = f"did you mean {' or '.join(near)}? `fast-style styles` lists what is there"
    elif names:
        hint = f"there are {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        hint += " (`fast-style styles` lists them)"
    else:
        searched = ", ".join(str(folder) for folder in style_folders())
        hint = f"there are no styles in {searched} (`fast-style styles`)"
    return f"there is no style named {name!r}: {hint}"
