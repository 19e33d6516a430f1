"""What a call of `stylize` will read and write, settled before any work.

Names that collide and inputs that would be overwritten are found here, when nothing is lost yet.
"""

import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fast_style.errors import ImageWriteError, UsageError
from fast_style.images import READABLE_SUFFIXES, WRITABLE_SUFFIXES, format_from_suffix
from fast_style.images.folder import find_pictures, output_name
from fast_style.inference.pipeline import STANDARD, Job

__all__ = ["STANDARD", "Job", "Plan", "make_plan", "named_format"]


@dataclass(slots=True)
class Plan:
    """All that a call will do.

    Attributes:
        jobs: the pictures to stylize, in order.
        skipped: those whose output exists already, where that was asked for.
        problems: inputs that give no picture: the input, and a sentence.
    """

    jobs: list[Job] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def named_format(name: str | None) -> str | None:
    """Give Pillow's name of a format that the user named, such as `jpg`.

    Raises:
        UsageError: such files are not written here.
    """
    if name is None:
        return None
    try:
        return format_from_suffix(f"picture.{name}")
    except ImageWriteError:
        raise UsageError(f"this installation of Pillow cannot write {name.upper()} files") from None


def make_plan(
    inputs: Sequence[str],
    output: str | None,
    *,
    style: str,
    format: str | None = None,
    recursive: bool = False,
    skip_existing: bool = False,
) -> Plan:
    """Settle what is read and what is written.

    Args:
        inputs: paths of pictures and folders, or "-" alone.
        output: a file, a folder or "-"; None puts NAME-STYLE.EXT beside each picture, and the
            pictures of a folder into FOLDER-STYLE beside it.
        style: what to call the style in those names.
        format: Pillow's name of the output format; that of the input where None.
        recursive: whether the folders in a folder are searched too.
        skip_existing: whether pictures whose output is there are left out.

    Returns:
        The plan. Whether single files can be read shows only when they are.

    Raises:
        UsageError: the arguments do not fit together, two pictures would be written to one file, or
            an output would overwrite an input.
    """
    if not all(inputs) or output == "":
        raise UsageError("the name of an input or output is empty: was a variable not set?")
    plan = Plan()
    if STANDARD in inputs or output == STANDARD:
        plan.jobs.append(_standard_job(inputs, output, format))
    else:
        into_folder = _is_folder_output(inputs, output, format)
        seen: set[tuple[str, str]] = set()
        for source in inputs:
            for job in _jobs_of(source, output, into_folder, style, format, recursive, plan):
                # A picture that was named twice, or by itself and in its folder, is done once.
                key = (os.path.realpath(job.source), os.path.realpath(job.target))
                if key not in seen:
                    seen.add(key)
                    plan.jobs.append(job)
    _refuse_collisions(plan.jobs)
    _refuse_overwritten_inputs(plan.jobs)
    if skip_existing and output != STANDARD:
        plan.skipped = [job for job in plan.jobs if os.path.isfile(job.target)]
        skipped = set(plan.skipped)
        plan.jobs = [job for job in plan.jobs if job not in skipped]
    return plan


def _standard_job(inputs: Sequence[str], output: str | None, format: str | None) -> Job:
    if len(inputs) > 1:
        raise UsageError(
            "- stands for one picture on stdin or stdout, and "
            f"{len(inputs)} inputs were given: stylize them one by one"
        )
    source, target = inputs[0], output or STANDARD
    if os.path.isdir(source):
        raise UsageError(f"{source} is a folder, and only one picture can go to stdout (-o -)")
    if target != STANDARD:
        if _looks_like_folder(target):
            raise UsageError(f"{target} is a folder: name a file for the picture from stdin (-o)")
        _check_format(target, format)
    return Job(source, target)


