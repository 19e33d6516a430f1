"""List the pictures of a bulk run: from a folder, a glob, a URL, or a list in Parquet or CSV."""

import csv
import fnmatch
import glob
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from fast_style.errors import BulkError, FastStyleError, UsageError
from fast_style.images.folder import (
    LeftOut,
    find_pictures,
    fold_name,
    is_picture_name,
    is_video_name,
)
from fast_style.storage.hardware import import_optional
from fast_style.storage.object_store import (
    absolute_location,
    is_url,
    local_path,
    open_filesystem,
    read_url,
    short_reason,
)

FOLDER = ".fast-style-bulk"
"""The folder in the output where a run keeps its own files."""

Accept = Callable[[str], bool]

_LIST_SUFFIXES = (".csv", ".parquet")
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(slots=True)
class Listing:
    """The pictures of an input, stored in columns since there may be millions.

    Attributes:
        sources: paths or URLs.
        root: the common prefix that names leave out; None if names are whole paths.
        names: the name of each picture's output, if a list gives them; "" where it gives none.
        styles: the style of each picture, if a list gives them; "" where it gives none.
        errors: folders that could not be searched and pictures that are refused by their name: the
            path, and a sentence.
    """

    sources: list[str]
    root: str | None = None
    names: Sequence[str] | None = None
    styles: Sequence[str] | None = None
    errors: list[tuple[str, str]] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.sources)

    def name(self, index: int) -> str:
        """Return a picture's path relative to the root, with slashes; whole if there is none."""
        source = self.sources[index]
        if self.root is not None:
            return source[len(self.root) :].replace(os.sep, "/").lstrip("/")
        scheme, mark, rest = source.partition("://")
        whole = rest if mark else scheme
        # A drive's `C:` cannot be the name of a folder, and neither can `.` and `..`.
        parts = whole.replace(os.sep, "/").replace(":", "").split("/")
        return "/".join(part for part in parts if part not in ("", ".", ".."))


def list_pictures(
    source: str,
    leave_out: str,
    *,
    column: str = "path",
    name_column: str | None = None,
    style_column: str | None = None,
    videos: bool = False,
) -> Listing:
    """Find the pictures of an input.

    Args:
        source: a folder or a URL, searched with its subfolders; a glob, `**` for any folders; or a
            file `.csv` or `.parquet`. Names in a list are relative to the list's folder.
        leave_out: the output, whose pictures are not listed.
        column: the list's column with paths or URLs.
        name_column: the list's column with names of the outputs.
        style_column: the list's column with styles.
        videos: whether videos are listed too; those that a list names always are.

    Raises:
        UsageError: there is no such input or no picture in it, or the list lacks a column or path.
        BulkError: it cannot be read.
        MissingExtraError: fsspec, or pyarrow for Parquet, is not installed.
    """
    accept = _is_picture_or_video if videos else is_picture_name
    path = local_path(source)
    suffix = PurePosixPath(source).suffix.lower()
    exists = path is not None and os.path.exists(path)
    if (
        suffix in _LIST_SUFFIXES
        and not (exists and os.path.isdir(str(path)))
        and not _WILDCARD.search(source)
    ):
        listing = _from_list(source, suffix, column, name_column, style_column)
    elif name_column or style_column:
        raise UsageError(
            f"--name-column and --style-column need a list, and {source} is not one: give a "
            ".csv or .parquet file"
        )
    elif path is None:
        listing = _from_url(source, leave_out, accept)
    elif os.path.isdir(path):
        listing = _from_folder(path, leave_out, accept)
    elif _WILDCARD.search(path) and not exists:
        listing = _from_glob(path, leave_out, accept)
    elif exists:
        raise UsageError(
            f"{source} is a single file, and a folder, a glob, a URL or a list (.csv, .parquet) "
            "was expected: fast-style stylize does one picture"
        )
    else:
        raise UsageError(f"there is no folder, file or list {source}: check the path")
    if not listing.sources and not listing.errors:
        seen = f" ({listing.left_out.describe()})" if listing.left_out.counts else ""
        raise UsageError(f"there are no pictures in {source}{seen}: check the path")
    return listing


def _is_picture_or_video(name: str) -> bool:
    return is_picture_name(name) or is_video_name(name)


def _from_folder(folder: str, leave_out: str, accept: Accept) -> Listing:
    listing = Listing([], os.path.realpath(folder))
    listing.sources += _search(listing, leave_out, accept)
    return listing


def _from_glob(pattern: str, leave_out: str, accept: Accept) -> Listing:
    whole = os.path.abspath(pattern)
    # Names are relative to the folder before the first wildcard.
    fixed = os.path.dirname(_WILDCARD.split(whole, maxsplit=1)[0])
    root, rest = os.path.realpath(fixed), whole[len(fixed) :]
    listing = Listing([], root)
    patterns = [one for one in rest.split(os.sep) if one]
    if "**" in patterns:
        # Not the glob module, which follows links in circles.
        found = _search(listing, leave_out, accept)
        below = len(os.path.join(root, ""))
        listing.sources += (one for one in found if _fits(one[below:].split(os.sep), patterns))
        if patterns[-1] not in ("*", "**"):
            listing.left_out = LeftOut()  # the other files do not fit the glob
        return listing
    files = (one for one in glob.iglob(root + rest) if not os.path.isdir(one))
    for one in sorted(
        _select_pictures(files, local_path(leave_out) or "", listing.left_out, accept)
    ):
        # A broken link too, which is reported when it is opened.
        if os.path.isfile(one) or not os.path.exists(one):
            listing.sources.append(one)
        else:
            listing.left_out.add_special()
    return listing


