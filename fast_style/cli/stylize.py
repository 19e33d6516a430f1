"""The command `fast-style stylize`."""

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fast_style.cli.exit_codes import (
    EXIT_CODES,
    FAILED,
    SOME_FAILED,
    debug_option,
    debugging,
)
from fast_style.cli.image_options import engine_options, look_options, written_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fast_style.cli.file_pipeline import Outcome
    from fast_style.cli.progress import Report
    from fast_style.inference.stylizer import Stylizer, Tile
    from fast_style.optimization.polish import Polisher


@click.command(epilog=EXIT_CODES)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option(
    "--style",
    "-s",
    metavar="NAME|FILE",
    required=True,
    help="The style: a name of `fast-style styles`, or a model file; or a mixture of styles with "
    "their shares, NAME:0.6,NAME:0.4.",
)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="Where to write: a file for one picture, a folder (made if need be) for several or for a "
    "folder, - for stdout. If left out: NAME-STYLE.EXT beside each picture, and for a folder "
    "FOLDER-STYLE beside it. A file that is there is overwritten, but never an input.",
)
@look_options
@click.option(
    "--polish",
    type=click.IntRange(min=1),
    metavar="N",
    help="Take the picture N iterations further by optimisation, which brings it nearer to the "
    "painting and takes seconds to minutes each; needs torch.",
)
@click.option(
    "--style-image",
    "style_images",
    metavar="PAINTING[:WEIGHT]",
    multiple=True,
    help="The painting to --polish towards.  [default: NAME.jpg, .png or .webp beside the model "
    "file, else the thumbnail in it]",
)
@click.option("-r", "--recursive", is_flag=True, help="Search folders with their subfolders.")
@click.option("--skip-existing", is_flag=True, help="Leave out pictures whose output is there.")
@written_options
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document to stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Tell of failures only.")
@debug_option
@click.pass_context
def stylize(
    context: click.Context,
    inputs: tuple[str, ...],
    style: str,
    output: str | None,
    size: int | None,
    strength: float,
    preserve_color: bool,
    stroke_size: float,
    polish: int | None,
    style_images: tuple[str, ...],
    recursive: bool,
    skip_existing: bool,
    format_name: str | None,
    quality: int | None,
    max_megapixels: float,
    engine: str,
    device: str,
    precision: str,
    tile: "Tile",
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Put a style on photos.

    INPUT is a picture, a folder of pictures, or - for a picture from stdin. The pictures in a
    folder are known by their suffix; hidden files are left out; with --recursive its structure is
    kept.

    \b
    fast-style stylize photo.jpg --style starry-night -o stylized.jpg
    fast-style stylize holiday --recursive --style starry-night -o stylized --skip-existing
    """  # noqa: D301 (the \b is click's)
    if "-" in (*inputs, output or ""):
        _check_streams(inputs, output, as_json)

    # Imported here, so that help and mistakes in the options come at once.
    from fast_style.cli.file_pipeline import Batch, Treatment
    from fast_style.cli.output_plan import make_plan, named_format
    from fast_style.cli.progress import Report
    from fast_style.styles.mixing import mixture_name
    from fast_style.styles.registry import find_parts

    if style_images and polish is None:
        raise click.UsageError("--style-image is what to --polish N towards: give both")
    parts = find_parts(style)
    files = [path for path, _ in parts]
    chosen = files[0] if len(files) == 1 else style
    written_format = named_format(format_name)
    plan = make_plan(
        inputs,
        output,
        style=mixture_name([path.stem for path in files]),
        format=written_format,
        recursive=recursive,
        skip_existing=skip_existing,
    )
    report = Report(quiet=quiet, debug=debugging())
    for name, sentence in plan.problems:
        report.problem(f"{name}: {sentence}")
    rows: list[dict[str, Any]] = [
        {"input": name, "error": sentence} for name, sentence in plan.problems
    ]
    rows += [{"input": job.source, "output": job.target, "skipped": True} for job in plan.skipped]
    document: dict[str, Any] = {"style": str(chosen)}
    document |= {"engine": None, "device": None, "precision": None, "images": rows}
    done = 0
    if plan.jobs:
        batch = Batch(
            _stylizer(chosen, report, engine, device, precision, max_megapixels, tile),
            Treatment(
                size,
                strength,
                preserve_color,
                written_format,
                quality,
                stroke_size,
                _polisher(polish, parts, style_images, device, report),
            ),
            workers=workers,
        )
        used = batch.stylizer.engine
        document |= {"engine": used.name, "device": used.device, "precision": used.precision}
        # Closed also when it is cut short, or its threads would go on.
        with report.showing(len(plan.jobs)), closing(batch.run(plan.jobs)) as outcomes:
            for outcome in outcomes:
                report.outcome(outcome)
                done += outcome.error is None
                if as_json:
                    rows.append(_row(outcome))
    failed = len(plan.problems) + len(plan.jobs) - done
    report.summary(done, len(plan.skipped), failed)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    if failed:
        context.exit(SOME_FAILED if done or plan.skipped else FAILED)


def _check_streams(inputs: tuple[str, ...], output: str | None, as_json: bool) -> None:
    if "-" in inputs and sys.stdin is None:
        raise click.UsageError("stdin is closed, and - stands for a picture from there")
    if output not in (None, "-"):
        return
    if as_json:
        raise click.UsageError("--json and the picture cannot both go to stdout: give -o FILE")
    if sys.stdout is None:
        raise click.UsageError("stdout is closed: say where to write the picture (-o FILE)")
    if output is None and len(inputs) == 1 and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal: say where to write the picture (-o FILE)")


def _stylizer(
    style: Path | str,
    report: "Report",
    engine: str,
    device: str,
    precision: str,
    max_megapixels: float,
    tile: "Tile",
) -> "Stylizer":
    from fast_style.engines import unused_gpu
    from fast_style.inference.stylizer import Stylizer

    stylizer = Stylizer(
        style,
        engine=engine,
        device=device,
        precision=precision,
        max_megapixels=max_megapixels,
        tile=tile,
    )
    if stylizer.mixed_by == "pictures":
        report.note(
            "these styles are not of one size and one base, so their pictures are mixed and not "
            "their networks: each picture takes the time of all"
        )
    if engine == device == "auto" and (gpu := unused_gpu()):
        report.note(gpu)
    return stylizer


def _polisher(
    iterations: int | None,
    parts: "Sequence[tuple[Path, float]]",
    style_images: tuple[str, ...],
    device: str,
    report: "Report",
) -> "Polisher | None":
    if iterations is None:
        return None
    from fast_style.errors import MissingExtraError
    from fast_style.storage.hardware import installed

    if not installed("torch"):
        raise MissingExtraError("--polish", "torch", "torch")
    from fast_style.optimization.polish import Polisher, painting_of, read_paintings

    if style_images:
        return Polisher(iterations, *read_paintings(style_images), device=device)
    paintings = []
    for path, _ in parts:
        painting, is_thumbnail = painting_of(path)
        paintings.append(painting)
        if is_thumbnail:
            report.note(
                f"{path.stem} is polished towards the thumbnail in its file, which knows no fine "
                "strokes: give the painting (--style-image)"
            )
    return Polisher(iterations, paintings, [share for _, share in parts], device=device)


def _row(outcome: "Outcome") -> dict[str, Any]:
    row: dict[str, Any] = {"input": outcome.job.source}
    if outcome.error is not None:
        return row | {"error": outcome.sentence}
    return row | {
        "output": outcome.job.target,
        "width": outcome.width,
        "height": outcome.height,
        "seconds": round(outcome.seconds, 3),
        "notes": list(outcome.notes),
    }