def _is_folder_output(inputs: Sequence[str], output: str | None, format: str | None) -> bool:
    """Tell whether -o means a folder, and refuse one that cannot be what it must be."""
    if output is None:
        return False
    several = len(inputs) > 1 or os.path.isdir(inputs[0])
    if _looks_like_folder(output):
        return True
    if not several:
        _check_format(output, format)
        return False
    suffix = Path(output).suffix.lower()
    if os.path.lexists(output) or suffix in WRITABLE_SUFFIXES | READABLE_SUFFIXES:
        raise UsageError(
            f"{output} is the name of a file, and several pictures need a folder: "
            f"-o {Path(output).stem}{os.sep}"
        )
    return True


def _looks_like_folder(output: str) -> bool:
    return output.endswith(tuple(mark for mark in (os.sep, os.altsep) if mark)) or os.path.isdir(
        output
    )


def _check_format(target: str, format: str | None) -> None:
    suffix = Path(target).suffix.lower()
    try:
        told = format_from_suffix(target)
    except ImageWriteError as error:
        if format is None:
            raise UsageError(
                f"{error}; use --format, or end it with {os.sep} if it is a folder"
            ) from None
        return
    if format is not None and told != format:
        raise UsageError(f"-o {target} ends in {suffix}, and --format asks for {format}: leave one")


def _jobs_of(
    source: str,
    output: str | None,
    into_folder: bool,
    style: str,
    format: str | None,
    recursive: bool,
    plan: Plan,
) -> Iterator[Job]:
    if not os.path.isdir(source):
        if output is None:
            path = Path(source)
            name = output_name(path, format)
            target = path.with_name(f"{Path(name).stem}-{style}{Path(name).suffix}")
        else:
            target = Path(output)
            if into_folder:
                target /= output_name(Path(source), format)
        yield Job(source, str(target))
        return
    if output is None:
        whole, named = Path(os.path.abspath(source)), Path(source)
        if not whole.name:
            raise UsageError(f"{source} has no folder around it: say where to write (-o FOLDER)")
        # Told in the user's own way of naming it, where that has a name in it ("." has none).
        beside = whole if named.name in ("", "..") else named
        target_folder = beside.with_name(f"{whole.name}-{style}")
    else:
        target_folder = Path(output)

    def note(error: OSError) -> None:
        plan.problems.append(
            (str(error.filename), f"the folder cannot be read: {error.strerror or error}")
        )

    count = 0
    for path in find_pictures(source, target_folder, recursive=recursive, on_error=note):
        count += 1
        folder = target_folder / path.parent.relative_to(source)
        yield Job(str(path), str(folder / output_name(path, format)))
    if not count and not any(name == source for name, _ in plan.problems):
        hint = "" if recursive else "; --recursive looks into the folders in it"
        plan.problems.append((source, f"there are no pictures in the folder{hint}"))


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    taken: dict[str, Job] = {}
    collisions: list[tuple[Job, Job]] = []
    real_folders: dict[str, str] = {}
    for job in jobs:
        folder, name = os.path.split(job.target)
        if folder not in real_folders:
            real_folders[folder] = os.path.realpath(folder or os.curdir)
        # Some file systems hold A.png and a.png, or two spellings of an umlaut, to be one file.
        # Refused on all, so that a call does the same everywhere.
        key = unicodedata.normalize("NFC", os.path.join(real_folders[folder], name)).casefold()
        first = taken.setdefault(key, job)
        if first is not job:
            collisions.append((first, job))
    if collisions:
        first, second = collisions[0]
        more = f" (and {len(collisions) - 1} more such)" if len(collisions) > 1 else ""
        raise UsageError(
            f"{first.source} and {second.source} would both be written to {second.target}{more}: "
            "rename one, or stylize them into different folders"
        )


def _refuse_overwritten_inputs(jobs: Sequence[Job]) -> None:
    inputs = {identity: job for job in jobs if (identity := _identity(job.source))}
    for job in jobs:
        identity = _identity(job.target)
        if identity in inputs:
            raise UsageError(
                f"{inputs[identity].source} would be overwritten by a stylized picture: "
                "choose another output (-o)"
            )


def _identity(path: str) -> tuple[int, int] | None:
    """Tell which file a path leads to, by whatever spelling or link; None if there is none."""
    if path == STANDARD:
        return None
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    # Not pipes and devices: /dev/stdin and /dev/stdout may well be one terminal.
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
