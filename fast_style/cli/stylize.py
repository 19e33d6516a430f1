"""The command `fast-style stylize`."""

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fast_style.cli.exits import (
    EXIT_CODES,
    FAILED,
    SOME_FAILED,
    debug_option,
    debugging,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fast_style.cli.batch import Outcome
    from fast_style.cli.report import Report
    from fast_style.gatys.polish import Polisher
    from fast_style.stylizer import Stylizer, Tile

ENGINES = ("auto", "openvino", "torch", "onnxruntime")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
MOST_WORKERS = 64  # more threads than that read and write no faster
FORMATS = ("jpeg", "jpg", "png", "webp", "tiff", "tif", "bmp", "avif")


class _Range(click.FloatRange):
    """A range that NaN is not in; for click, a number that is not below is within."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if number != number:
            self.fail("nan is not a number", param, ctx)
        return number


class _Tile(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since 8.5
    """`auto`, `off`, or a side in pixels."""

    name = "auto|off|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in ("auto", "off"):
            return value
        if str(value).isdecimal():
            return int(value)  # `Stylizer` knows how small it may be
        self.fail(f"{value!r} is not auto, off or a whole number", param, ctx)


@click.command(
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
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
@click.option(
    "--size",
    metavar="PIXELS",
    type=click.IntRange(min=1),
    help="Longest long side to work at and to write: larger pictures are made smaller first, "
    "smaller ones are left as they are.  [default: the picture's own size]",
)
@click.option(
    "--strength",
    type=_Range(0, 1),
    metavar="0..1",
    default=1.0,
    show_default=True,
    help="How much style: 0 is the photo, 1 the full style.",
)
@click.option("--preserve-color", is_flag=True, help="Keep the photo's colours.")
@click.option(
    "--stroke-size",
    type=_Range(0.25, 16),
    metavar="0.25..16",
    default=1.0,
    show_default=True,
    help="How large the strokes are, 1 being what the style has learnt: 2 or 4 suit a photo of 12 "
    "megapixels, where they are a fine texture otherwise; the edges stay those of the photo. Above "
    "1 is quicker, below 1 is finer and slower.",
)
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
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS, case_sensitive=False),
    metavar="FORMAT",
    help=f"Format to write: {', '.join(FORMATS)}.  [default: told by the output's name, or else "
    "that of the input; PNG where that cannot be written]",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    metavar="1..100",
    help="Quality of JPEG, WebP and AVIF.  [default: 95, 90, 85]",
)
@click.option(
    "--max-megapixels",
    type=_Range(min=0, min_open=True),
    metavar="N",
    default=250.0,
    show_default=True,
    help="Refuse pictures that claim to be larger.",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="What runs the network; auto takes the fastest that is installed.",
)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    help="Where it runs; auto takes a GPU that can be used.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="auto takes bf16 where the processor has it.",
)
@click.option(
    "--tile",
    type=_Tile(),
    default="auto",
    show_default=True,
    help="On a CPU, take large pictures in strips, which bounds the memory and gives the same "
    "picture: auto where the memory asks for it, off never, N always, about N*N pixels each.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, MOST_WORKERS),
    metavar="N",
    help="Threads that read the next pictures and write the finished ones while the network works; "
    "0 does one after the other.  [default: half the cores, at most 8; on a GPU, the cores, at "
    "most 16]",
)
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
    from fast_style.blending import mixture_name
    from fast_style.catalogue import find_parts
    from fast_style.cli.batch import Batch, Treatment
    from fast_style.cli.plan import make_plan, named_format
    from fast_style.cli.report import Report

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
    from fast_style.stylizer import Stylizer

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
    from fast_style.engines.machine import installed
    from fast_style.errors import MissingExtraError

    if not installed("torch"):
        raise MissingExtraError("--polish", "torch", "torch")
    from fast_style.gatys.polish import Polisher, painting_of, read_paintings

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
