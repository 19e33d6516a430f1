"""`fast-style optimize`: any painting on one photo, without training."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fast_style.cli.exit_codes import (
    EXIT_CODES,
    INTERRUPTED,
    TERMINATED,
    Terminated,
    debug_option,
    one_line,
    say,
)
from fast_style.cli.options import options_from
from fast_style.errors import MissingExtraError, UsageError
from fast_style.optimization.config import OptimizeConfig, parse_painting
from fast_style.storage.hardware import installed

if TYPE_CHECKING:
    from fast_style.cli.output_plan import Job
    from fast_style.images import Photo
    from fast_style.optimization.optimizer_loop import Optimization, OptimizeStep
    from fast_style.optimization.outputs import StepWriter
    from fast_style.training.progress_bar import ProgressDisplay

FORMATS = ("jpeg", "jpg", "png", "webp", "tiff", "tif", "bmp", "avif")
_SECONDS_BETWEEN_LINES = 10.0


@click.command("optimize", epilog=EXIT_CODES)
@click.argument("photo", metavar="PHOTO")
@click.option(
    "--style-image",
    "style_images",
    metavar="PAINTING[:WEIGHT]",
    multiple=True,
    required=True,
    help="The painting; several times for a mixture, with weights if they are to differ.",
)
@click.option(
    "--mask",
    "masks",
    metavar="PICTURE",
    multiple=True,
    help="Where a painting goes: a picture of the photo's size, white there and black elsewhere; "
    "one for each --style-image, in the same order.",
)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="Where to write; - for stdout.  [default: NAME-PAINTING.EXT beside the photo]",
)
@options_from(OptimizeConfig)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS, case_sensitive=False),
    metavar="FORMAT",
    help=f"Format to write: {', '.join(FORMATS)}.  [default: told by the output's name]",
)
@click.option(
    "--quality", type=click.IntRange(1, 100), metavar="1..100", help="Of JPEG, WebP and AVIF."
)
@click.option(
    "--keep-every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep the picture of every N iterations.",
)
@click.option(
    "--keep-in",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where: a folder, an archive (.zip) or an animation (.gif, .webp).  [default: the folder "
    "OUT-steps]",
)
@click.option(
    "--curve",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the options and the losses of every iteration as JSON.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Plot the losses (.png, .svg, .pdf, .jpg); needs matplotlib.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@debug_option
@click.pass_context
def optimize(
    context: click.Context,
    /,
    photo: str,
    style_images: tuple[str, ...],
    masks: tuple[str, ...],
    output: str | None,
    format_name: str | None,
    quality: int | None,
    keep_every: int | None,
    keep_in: Path | None,
    curve: Path | None,
    plot: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Put any painting on one photo, by optimising its pixels (Gatys et al. 2015): minutes.

    Goes from a small size to the full one. Ctrl-C and SIGTERM write the best picture so far.

    \b
    fast-style optimize photo.jpg --style-image painting.jpg -o out.jpg
    fast-style optimize photo.jpg --style-image a.jpg:0.7 --style-image b.jpg:0.3 --size 1024
    fast-style optimize photo.jpg --style-image painting.jpg --init starry-night --iterations 40
    """  # noqa: D301 (the \b is click's)
    config = OptimizeConfig(**options)
    if keep_in is not None and keep_every is None:
        raise click.UsageError("--keep-in says where, and --keep-every N how often: give both")
    if not installed("torch"):
        raise MissingExtraError("fast-style optimize", "torch", "torch")
    paintings = [parse_painting(text) for text in style_images]
    from fast_style.cli.output_plan import STANDARD, named_format

    written_format = named_format(format_name)
    job = _job(photo, output, [path for path, _ in paintings], masks, written_format)
    if as_json and job.target == STANDARD:
        raise click.UsageError("--json and the picture cannot both go to stdout: give -o FILE")

    # Imported here, so that help and mistakes in the options come at once.
    from fast_style.images import format_from_suffix, suffix_for
    from fast_style.optimization.api import make_optimization
    from fast_style.optimization.outputs import check_plot, plot_curve, write_curve

    if plot is not None:
        check_plot(plot)
    run = make_optimization(
        sys.stdin.buffer if photo == STANDARD else photo,
        [path for path, _ in paintings],
        weights=[weight for _, weight in paintings],
        masks=masks,
        config=config,
    )
    kind = written_format or format_from_suffix(
        job.target if job.target != STANDARD else f"x{suffix_for(run.best().format)}"
    )
    writer = _writer(keep_every, keep_in, job, kind, quality)
    stopped = _descend(run, writer, quiet)
    best = run.best()
    notes = _write(best, job, kind, quality)
    losses = run.measure()
    if writer is not None:
        writer.finish()
    document = run.to_dict() | {
        "input": photo,
        "paintings": [{"path": path, "weight": weight} for path, weight in paintings],
        "masks": list(masks),
        "output": job.target,
        "width": best.width,
        "height": best.height,
        "stopped": stopped,
        "losses": losses.to_dict(),
    }
    if curve is not None:
        write_curve(curve, document)
    if plot is not None and run.history:
        plot_curve(plot, run.history)
    if as_json:
        click.echo(json.dumps({k: v for k, v in document.items() if k != "steps"}, indent=2))
    if not quiet:
        for note in notes:
            say(f"note: {note}")
        click.echo(
            f"{one_line(photo)} -> {one_line(job.target)} ({best.width}x{best.height}, "
            f"{len(run.history)} iterations, {run.seconds:.1f} s, loss {losses.total:.5g})",
            err=True,
        )
    if stopped:
        say(f"{stopped}; the best picture so far is written")
        context.exit(INTERRUPTED if stopped == "interrupted" else TERMINATED)


