"""The command `fast-style stylize`."""

import json
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fast_style.cli.exit_codes import EXIT_CODES, FAILED, SOME_FAILED, debug_option, debugging
from fast_style.cli.options import (
    StyleCommand,
    colors_of_option,
    json_option,
    mask_option,
    options_from,
    quiet_option,
    standard_output,
    styles_option,
)
from fast_style.cli.refine import refine_option
from fast_style.options import (
    EngineOptions,
    OutputOptions,
    PipelineOptions,
    PredictionOptions,
    StyleOptions,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fast_style.cli.file_pipeline import FilePipeline
    from fast_style.cli.loading import Models
    from fast_style.cli.output_plan import OutputPlan
    from fast_style.cli.progress import ProgressReporter
    from fast_style.images.provenance import Provenance
    from fast_style.inference.pipeline import PictureResult, Polish
    from fast_style.inference.stylizer import Stylizer


@click.command(cls=StyleCommand, epilog=EXIT_CODES)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@styles_option
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="Where to write: a file for one picture; a folder, created if need be, for several or for "
    "a folder; - for stdout. An existing file is overwritten unless it is an input.  [default: "
    "NAME-STYLE.EXT beside each picture, FOLDER-STYLE beside a folder]",
)
@mask_option
@colors_of_option
@options_from(StyleOptions, "style_options")
@options_from(PredictionOptions, "prediction_options")
@click.option(
    "--variants",
    type=click.IntRange(2, 16),
    metavar="N",
    help="Write a small sheet of N variants of each picture, to choose one with --variant.",
)
@refine_option
@click.option(
    "--polish",
    type=click.IntRange(min=1),
    metavar="N",
    help="Refine each picture by N iterations of optimisation towards the painting, which takes "
    "seconds to minutes; needs torch.",
)
@click.option(
    "--style-image",
    "style_images",
    metavar="PAINTING[:WEIGHT]",
    multiple=True,
    help="The painting for --polish.  [default: NAME.jpg, .png or .webp beside the model file, "
    "else the thumbnail in it]",
)
@click.option("-r", "--recursive", is_flag=True, help="Search the subfolders of folders too.")
@click.option(
    "--first-frame",
    is_flag=True,
    help="Stylize only the first frame of animated GIF, WebP and PNG files, as a still picture.",
)
@click.option(
    "--skip-existing",
    is_flag=True,
    help="Skip pictures whose output exists, is newer than the photo, and was made with the same "
    "style and options by its note; make the others again.",
)
@options_from(OutputOptions, "output_options")
@options_from(PipelineOptions, "pipeline_options")
@options_from(EngineOptions, "engine_options")
@json_option
@quiet_option
@debug_option
@click.pass_context
def stylize(context: click.Context, /, **values: Any) -> None:
    """Apply a style to photos.

    INPUT is a picture, a folder of pictures, or - for a picture from stdin. In a folder, pictures
    are recognized by their suffix; hidden files are skipped; the structure of subfolders is kept.

    \b
    fast-style stylize photo.jpg --style starry-night -o stylized.jpg
    fast-style stylize holiday --recursive --style starry-night -o stylized --skip-existing
    """  # noqa: D301 (the \b is click's)
    request = _Request(**values)
    _check_request(request)
    # Imported here, so that help and errors in the options come at once.
    from fast_style.cli.loading import begin_loading
    from fast_style.styles.registry import find_parts

    styles = [find_parts(style) for style in request.styles]
    models = [
        found[0][0] if len(found) == 1 else text
        for text, found in zip(request.styles, styles, strict=True)
    ]
    load = begin_loading(
        models,
        [path for found in styles for path, _ in found],
        request.prediction_options,
        refine=request.refine,
        quiet=request.quiet,
    )
    from fast_style.cli.progress import ProgressReporter
    from fast_style.inference.guides import check_mask_count

    check_mask_count(len(request.masks), len(request.styles))
    plan = _make_plan(request, [part for one in styles for part in one])
    reporter = ProgressReporter(quiet=request.quiet, debug=debugging())
    _report_plan(plan, reporter)
    document = {"style": " + ".join(map(str, models)), **_describe_plan(plan)}
    done = 0
    if plan.tasks:
        pipeline = _make_pipeline(request, plan, load(), styles, reporter)
        done = _run_pipeline(pipeline, plan, reporter, document)
    failed = len(plan.errors) + len(plan.tasks) - done
    reporter.summary(done, len(plan.skipped), failed)
    if request.as_json:
        click.echo(json.dumps(document, indent=2))
    if failed:
        context.exit(SOME_FAILED if done or plan.skipped else FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What the command line asks for, by the names of the options."""

    inputs: tuple[str, ...]
    styles: tuple[str, ...]
    output: str | None
    masks: tuple[str, ...]
    colors_of: str | None
    variants: int | None
    style_options: StyleOptions
    prediction_options: PredictionOptions
    refine: float | None
    polish: int | None
    style_images: tuple[str, ...]
    recursive: bool
    first_frame: bool
    skip_existing: bool
    output_options: OutputOptions
    pipeline_options: PipelineOptions
    engine_options: EngineOptions
    as_json: bool
    quiet: bool


def _check_request(request: _Request) -> None:
    """Check that the options fit together."""
    _check_streams(request.inputs, standard_output(request.output), request.as_json)
    if request.style_images and request.polish is None:
        raise click.UsageError("--style-image is the painting for --polish N: give both")
    if request.polish is not None and request.variants is not None:
        raise click.UsageError("--variants shows what the network gives: leave out --polish")
    if request.colors_of is not None and request.style_options.color_mode is not None:
        raise click.UsageError("--preserve-color and --colors-of are two choices: give one")
    if request.polish is not None and len(request.styles) > 1:
        raise click.UsageError("--polish is for one style or mixture, and several were given")


def _make_plan(request: _Request, parts: "Sequence[tuple[Path, float]]") -> "OutputPlan":
    """Decide what is read and written.

    Args:
        request: the options.
        parts: the model files of all styles, with their shares.
    """
    from fast_style.cli.output_plan import make_plan
    from fast_style.inference.pipeline import pillow_format
    from fast_style.styles.mixing import mixture_name

    name = mixture_name([path.stem for path, _ in parts])
    return make_plan(
        request.inputs,
        request.output,
        name,
        pillow_format(request.output_options.format),
        recursive=request.recursive,
        skip_existing=request.skip_existing,
        provenance=_describe_making(request, name, parts),
        first_frame=request.first_frame
        or request.polish is not None
        or request.variants is not None,
    )


def _describe_making(
    request: _Request, name: str, parts: "Sequence[tuple[Path, float]]"
) -> "Provenance | None":
    """Return how the pictures are made, for their notes; None if they have none."""
    from fast_style.images.provenance import Provenance
    from fast_style.inference.pipeline import writes_note
    from fast_style.styles.registry import identify_parts

    if not writes_note(request.output_options):
        return None
    return Provenance.of_options(
        name,
        identify_parts(parts),
        request.style_options,
        request.output_options,
        style_size=request.prediction_options.style_size,
        refine=request.refine,
        polish=request.polish,
        style_images=request.style_images,
        masks=request.masks,
        colors_of=request.colors_of,
        variants=request.variants,
    )


def _report_plan(plan: "OutputPlan", reporter: "ProgressReporter") -> None:
    """Print what the user should know before the pictures are stylized."""
    from fast_style.cli.finished import describe_redone

    reporter.errors(plan.errors)
    for note in plan.notes:
        reporter.note(note)
    if plan.redone:
        reporter.note(f"outputs that are made again: {describe_redone(plan.redone)}")
    for folder, left_out in plan.left_out.items():
        reporter.left_out(folder, left_out)


def _make_pipeline(
    request: _Request,
    plan: "OutputPlan",
    models: "Sequence[Models]",
    styles: "Sequence[Sequence[tuple[Path, float]]]",
    reporter: "ProgressReporter",
) -> "FilePipeline":
    """Load the styles, the painting for `--polish` and the masks.

    Args:
        request: the options.
        plan: what is read and written.
        models: the loaded models of each style, with their shares.
        styles: the model files of each style, with their shares.
        reporter: gets notes.
    """
    from fast_style.cli.file_pipeline import FilePipeline
    from fast_style.inference.guide_files import GuideFiles

    device = request.engine_options.device
    return FilePipeline(
        _load_stylizer(models, request, reporter),
        request.style_options,
        request.output_options,
        workers=request.pipeline_options.workers,
        polish=_make_polish(request.polish, styles[0], request.style_images, device, reporter),
        guides=GuideFiles(request.masks, request.colors_of),
        variants=request.variants or 1,
        provenance=plan.provenance,
    )


def _describe_plan(plan: "OutputPlan") -> dict[str, Any]:
    """Return the document for `--json` before any picture is stylized."""
    rows: list[dict[str, Any]] = [
        {"input": name, "error": sentence} for name, sentence in plan.errors
    ]
    rows += [
        {"input": task.source, "output": task.target, "skipped": True} for task in plan.skipped
    ]
    left_out = {folder: dict(files.counts) for folder, files in plan.left_out.items()}
    empty = {"engine": None, "device": None, "precision": None}
    return {**empty, "left_out": left_out, "images": rows}


def _run_pipeline(
    pipeline: "FilePipeline",
    plan: "OutputPlan",
    reporter: "ProgressReporter",
    document: dict[str, Any],
) -> int:
    """Stylize the pictures, add them to the document, and return the number of successes."""
    engine = pipeline.stylizer.engine
    document |= {"engine": engine.name, "device": engine.device, "precision": engine.precision}
    done = 0
    # Closed also when it is interrupted, or its threads would keep running.
    with reporter.bar(len(plan.tasks)), closing(pipeline.run(plan.tasks)) as results:
        for result in results:
            reporter.result(result)
            done += result.error is None
            row = _describe_result(result)
            if result.task in plan.redone:
                row["redone"] = plan.redone[result.task]
            document["images"].append(row)
    return done


def _check_streams(inputs: tuple[str, ...], output: str | None, as_json: bool) -> None:
    if "-" not in (*inputs, output):
        return
    if "-" in inputs and sys.stdin is None:
        raise click.UsageError("stdin is closed, and - stands for a picture from stdin")
    if output not in (None, "-"):
        return
    if as_json:
        raise click.UsageError("--json and the picture cannot both go to stdout: give -o FILE")
    if sys.stdout is None:
        raise click.UsageError("stdout is closed: give a file for the picture (-o FILE)")
    if output is None and len(inputs) == 1 and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal: give a file for the picture (-o FILE)")


def _load_stylizer(
    models: "Sequence[Models]", request: _Request, reporter: "ProgressReporter"
) -> "Stylizer":
    from fast_style.engines import unused_gpu
    from fast_style.inference.stylizer import Stylizer

    options, limit = request.engine_options, request.pipeline_options.max_megapixels
    stylizer = Stylizer.from_options(models, options, max_megapixels=limit)
    if stylizer.mixed_by == "pictures":
        reporter.note(
            "these styles differ in size or base, so their pictures are mixed instead of their "
            "networks: each picture takes one pass per style"
        )
    if options.engine == options.device == "auto" and (reason := unused_gpu()):
        reporter.note(reason)
    return stylizer


def _make_polish(
    iterations: int | None,
    parts: "Sequence[tuple[Path, float]]",
    style_images: tuple[str, ...],
    device: str,
    reporter: "ProgressReporter",
) -> "Polish | None":
    if iterations is None:
        return None
    from fast_style.errors import MissingExtraError
    from fast_style.storage.hardware import installed

    if not installed("torch"):
        raise MissingExtraError("--polish", "torch", "torch")
    from fast_style.optimization.polish import Polisher, find_painting, read_weighted_paintings

    if style_images:
        return Polisher(iterations, *read_weighted_paintings(style_images), device=device)
    paintings = []
    for path, _ in parts:
        painting, is_thumbnail = find_painting(path)
        paintings.append(painting)
        if is_thumbnail:
            reporter.note(
                f"{path.stem} is polished with the thumbnail in its file, which lacks fine "
                "strokes: give the painting (--style-image)"
            )
    return Polisher(iterations, paintings, [share for _, share in parts], device=device)


def _describe_result(result: "PictureResult") -> dict[str, Any]:
    row: dict[str, Any] = {"input": result.task.source}
    if result.error is not None:
        return row | {"error": result.error_message}
    return row | {
        "output": result.task.target,
        "width": result.width,
        "height": result.height,
        "seconds": round(result.seconds, 3),
        "notes": list(result.notes),
    }
