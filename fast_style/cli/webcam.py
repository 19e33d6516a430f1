"""The command `fast-style webcam`."""

from typing import TYPE_CHECKING

import click

from fast_style.cli.exit_codes import EXIT_CODES, debug_option, print_message
from fast_style.cli.options import StyleCommand, options_from, quiet_option
from fast_style.cli.video import require_extra
from fast_style.options import MASK_OPTIONS, EngineOptions, StyleOptions, VideoOptions

if TYPE_CHECKING:
    from fast_style.inference.stylizer import Stylizer
    from fast_style.video.camera import Screen


@click.command(cls=StyleCommand, epilog=EXIT_CODES)
@click.option(
    "--style",
    "-s",
    "styles",
    metavar="NAME|FILE",
    required=True,
    multiple=True,
    help="The style; given several times, keys switch among them.  [default after the first: all "
    "styles of `fast-style styles`]",
)
@click.option(
    "--camera",
    metavar="N|FILE",
    default="0",
    show_default=True,
    help="Number of the camera, or a video file that stands in for one.",
)
@options_from(StyleOptions, "style_options", without=MASK_OPTIONS, defaults={"size": 480})
@options_from(VideoOptions, "video_options", only=("steady",))
@click.option("--mirror", is_flag=True, help="Swap left and right, as a mirror does.")
@click.option("--virtual", is_flag=True, help="Send the frames to a virtual camera (pyvirtualcam).")
@click.option("--record", metavar="OUT", help="Write the frames to a video file.")
@click.option("--no-window", is_flag=True, help="Open no window.")
@options_from(EngineOptions, "engine_options", only=("engine", "device", "precision"))
@quiet_option
@debug_option
def webcam(
    styles: tuple[str, ...],
    camera: str,
    style_options: StyleOptions,
    video_options: VideoOptions,
    mirror: bool,
    virtual: bool,
    record: str | None,
    no_window: bool,
    engine_options: EngineOptions,
    quiet: bool,
) -> None:
    """Apply a style to a camera, live.

    In the window, n or space shows the next style, p the previous one, and q or Esc quits.

    \b
    fast-style webcam --style starry-night-tiny
    fast-style webcam --style udnie --camera 1 --size 640 --record me.mkv
    """  # noqa: D301 (the \b is click's)
    if no_window and not (virtual or record):
        raise click.UsageError("--no-window needs a place for the frames: --record OUT, --virtual")
    from fast_style.storage.hardware import installed

    require_extra("fast-style webcam", installed)
    from fast_style.inference.stylizer import Stylizer
    from fast_style.styles.registry import find_style, list_styles
    from fast_style.video.camera import file_frames, live_frames, run_camera
    from fast_style.video.encoding import container_of

    if record is not None:
        container_of(record)
    for style in styles:
        find_style(style)  # a mistake is reported before the camera's light is on
    names = list(styles)
    if len(names) == 1:
        names += [entry.name for entry in list_styles() if entry.name not in names]

    def load(name: str) -> "Stylizer":
        return Stylizer.from_options(name, engine_options)

    shown = run_camera(
        live_frames(int(camera)) if camera.isdecimal() else file_frames(camera),
        names,
        load,
        _open_screens(virtual, record, no_window),
        options=style_options,
        steady=video_options.steady,
        mirror=mirror,
    )
    if not quiet:
        print_message(f"{shown} frames shown")


def _open_screens(virtual: bool, record: str | None, no_window: bool) -> "list[Screen]":
    from fast_style.video.camera import Recorder, VirtualCamera, Window

    screens: list[Screen] = []
    if not no_window:
        screens.append(Window())
    if virtual:
        screens.append(VirtualCamera())
    if record is not None:
        screens.append(Recorder(record))
    return screens