def _job(
    photo: str, output: str | None, paintings: list[str], masks: tuple[str, ...], kind: str | None
) -> "Job":
    """Settle what is written, before any work."""
    from fast_style.cli.output_plan import make_plan

    if Path(photo).is_dir():
        raise UsageError(f"{photo} is a folder, and one picture was expected")
    names = "-".join(Path(path).stem for path in paintings)
    (job,) = make_plan([photo], output, style=names, format=kind).jobs
    for path in (*paintings, *masks):
        if Path(job.target).exists() and Path(path).exists() and Path(path).samefile(job.target):
            raise UsageError(f"{path} would be overwritten by the picture: choose another -o")
    return job


def _writer(
    every: int | None, place: Path | None, job: "Job", kind: str, quality: int | None
) -> "StepWriter | None":
    from fast_style.cli.output_plan import STANDARD
    from fast_style.optimization.outputs import StepWriter

    if every is None:
        return None
    if place is None:
        if job.target == STANDARD:
            raise click.UsageError("say where to keep the pictures (--keep-in)")
        target = Path(job.target)
        place = target.with_name(f"{target.stem}-steps")
    return StepWriter(place, every, format=kind, quality=quality)


def _descend(run: "Optimization", writer: "StepWriter | None", quiet: bool) -> str:
    """Run all steps; returns `interrupted` or `terminated` if a signal stopped them, else ""."""
    from fast_style.training.progress_bar import ProgressDisplay

    display = ProgressDisplay(quiet=quiet, seconds_between_lines=_SECONDS_BETWEEN_LINES)
    display.start()
    try:
        for step in run.steps():
            if writer is not None:
                writer.add(step)
            _show_step(display, step)
    except KeyboardInterrupt:
        return "interrupted"
    except Terminated:
        return "terminated"
    finally:
        display.stop()
    return ""


def _write(best: "Photo", job: "Job", kind: str, quality: int | None) -> tuple[str, ...]:
    from fast_style.cli.output_plan import STANDARD
    from fast_style.images import encode_image, write_image

    if job.target != STANDARD:
        Path(job.target).parent.mkdir(parents=True, exist_ok=True)
        return best.notes + write_image(best, job.target, format=kind, quality=quality)
    data, notes = encode_image(best, format=kind, quality=quality)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return best.notes + notes


def _show_step(display: "ProgressDisplay", step: "OptimizeStep") -> None:
    """Show the losses and the time left."""
    from fast_style.training.progress_bar import format_duration

    losses = step.losses
    status = (
        f"{step.width}x{step.height}  loss {losses.total:.4g}  content {losses.content:.4g}  "
        f"style {losses.style:.4g}"
    )
    if losses.tv:
        status += f"  tv {losses.tv:.4g}"
    status += f"  {format_duration(step.seconds_left)} left"
    count = f"iteration {step.iteration}/{step.iterations}"
    display.update(step.iteration, count, status, total=step.iterations)
