"""The command `fast-style sheet`."""

import os

import click

from fast_style.cli.exit_codes import EXIT_CODES, FAILED, SOME_FAILED, debug_option, print_message
from fast_style.cli.options import StyleCommand, options_from, quiet_option
from fast_style.errors import FastStyleError, ImageWriteError, UsageError, describe
from fast_style.options import MASK_OPTIONS, SheetOptions, StyleOptions


@click.command(cls=StyleCommand, epilog=EXIT_CODES)
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="sheet.jpg",
    show_default=True,
    help="Where to write the sheet. An existing file is overwritten unless it is a photo.",
)
@click.option(
    "--style",
    "-s",
    "styles",
    metavar="NAME|FILE",
    multiple=True,
    help="A style to show; may be given several times.  [default: all of `fast-style styles`]",
)
@options_from(SheetOptions, "options")
@options_from(StyleOptions, "style_options", without=("size", *MASK_OPTIONS))
@quiet_option
@debug_option
@click.pass_context
def sheet(
    context: click.Context,
    photos: tuple[str, ...],
    output: str,
    styles: tuple[str, ...],
    options: SheetOptions,
    style_options: StyleOptions,
    quiet: bool,
) -> None:
    """Show all styles on photos, on one sheet.

    Each style has a row: its painting, then each photo in that style. A photo or style that cannot
    be used is named on stderr, and the sheet shows the others.

    \b
    fast-style sheet photo.jpg
    fast-style sheet a.jpg b.jpg c.jpg --style starry-night --style great-wave -o sheet.png
    """  # noqa: D301 (the \b is click's)
    for photo in photos:
        if os.path.exists(output) and os.path.exists(photo) and os.path.samefile(output, photo):
            raise click.UsageError(f"{photo} would be overwritten by the sheet: choose another -o")

    # Imported here, so that help and errors in the options come at once.
    from fast_style.images import format_from_suffix, read_image, write_image
    from fast_style.inference.contact_sheet import contact_sheet

    try:
        format_from_suffix(output)
    except ImageWriteError as error:  # now, before anything is computed
        raise UsageError(str(error)) from None
    errors: list[FastStyleError] = []

    def on_error(error: FastStyleError) -> None:
        errors.append(error)
        print_message(describe(error))

    def on_style(name: str, number: int, total: int) -> None:
        if not quiet:
            click.echo(f"{name} ({number} of {total})", err=True)

    try:
        image = contact_sheet(
            photos,
            styles or None,
            size=options.size,
            columns=options.columns,
            options=style_options,
            on_problem=on_error,
            on_style=on_style,
        )
    except UsageError:
        if errors:  # printed already
            context.exit(FAILED)
        raise
    for note in write_image(read_image(image), output):
        print_message(note)
    if not quiet:
        click.echo(f"-> {output} ({image.width}x{image.height})", err=True)
    if errors:
        context.exit(SOME_FAILED)
