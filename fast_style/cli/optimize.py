"""The command `fast-style optimize`."""

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
    print_message,
)
from fast_style.cli.options import json_option, options_from, quiet_option
from fast_style.errors import MissingExtraError, UsageError
from fast_style.optimization.config import OptimizeConfig, parse_painting
from fast_style.options import OutputOptions
from fast_style.storage.hardware import installed

if TYPE_CHECKING:
    from fast_style.images import Photo
    from fast_style.inference.pipeline import PictureTask
    from fast_style.optimization.optimizer_loop import Optimization, OptimizeStep
    from fast_style.optimization.outputs import StepWriter
    from fast_style.training.progress_bar import ProgressDisplay

_SECONDS_BETWEEN_LINES = 10.0


@click.command("optimize", epilog=EXIT_CODES)
@click.argument("photo", metavar="PHOTO")
@click.option(
    "--style-image",
    "style_images",
    metavar="PAINTING[:WEIGHT]",
    multiple=True,
    required=True,
    help="The painting; several times for a mixture, with weights unless all count the same.",
)
@click.option(
    "--mask",
    "masks",
    metavar="PICTURE",
    multiple=True,
    help="Where a painting is applied: a picture of any size, white there and black "
    "elsewhere; one for each --style-image, in the same order.",
)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="Where to write; - for stdout.  [default: NAME-PAINTING.EXT beside the photo]",
)
@options_from(OptimizeConfig, "config")
@options_from(OutputOptions, "output_options", only=("format", "quality", "strip"))
@click.option(
    "--keep-every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Also write the picture after every N iterations.",
)
@click.option(
    "--keep-in",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where to write these pictures: a folder, an archive (.zip) or an animation (.gif, "
    ".webp).  [default: the folder OUT-steps]",
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
@json_option
@quiet_option
@debug_option
@click.pass_context
def optimize(
    context: click.Context,
    /,
    photo: str,
    style_images: tuple[str, ...],
    masks: tuple[str, ...],
    output: str | None,
    config: OptimizeConfig,
    output_options: OutputOptions,
    keep_every: int | None,
    keep_in: Path | None,
    curve: Path | None,
    plot: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Apply any painting to one photo by optimising its pixels (Gatys et al. 2015), in minutes.

    Works from a small size up to the full one. Ctrl-C and SIGTERM write the best picture so far.

    \b
    fast-style optimize photo.jpg --style-image painting.jpg -o out.jpg
    fast-style optimize photo.jpg --style-image a.jpg:0.7 --style-image b.jpg:0.3 --size 1024
    fast-style optimize photo.jpg --style-image painting.jpg --init starry-night --iterations 40
    """  # noqa: D301 (the \b is click's)
    _check_request(keep_every, keep_in)
    paintings = [parse_painting(text) for text in style_images]
    task = _plan_output(photo, output, [path for path, _ in paintings], masks, output_options)
    _check_stdout(task, as_json)
    # Imported here, so that help and errors in the options come at once.
    from fast_style.cli.file_pipeline import output_format
    from fast_style.inference.pipeline import pillow_format
    from fast_style.optimization.api import make_optimization
    from fast_style.optimization.outputs import check_plot

    if plot is not None:
        check_plot(plot)
    run = make_optimization(
        sys.stdin.buffer if photo == "-" else photo,
        [path for path, _ in paintings],
        weights=[weight for _, weight in paintings],
        masks=masks,
        config=config,
    )
    run.strip_metadata(output_options.strip)
    format = pillow_format(output_options.format) or output_format(task.target, run.best())
    writer = _make_step_writer(keep_every, keep_in, task, format, output_options.quality)
    stopped = _run_steps(run, writer, quiet)
    notes = _write(run.best(), task, format, output_options.quality)
    document = _describe_run(run, task, paintings, masks, stopped)
    if writer is not None:
        writer.finish()
    _write_curves(run, document, curve, plot)
    if as_json:
        click.echo(json.dumps({k: v for k, v in document.items() if k != "steps"}, indent=2))
    if not quiet:
        _print_summary(document, len(run.history), run.seconds, notes)
    _exit_if_stopped(context, stopped)


def _check_request(keep_every: int | None, keep_in: Path | None) -> None:
    if keep_in is not None and keep_every is None:
        raise click.UsageError("--keep-in needs --keep-every N: give both")
    if not installed("torch"):
        raise MissingExtraError("fast-style optimize", "torch", "torch")


def _exit_if_stopped(context: click.Context, stopped: str) -> None:
    if stopped:
        print_message(f"{stopped}; the best picture so far is written")
        context.exit(INTERRUPTED if stopped == "interrupted" else TERMINATED)


def _plan_output(
    photo: str,
    output: str | None,
    paintings: list[str],
    masks: tuple[str, ...],
    output_options: OutputOptions,
) -> "PictureTask":
    """Decide where the picture is written, before any work."""
    from fast_style.cli.output_plan import make_plan
    from fast_style.inference.pipeline import pillow_format

    if Path(photo).is_dir():
        raise UsageError(f"{photo} is a folder, and one picture was expected")
    names = "-".join(Path(path).stem for path in paintings)
    format = pillow_format(output_options.format)
    (task,) = make_plan([photo], output, names, format).tasks
    for path in (*paintings, *masks):
        if Path(task.target).exists() and Path(path).exists() and Path(path).samefile(task.target):
            raise UsageError(f"{path} would be overwritten by the picture: choose another -o")
    return task


def _check_stdout(task: "PictureTask", as_json: bool) -> None:
    if as_json and task.target == "-":
        raise click.UsageError("--json and the picture cannot both go to stdout: give -o FILE")


def _make_step_writer(
    every: int | None, path: Path | None, task: "PictureTask", format: str, quality: int | None
) -> "StepWriter | None":
    from fast_style.optimization.outputs import StepWriter

    if every is None:
        return None
    if path is None:
        if task.target == "-":
            raise click.UsageError("give a folder or file for the steps (--keep-in)")
        target = Path(task.target)
        path = target.with_name(f"{target.stem}-steps")
    return StepWriter(path, every, format=format, quality=quality)


def _describe_run(
    run: "Optimization",
    task: "PictureTask",
    paintings: list[tuple[str, float]],
    masks: tuple[str, ...],
    stopped: str,
) -> dict[str, Any]:
    """Return the document for `--json` and `--curve`."""
    best = run.best()
    return run.to_dict() | {
        "input": task.source,
        "paintings": [{"path": path, "weight": weight} for path, weight in paintings],
        "masks": list(masks),
        "output": task.target,
        "width": best.width,
        "height": best.height,
        "stopped": stopped,
        "losses": run.measure().to_dict(),
    }


def _write_curves(
    run: "Optimization", document: dict[str, Any], curve: Path | None, plot: Path | None
) -> None:
    from fast_style.optimization.outputs import plot_curve, write_curve

    if curve is not None:
        write_curve(curve, document)
    if plot is not None and run.history:
        plot_curve(plot, run.history)


def _print_summary(
    document: dict[str, Any], iterations: int, seconds: float, notes: tuple[str, ...]
) -> None:
    for note in notes:
        print_message(f"note: {note}")
    click.echo(
        f"{one_line(document['input'])} -> {one_line(document['output'])} "
        f"({document['width']}x{document['height']}, {iterations} iterations, {seconds:.1f} s, "
        f"loss {document['losses']['total']:.5g})",
        err=True,
    )


def _run_steps(run: "Optimization", writer: "StepWriter | None", quiet: bool) -> str:
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


def _write(best: "Photo", task: "PictureTask", format: str, quality: int | None) -> tuple[str, ...]:
    from fast_style.images import encode_image, write_image

    if task.target != "-":
        Path(task.target).parent.mkdir(parents=True, exist_ok=True)
        return best.notes + write_image(best, task.target, format=format, quality=quality)
    data, notes = encode_image(best, format=format, quality=quality)
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