def _search(listing: Listing, leave_out: str, accept: Accept) -> Iterator[str]:
    """Yield the pictures below the listing's root; note what is left out and what fails."""

    def note(error: OSError) -> None:
        where = str(error.filename)
        listing.errors.append((where, f"the folder cannot be read: {error.strerror or error}"))

    output, left_out = local_path(leave_out) or None, listing.left_out
    found = find_pictures(
        listing.root or "", output, recursive=True, on_error=note, left_out=left_out, accept=accept
    )
    return map(str, found)


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Return whether the parts of a path fit a glob's; `**` stands for any number of folders."""
    if not patterns:
        return not parts
    first, rest = patterns[0], patterns[1:]
    if first == "**":
        return any(_fits(parts[skipped:], rest) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatch(parts[0], first) and _fits(parts[1:], rest)


def _from_url(url: str, leave_out: str, accept: Accept) -> Listing:
    wild = _WILDCARD.search(url)
    root = url[: wild.start()].rpartition("/")[0] if wild else url.rstrip("/")
    system, path = open_filesystem(url, extra="bulk")
    try:
        system.invalidate_cache()
        found = (system.glob if wild else system.find)(path, detail=True)
    except Exception as error:  # remote file systems have exceptions of their own
        raise BulkError(f"{url} cannot be listed: {short_reason(error)}") from error
    # Keep the form of the URL that the user wrote, since file systems change it.
    below = len(open_filesystem(root, extra="bulk")[1].rstrip("/"))
    files = [root + str(one)[below:] for one, its in found.items() if its["type"] != "directory"]
    listing = Listing([], root)
    wanted = sorted(_select_pictures(files, leave_out, listing.left_out, accept))
    # Keys of an object store and links of a page are any text: `a/../../x.jpg` among them.
    refused = [one for one in wanted if leads_out(one[len(root) :].lstrip("/"))]
    listing.sources = sorted(set(wanted) - set(refused))
    sentence = "its name leads out of the output folder: rename it"
    listing.errors += [(one, sentence) for one in refused]
    return listing


def leads_out(name: str) -> bool:
    """Return whether a name, relative to the output, leads out of it or into a run's own files.

    Backslashes count as separators on every system: a run may be continued on another one.
    """
    parts = re.split(r"[\\/]", name)
    absolute = not parts[0] or parts[0].endswith(":")
    return absolute or ".." in parts or fold_name(parts[0]) == FOLDER


def _select_pictures(
    sources: Iterable[str], leave_out: str, left_out: LeftOut, accept: Accept
) -> Iterator[str]:
    """Yield what has a picture's suffix and is not in the output; count the other files."""
    own = leave_out.rstrip("/" + os.sep) + "/" if leave_out else None
    for source in sources:
        name = PurePosixPath(source).name
        if own is not None and source.startswith(own):
            continue
        if accept(name):
            yield source
        else:
            left_out.add(name)


def _from_list(
    source: str, suffix: str, column: str, name_column: str | None, style_column: str | None
) -> Listing:
    wanted = [column, *(one for one in (name_column, style_column) if one)]
    try:
        path = local_path(source)
        data = read_url(source, extra="bulk") if path is None else Path(path).read_bytes()
        columns = (_csv_columns if suffix == ".csv" else _parquet_columns)(data, wanted)
    except FastStyleError:
        raise
    except Exception as error:  # a file of another format, or one that cannot be reached
        raise BulkError(f"the list {source} cannot be read: {short_reason(error)}") from error
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise UsageError(
            f"the list {source} has no column {missing[0]}: name it with --column, --name-column "
            "or --style-column"
        )
    base = absolute_location(source).rpartition("/" if is_url(source) else os.sep)[0]
    paths = columns[column]
    empty = next((row for row, one in enumerate(paths, 1) if not one), None)
    if empty is not None:
        raise UsageError(f"row {empty} of the list {source} has no {column}: fill it or remove it")
    return Listing(
        [_from_base(base, one) for one in paths],
        # If all paths are relative, outputs keep their folders; else names are the whole paths.
        base if all(map(_is_relative, paths)) else None,
        columns[name_column] if name_column else None,
        columns[style_column] if style_column else None,
    )


def _csv_columns(data: bytes, wanted: Sequence[str]) -> dict[str, list[str]]:
    rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    head = next(rows, [])
    positions = {name: head.index(name) for name in wanted if name in head}
    columns: dict[str, list[str]] = {name: [] for name in positions}
    for row in rows:
        if row:  # not an empty line
            for name, at in positions.items():
                columns[name].append(row[at] if at < len(row) else "")
    return columns


def _parquet_columns(data: bytes, wanted: Sequence[str]) -> dict[str, list[str]]:
    parquet = import_optional("pyarrow.parquet", "a list in Parquet", "bulk")
    file = parquet.ParquetFile(io.BytesIO(data))
    present = [name for name in wanted if name in file.schema_arrow.names]
    table = file.read(columns=present)
    text: Callable[[Any], str] = lambda value: "" if value is None else str(value)  # noqa: E731
    return {name: list(map(text, table.column(name).to_pylist())) for name in present}


def _is_relative(path: str) -> bool:
    return not is_url(path) and not os.path.isabs(path) and ".." not in PurePosixPath(path).parts


def _from_base(base: str, path: str) -> str:
    if is_url(path):
        return local_path(path) or path
    if is_url(base):
        return path if os.path.isabs(path) else f"{base}/{path}"
    return os.path.normpath(os.path.join(base, path))


def each_style(listing: Listing, default: str) -> Iterator[str]:
    """Yield the style of each picture in order: the list's, or the default where it has none."""
    if listing.styles is None:
        yield from (default for _ in listing.sources)
    else:
        yield from (style or default for style in listing.styles)
