"""Decide what a call of `stylize` reads and writes, before any work.

Outputs with the same name are told apart, and inputs that would be overwritten are refused here,
before time is spent on pictures.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fast_style.cli.animations import (
    WITHOUT_EXTRA,
    can_animate,
    is_animation_output,
    with_frames,
)
from fast_style.cli.collisions import refuse_overwritten_inputs, separate_outputs
from fast_style.cli.finished import find_finished
from fast_style.cli.options import standard_output
from fast_style.errors import ImageWriteError, UsageError
from fast_style.images import READABLE_SUFFIXES, WRITABLE_SUFFIXES, format_from_suffix
from fast_style.images.folder import LeftOut, find_pictures, output_name
from fast_style.images.provenance import Provenance
from fast_style.inference.pipeline import STANDARD, PictureTask
from fast_style.storage.atomic_write import is_stream

__all__ = ["OutputPlan", "make_plan"]


@dataclass(slots=True)
class OutputPlan:
    """The inputs and outputs of a call.

    Attributes:
        tasks: the pictures to stylize, in order.
        skipped: pictures whose output exists and is finished, if those are to be skipped.
        redone: the other pictures whose output exists then, each with what is wrong with it.
        errors: inputs without a picture: the input, and a sentence.
        notes: what the user should know.
        provenance: how the pictures are made, for their notes.
        left_out: for each folder, the files in it that are no readable pictures.
    """

    tasks: list[PictureTask] = field(default_factory=list)
    skipped: list[PictureTask] = field(default_factory=list)
    redone: dict[PictureTask, str] = field(default_factory=dict)
    errors: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    provenance: Provenance | None = None
    left_out: dict[str, LeftOut] = field(default_factory=dict)


def make_plan(
    inputs: Sequence[str],
    output: str | None,
    style: str,
    format: str | None = None,
    *,
    recursive: bool = False,
    skip_existing: bool = False,
    provenance: Provenance | None = None,
    first_frame: bool = False,
) -> OutputPlan:
    """Decide what is read and what is written.

    Args:
        inputs: paths of pictures and folders, or "-" alone for stdin.
        output: a file, a folder, or "-" for stdout; None writes NAME-STYLE.EXT beside each picture,
            and the pictures of a folder into FOLDER-STYLE beside it.
        style: the style's name in these names.
        format: Pillow's name of the output format; that of the input if None.
        recursive: whether subfolders are searched too.
        skip_existing: whether pictures whose output exists and is finished are skipped.
        provenance: how the pictures are made, see `find_finished`.
        first_frame: whether only the first frame of animated pictures is stylized.

    Returns:
        The plan; whether single files can be read is not checked.

    Raises:
        UsageError: the arguments do not fit together, or an output would overwrite an input.
    """
    if not all(inputs) or output == "":
        raise UsageError("the name of an input or output is empty: was a variable not set?")
    plan, output = OutputPlan(provenance=provenance), standard_output(output)
    if STANDARD in inputs or output == STANDARD:
        plan.tasks.append(_standard_stream_task(inputs, output, format))
    else:
        into_folder = _is_folder_output(inputs, output, format, first_frame)
        seen: set[tuple[str, str]] = set()
        for source in inputs:
            for task in _find_tasks(source, output, into_folder, style, format, recursive, plan):
                # A picture given twice, or by itself and in its folder, is stylized once.
                key = (os.path.realpath(task.source), os.path.realpath(task.target))
                if key not in seen:
                    seen.add(key)
                    plan.tasks.append(task)
        if not first_frame:
            _find_animations(plan, format, named=not (output is None or into_folder))
    plan.tasks, note = separate_outputs(plan.tasks)
    plan.notes += [note] if note else []
    refuse_overwritten_inputs(plan.tasks)
    if skip_existing and output != STANDARD:
        plan.skipped, plan.redone = find_finished(plan.tasks, provenance)
        skipped = set(plan.skipped)
        plan.tasks = [task for task in plan.tasks if task not in skipped]
    return plan


def _standard_stream_task(
    inputs: Sequence[str], output: str | None, format: str | None
) -> PictureTask:
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
    return PictureTask(source, target)


def _find_animations(plan: OutputPlan, format: str | None, *, named: bool) -> None:
    """Mark the tasks whose input and output have several frames."""
    tasks = [with_frames(task, format, named=named) for task in plan.tasks]
    if any(task.moving for task in tasks):
        if can_animate():
            plan.tasks = tasks
        else:
            plan.notes.append(WITHOUT_EXTRA)


def _is_folder_output(
    inputs: Sequence[str], output: str | None, format: str | None, first_frame: bool
) -> bool:
    """Return whether -o is a folder; refuse a file for several pictures and unknown suffixes."""
    if output is None:
        return False
    several = len(inputs) > 1 or os.path.isdir(inputs[0])
    if _looks_like_folder(output):
        return True
    if not several:
        if first_frame or not is_animation_output(inputs[0], output):
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
    if suffix not in WRITABLE_SUFFIXES and is_stream(target):
        return  # as on stdout, the format is that of the input
    try:
        by_suffix = format_from_suffix(target)
    except ImageWriteError as error:
        if format is None:
            raise UsageError(
                f"{error}; use --format, or end it with {os.sep} if it is a folder"
            ) from None
        return
    if format is not None and by_suffix != format:
        raise UsageError(
            f"-o {target} ends in {suffix}, and --format is {format}: leave out one of them"
        )


def _find_tasks(
    source: str,
    output: str | None,
    into_folder: bool,
    style: str,
    format: str | None,
    recursive: bool,
    plan: OutputPlan,
) -> Iterator[PictureTask]:
    if not os.path.isdir(source):
        if output is None:
            path = Path(source)
            name = output_name(path, format)
            target = path.with_name(f"{Path(name).stem}-{style}{Path(name).suffix}")
        else:
            target = Path(output)
            if into_folder:
                target /= output_name(Path(source), format)
        yield PictureTask(source, str(target))
        return
    if output is None:
        whole, named = Path(os.path.abspath(source)), Path(source)
        if not whole.name:
            raise UsageError(f"{source} has no parent folder: give an output folder (-o FOLDER)")
        # Written as the user wrote it, unless that contains no name (as in ".").
        beside = whole if named.name in ("", "..") else named
        target_folder = beside.with_name(f"{whole.name}-{style}")
    else:
        target_folder = Path(output)

    def note(error: OSError) -> None:
        plan.errors.append(
            (str(error.filename), f"the folder cannot be read: {error.strerror or error}")
        )

    count = 0
    left_out = plan.left_out[source] = LeftOut()
    found = find_pictures(
        source, target_folder, recursive=recursive, on_error=note, left_out=left_out
    )
    for path in found:
        count += 1
        folder = target_folder / path.parent.relative_to(source)
        yield PictureTask(str(path), str(folder / output_name(path, format)))
    if not count and not any(name == source for name, _ in plan.errors):
        del plan.left_out[source]
        seen = f" ({left_out.describe()})" if left_out.counts else ""
        hint = "" if recursive else "; --recursive looks into the folders in it"
        plan.errors.append((source, f"there are no pictures in the folder{seen}{hint}"))
