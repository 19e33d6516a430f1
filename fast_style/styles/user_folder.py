"""Add styles to the user's own folder, from files and URLs, and remove them."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urldefrag, urlsplit

from fast_style.errors import (
    EngineError,
    ModelError,
    ModelFileError,
    StyleNotFoundError,
    UsageError,
)
from fast_style.images import read_image
from fast_style.models.model_file import SUFFIX, StyleModel, is_picture, load_model, save_model
from fast_style.storage.downloads import SIZE_LIMIT, check_url, download
from fast_style.styles.fingerprint import add_fingerprint
from fast_style.styles.registry import load_file, user_folder
from fast_style.styles.thumbnail import make_thumbnail

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(name: str) -> None:
    """Check the name of a new style.

    Raises:
        UsageError: it has other characters than letters, digits, '-', '_' and '.', or over 100.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--name is {name!r}; expected letters, digits, '-', '_' and '.', at most 100"
        )


def new_style_path(name: str, folder: Path | None = None, *, overwrite: bool = False) -> Path:
    """Return the path of the file for a new style.

    Args:
        name: the style's name.
        folder: the folder; None is the user's own.
        overwrite: whether a style of that name may be replaced.

    Raises:
        UsageError: the name is not allowed.
        ModelError: there is a style of that name.
    """
    check_name(name)
    path = (folder or user_folder()) / f"{name}{SUFFIX}"
    if path.exists() and not overwrite:
        raise ModelError(
            f"a style of the name {name!r} exists ({path}): choose another --name, or --overwrite"
        )
    return path


def add_file(
    source: Path,
    *,
    name: str | None = None,
    sha256: str | None = None,
    overwrite: bool = False,
    style_size: int | None = None,
) -> Path:
    """Copy a model file into the user's own folder, or add the style predicted from a picture.

    Args:
        source: the model file, which is checked, or a picture.
        name: the style's name; None uses the file's name.
        sha256: the expected SHA-256 of the file, in hexadecimal digits; None accepts any.
        overwrite: whether a style of that name may be replaced.
        style_size: of a picture, see `predict_style`.

    Returns:
        The path of the copy.

    Raises:
        ModelFileError: the file is not a valid model file, has another SHA-256, or cannot be
            written.
        ModelError: there is a style of that name.
        UsageError: the name is not allowed.
    """
    if is_picture(source):
        return _add_picture(source, name or source.stem, sha256, overwrite, style_size)
    path = new_style_path(name or source.name.removesuffix(SUFFIX), overwrite=overwrite)
    load_model(source)
    found = file_sha256(source)
    if sha256 is not None and found != sha256.lower():
        raise ModelFileError(
            f"{source} is not the file that was expected: its SHA-256 is {found}, not "
            f"{sha256.lower()}"
        )
    part = _part_path(path.parent, str(path))
    try:
        shutil.copyfile(source, part)
        _accept(part, path, str(source))  # checks the copy: the source may have changed
    finally:
        part.unlink(missing_ok=True)
    return path


def add_model(model: StyleModel, name: str, *, painting: Path, overwrite: bool = False) -> Path:
    """Add a style in memory to the user's own folder, with its painting as thumbnail.

    Args:
        model: the style.
        name: the style's name.
        painting: the picture's file.
        overwrite: whether a style of that name may be replaced.

    Returns:
        The path of the model file.

    Raises:
        ImageError: the picture cannot be read.
        ModelFileError: the file cannot be written.
        ModelError: there is a style of that name.
        UsageError: the name is not allowed.
    """
    path = new_style_path(name, overwrite=overwrite)
    thumbnail = make_thumbnail(read_image(painting, at_least=256).fill_hidden())
    card = replace(model.card, name=name, thumbnail=thumbnail)
    save_model(path, card, model.weights)
    with suppress(EngineError):  # without an engine, the model is valid but has no fingerprint
        add_fingerprint(path)
    return path


def _add_picture(
    source: Path, name: str, sha256: str | None, overwrite: bool, style_size: int | None
) -> Path:
    new_style_path(name, overwrite=overwrite)  # before any work
    found = file_sha256(source)
    if sha256 is not None and found != sha256.lower():
        raise ModelFileError(
            f"{source} is not the file that was expected: its SHA-256 is {found}, not "
            f"{sha256.lower()}"
        )
    model = load_file(source, style_size=style_size)
    return add_model(model, name, painting=source, overwrite=overwrite)


def add_url(
    url: str,
    *,
    name: str | None = None,
    sha256: str | None = None,
    overwrite: bool = False,
    limit: int = SIZE_LIMIT,
    pause: float = 1.0,
    note: Callable[[str], None] = lambda _: None,
) -> tuple[Path, str]:
    """Download a model file into the user's own folder.

    Args:
        url: http or https; it may end with `#sha256=DIGITS`.
        name: the style's name; None uses the file's name in the URL.
        sha256: the expected SHA-256 of the file, in hexadecimal digits; None accepts any.
        overwrite: whether a style of that name may be replaced.
        limit: the largest size of the file, in bytes.
        pause: see `download`.
        note: see `download`.

    Returns:
        The path of the model, and its SHA-256.

    Raises:
        DownloadError: see `download`.
        ModelFileError: the file is not a valid model file, or cannot be written.
        ModelError: there is a style of that name.
        UsageError: the name or the URL is not allowed.
    """
    check_url(url)
    url, fragment = urldefrag(url)
    if fragment.startswith("sha256="):
        stated = fragment.removeprefix("sha256=")
        check_sha256(stated)
        if sha256 is not None and sha256.lower() != stated.lower():
            raise UsageError(f"the URL states another SHA-256 ({stated}) than --sha256")
        sha256 = stated
    from_url = PurePosixPath(unquote(urlsplit(url).path)).name.removesuffix(SUFFIX)
    path = new_style_path(name or from_url, overwrite=overwrite)
    part = _part_path(path.parent, url)
    found = download(url, part, sha256=sha256, limit=limit, pause=pause, note=note)
    try:
        _accept(part, path, url)
    finally:
        part.unlink(missing_ok=True)
    return path, found


def check_sha256(digits: str) -> None:
    """Check the form of a SHA-256.

    Raises:
        UsageError: it is not 64 hexadecimal digits.
    """
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", digits):
        raise UsageError(f"{digits!r} is not a SHA-256; expected 64 hexadecimal digits")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _part_path(folder: Path, what: str) -> Path:
    """Return the path of an unfinished file, the same for the same source so that it can resume."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFileError(f"{folder} cannot be made: {error.strerror}") from error
    return folder / f".fast-style-{hashlib.sha256(what.encode()).hexdigest()[:16]}.part"


def _accept(part: Path, path: Path, source: str) -> None:
    """Check that a finished file is a valid model, and rename it."""
    try:
        load_model(part)
    except ModelFileError as error:
        raise type(error)(str(error).replace(str(part), source)) from error
    try:
        os.replace(part, path)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be written: {error.strerror}") from error


def remove_style(name: str) -> Path:
    """Delete a style from the user's own folder.

    Returns:
        The path of the deleted file.

    Raises:
        StyleNotFoundError: there is no such style in that folder.
        ModelFileError: it cannot be deleted.
    """
    path = user_folder() / f"{name.removesuffix(SUFFIX)}{SUFFIX}"
    if path.parent != user_folder() or not path.is_file():
        raise StyleNotFoundError(
            f"there is no style {name!r} in your own folder ({user_folder()}), and only those "
            "there can be removed"
        )
    try:
        path.unlink()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be deleted: {error.strerror}") from error
    return path
