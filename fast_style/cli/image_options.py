"""Options about pictures that several commands have."""

from collections.abc import Callable
from typing import Any

import click

from fast_style.cli.options import Command

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


def _together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Make one decorator of several options; their order is that of `--help`."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


look_options = _together(
    click.option(
        "--size",
        metavar="PIXELS",
        type=click.IntRange(min=1),
        help="Longest long side to work at and to write: larger pictures are made smaller first, "
        "smaller ones are left as they are.  [default: the picture's own size]",
    ),
    click.option(
        "--strength",
        type=_Range(0, 1),
        metavar="0..1",
        default=1.0,
        show_default=True,
        help="How much style: 0 is the photo, 1 the full style.",
    ),
    click.option("--preserve-color", is_flag=True, help="Keep the photo's colours."),
    click.option(
        "--stroke-size",
        type=_Range(0.25, 16),
        metavar="0.25..16",
        default=1.0,
        show_default=True,
        help="How large the strokes are, 1 being what the style has learnt: 2 or 4 suit a photo "
        "of 12 megapixels, where they are a fine texture otherwise; the edges stay those of the "
        "photo. Above 1 is quicker, below 1 is finer and slower.",
    ),
)
"""What the stylized picture looks like."""

written_options = _together(
    click.option(
        "--format",
        "format_name",
        type=click.Choice(FORMATS, case_sensitive=False),
        metavar="FORMAT",
        help=f"Format to write: {', '.join(FORMATS)}.  [default: told by the output's name, or "
        "else that of the input; PNG where that cannot be written]",
    ),
    click.option(
        "--quality",
        type=click.IntRange(1, 100),
        metavar="1..100",
        help="Quality of JPEG, WebP and AVIF.  [default: 95, 90, 85]",
    ),
)
"""What kind of file is written."""

engine_options = _together(
    click.option(
        "--max-megapixels",
        type=_Range(min=0, min_open=True),
        metavar="N",
        default=250.0,
        show_default=True,
        help="Refuse pictures that claim to be larger.",
    ),
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default="auto",
        show_default=True,
        help="What runs the network; auto takes the fastest that is installed.",
    ),
    click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="auto",
        show_default=True,
        help="Where it runs; auto takes a GPU that can be used.",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="auto",
        show_default=True,
        help="auto takes bf16 where the processor has it.",
    ),
    click.option(
        "--tile",
        type=_Tile(),
        default="auto",
        show_default=True,
        help="On a CPU, take large pictures in strips, which bounds the memory and gives the same "
        "picture: auto where the memory asks for it, off never, N always, about N*N pixels each.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(0, MOST_WORKERS),
        metavar="N",
        help="Threads that read the next pictures and write the finished ones while the network "
        "works; 0 does one after the other.  [default: half the cores, at most 8; on a GPU, the "
        "cores, at most 16]",
    ),
)
"""What is read, and what runs the network."""
