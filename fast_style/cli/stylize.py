"""The command `fast-style stylize`."""

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fast_style.cli.exit_codes import EXIT_CODES, FAILED, SOME_FAILED, debug_option, debugging
from fast_style.cli.options import (
    json_option,
    mask_option,
    options_from,
    quiet_option,
    standard_output,
    styles_option,
)
from fast_style.cli.refine import refine_file, refine_option
from fast_style.options import EngineOptions, OutputOptions, PipelineOptions, StyleOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fast_style.cli.file_pipeline import FilePipeline
    from fast_style.cli.output_plan import OutputPlan
    from fast_style.cli.progress import ProgressReporter
    from fast_style.inference.pipeline import PictureResult, PictureTask, Polish
    from fast_style.inference.stylizer import Stylizer


@click.command(epilog=EXIT_CODES)
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
@options_from(StyleOptions, "style_options")
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
@click.option("--skip-existing", is_flag=True, help="Skip pictures whose output exists.")
@options_from(OutputOptions, "output_options")
@options_from(PipelineOptions, "pipeline_options")
@options_from(EngineOptions, "engine_options")
@json_option
@quiet_option
@debug_option
@click.pass_context
def stylize(
    context: click.Context,
    inputs: tuple[str, ...],
    styles: tuple[str, ...],
    output: str | None,
    masks: tuple[str, ...],
    style_options: StyleOptions,
    refine: float | None,
    polish: int | None,
    style_images: tuple[str, ...],
    recursive: bool,
    first_frame: bool,
    skip_existing: bool,
    output_options: OutputOptions,
    pipeline_options: PipelineOptions,
    engine_options: EngineOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Apply a style to photos.

    INPUT is a picture, a folder of pictures, or - for a picture from stdin. In a folder, pictures
    are recognized by their suffix; hidden files are skipped; the structure of subfolders is kept.

    \b
    fast-style stylize photo.jpg --style starry-night -o stylized.jpg
    fast-style stylize holiday --recursive --style starry-night -o stylized --skip-existing
    """  # noqa: D301 (the \b is click's)
    output = standard_output(output)
    _check_streams(inputs, output, as_json)
    if style_images and polish is None:
        raise click.UsageError("--style-image is the painting for --polish N: give both")
    if polish is not None and len(styles) > 1:
        raise click.UsageError("--polish is for one style or mixture, and several were given")
    # Imported here, so that help and errors in the options come at once.
    from fast_style.cli.file_pipeline import FilePipeline
    from fast_style.cli.output_plan import make_plan
    from fast_style.cli.progress import ProgressReporter
    from fast_style.inference.guide_files import GuideFiles
    from fast_style.inference.guides import check_mask_count
    from fast_style.inference.pipeline import pillow_format
    from fast_style.styles.mixing import mixture_name
    from fast_style.styles.registry import find_parts

    check_mask_count(len(masks), len(styles))
    several = [find_parts(style) for style in styles]
    parts = [part for one in several for part in one]
    name, format = mixture_name([p.stem for p, _ in parts]), pillow_format(output_options.format)
    plan = make_plan(
        inputs,
        output,
        name,
        format,
        recursive=recursive,
        skip_existing=skip_existing,
        first_frame=first_frame or polish is not None,
    )
    reporter = ProgressReporter(quiet=quiet, debug=debugging())
    reporter.errors(plan.errors)
    for note in plan.notes:
        reporter.note(note)
    for folder, left_out in plan.left_out.items():
        reporter.left_out(folder, left_out)
    chosen = [
        one[0][0] if len(one) == 1 else style for style, one in zip(styles, several, strict=True)
    ]
    document = {"style": " + ".join(map(str, chosen)), **_describe_plan(plan)}
    done = 0
    if plan.tasks:
        pipeline = FilePipeline(
            _load_stylizer(chosen, refine, engine_options, pipeline_options, reporter),
            style_options,
            output_options,
            workers=pipeline_options.workers,
            polish=_make_polish(polish, parts, style_images, engine_options.device, reporter),
            guides=GuideFiles(masks),
        )
        done = _run_pipeline(pipeline, plan.tasks, reporter, document)
    failed = len(plan.errors) + len(plan.tasks) - done
    reporter.summary(done, len(plan.skipped), failed)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    if failed:
        context.exit(SOME_FAILED if done or plan.skipped else FAILED)


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
    tasks: "Sequence[PictureTask]",
    reporter: "ProgressReporter",
    document: dict[str, Any],
) -> int:
    """Stylize the pictures, add them to the document, and return the number of successes."""
    engine = pipeline.stylizer.engine
    document |= {"engine": engine.name, "device": engine.device, "precision": engine.precision}
    done = 0
    # Closed also when it is interrupted, or its threads would keep running.
    with reporter.bar(len(tasks)), closing(pipeline.run(tasks)) as results:
        for result in results:
            reporter.result(result)
            done += result.error is None
            document["images"].append(_describe_result(result))
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
    styles: "Sequence[Path | str]",
    refine: float | None,
    engine_options: EngineOptions,
    pipeline_options: PipelineOptions,
    reporter: "ProgressReporter",
) -> "Stylizer":
    from fast_style.engines import unused_gpu
    from fast_style.inference.stylizer import Stylizer

    models = [
        style if refine is None else refine_file(Path(style), refine, quiet=reporter.quiet)
        for style in styles
    ]
    stylizer = Stylizer.from_options(
        models, engine_options, max_megapixels=pipeline_options.max_megapixels
    )
    if stylizer.mixed_by == "pictures":
        reporter.note(
            "these styles differ in size or base, so their pictures are mixed instead of their "
            "networks: each picture takes one pass per style"
        )
    if engine_options.engine == engine_options.device == "auto" and (reason := unused_gpu()):
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
