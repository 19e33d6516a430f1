"""The command `fast-style video`."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import click

from fast_style.cli.exit_codes import EXIT_CODES, SOME_FAILED, debug_option, one_line, print_message
from fast_style.cli.options import (
    StyleCommand,
    colors_of_option,
    json_option,
    options_from,
    quiet_option,
    standard_output,
    styles_option,
)
from fast_style.options import EngineOptions, PredictionOptions, StyleOptions, VideoOptions

if TYPE_CHECKING:
    from pathlib import Path

    from fast_style.inference.stylizer import Stylizer
    from fast_style.video.api import VideoResult


class _Time(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since 8.5
    """A time in a video: seconds, or hours, minutes and seconds."""

    name = "[[H:]MM:]SS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, float):
            return value
        if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?", value):
            self.fail(f"{value!r} is not a time such as 12.5 or 1:02:03", param, ctx)
        seconds = 0.0
        for part in value.split(":"):
            seconds = seconds * 60 + float(part)
        return seconds


class _Rate(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since 8.5
    """Frames per second: a number, or a fraction such as 30000/1001."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            rate = Fraction(value).limit_denominator(100_000)
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if rate <= 0:
            self.fail(f"{value!r} is not a number of frames per second", param, ctx)
        return rate


@click.command(cls=StyleCommand, epilog=EXIT_CODES)
@click.argument("source", metavar="INPUT")
@styles_option
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    help="Where to write: a file with the suffix of its format (.mp4 .mov .mkv .webm .gif .webp "
    ".apng), numbered pictures (frames/%06d.png), or - for yuv4mpeg to stdout. An existing file is "
    "overwritten unless it is the input.",
)
@colors_of_option
@options_from(StyleOptions, "style_options")
@click.option(
    "--mask",
    "-m",
    "masks",
    metavar="MASK",
    multiple=True,
    help="Where the style is applied, in all frames alike: a picture, white where it is and black "
    "where the video stays. Repeated for several styles, in their order; without the last mask, "
    "the last style has the rest.",
)
@options_from(PredictionOptions, "prediction_options")
@options_from(VideoOptions, "video_options")
@click.option("--from", "start", type=_Time(), help="Time of the first frame.")
@click.option("--to", "end", type=_Time(), help="Time before which the last frame is shown.")
@click.option("--fps", "rate", type=_Rate(), help="Frame rate of numbered pictures.  [default: 25]")
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@options_from(EngineOptions, "engine_options", only=("engine", "device", "precision"))
@json_option
@quiet_option
@debug_option
@click.pass_context
def video(
    context: click.Context,
    /,
    source: str,
    styles: tuple[str, ...],
    masks: tuple[str, ...],
    output: str,
    style_options: StyleOptions,
    prediction_options: PredictionOptions,
    video_options: VideoOptions,
    engine_options: EngineOptions,
    as_json: bool,
    quiet: bool,
    **more: Any,
) -> None:
    """Apply a style to a video, held still from frame to frame.

    INPUT is a video, an animated GIF, WebP or PNG, numbered pictures such as frames/%06d.png, or -
    for a video from stdin. Every frame keeps its time; sound, subtitles and chapters are kept.

    \b
    fast-style video holiday.mp4 --style starry-night -o stylized.mp4
    fast-style video holiday.mp4 --style udnie --size 640 --from 1:30 --to 1:40 -o udnie.webm
    """  # noqa: D301 (the \b is click's)
    output = standard_output(output) or output
    if output == "-":
        _check_stdout(as_json)

    # Imported here, so that help and errors in the options come at once.
    from fast_style.inference.guides import check_mask_count
    from fast_style.storage.hardware import installed

    require_extra("fast-style video", installed)
    from fast_style.video.api import stylize_video

    check_mask_count(len(masks), len(styles))
    stylizer, chosen = _load_stylizer(styles, prediction_options.style_size, engine_options)
    begin = time.perf_counter()
    with _progress_bar(quiet) as progress:
        result = stylize_video(
            source,
            output,
            stylizer,
            options=style_options,
            video_options=video_options,
            mask=masks,
            progress=progress,
            **more,  # colors_of, start, end, rate, resume
        )
    seconds = time.perf_counter() - begin
    if not quiet:
        _print_summary(source, result, seconds)
    if result.damage is not None:
        print_message(f"{source}: {result.damage}: what could be read of it is written")
    if as_json:
        row = {**_row(source, result), "seconds": round(seconds, 3)}
        document = {"style": " + ".join(map(str, chosen)), **_engine_of(stylizer), "video": row}
        click.echo(json.dumps(document, indent=2))
    if result.damage is not None:
        context.exit(SOME_FAILED)


def _load_stylizer(
    styles: tuple[str, ...], size: int | None, options: EngineOptions
) -> "tuple[Stylizer, list[Path | str]]":
    """Load the styles.

    Args:
        styles: as the user named them.
        size: the style size, for styles that are pictures.
        options: what runs the network.

    Returns:
        The stylizer, and for each style its file, or the mixture's text.
    """
    from fast_style.inference.stylizer import Stylizer
    from fast_style.styles.registry import check_style_size, find_parts, load_parts

    several = [find_parts(style) for style in styles]
    chosen = [
        one[0][0] if len(one) == 1 else style for style, one in zip(styles, several, strict=True)
    ]
    check_style_size(size, [path for one in several for path, _ in one])
    models = [load_parts(style, style_size=size) for style in chosen]
    return Stylizer.from_options(models, options), chosen


def _check_stdout(as_json: bool) -> None:
    if as_json:
        raise click.UsageError("--json and the video cannot both go to stdout: give -o FILE")
    if sys.stdout is None or sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal or closed: pipe it, or give -o FILE")


def _print_summary(source: str, result: "VideoResult", seconds: float) -> None:
    for note in result.notes:
        print_message(f"note: {source}: {note}")
    click.echo(
        f"{one_line(source)} -> {one_line(result.output)} ({result.width}x{result.height}, "
        f"{result.frames} frames, {seconds:.1f} s)",
        err=True,
    )


def require_extra(feature: str, installed: Callable[[str], bool]) -> None:
    """Check that PyAV and OpenCV are installed.

    Raises:
        MissingExtraError: one of them is not.
    """
    from fast_style.errors import MissingExtraError

    for module, package in (("av", "av"), ("cv2", "opencv-python-headless")):
        if not installed(module):
            raise MissingExtraError(feature, package, "video")


def _engine_of(stylizer: Any) -> dict[str, str]:
    used = stylizer.engine
    return {"engine": used.name, "device": used.device, "precision": used.precision}


def _row(source: str, result: "VideoResult") -> dict[str, Any]:
    return {
        "input": source,
        "output": result.output,
        "width": result.width,
        "height": result.height,
        "frames": result.frames,
        "notes": list(result.notes),
        "damage": result.damage,
    }


@contextmanager
def _progress_bar(quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar with frames per second and the time left, where there is a terminal."""
    from fast_style.training.progress_bar import ProgressDisplay

    display = ProgressDisplay(quiet=quiet)
    display.start(unit="frames")

    def update(done: int, total: int | None) -> None:
        if display.has_bar:
            count = f"{done}/{total}" if total else str(done)
            display.update(done, count, total=None if total is None else max(total, done))

    try:
        yield update
    finally:
        display.stop()
