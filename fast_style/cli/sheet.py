"""The command `fast-style sheet`."""

import os

import click

from fast_style.cli.exit_codes import EXIT_CODES, FAILED, SOME_FAILED, debug_option, describe, say


@click.command(epilog=EXIT_CODES)
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="sheet.jpg",
    show_default=True,
    help="Where to write the sheet. A file that is there is overwritten, but never a photo.",
)
@click.option(
    "--style",
    "-s",
    "styles",
    metavar="NAME|FILE",
    multiple=True,
    help="A style to show; may be given several times.  [default: all of `fast-style styles`]",
)
@click.option(
    "--size",
    type=click.IntRange(64, 2048),
    metavar="PIXELS",
    default=384,
    show_default=True,
    help="Longest side at which photos are stylized and shown.",
)
@click.option(
    "--columns",
    type=click.IntRange(min=1),
    metavar="N",
    help="Set the styles in so many columns.  [default: what makes the sheet a little wider than "
    "high]",
)
@click.option("-q", "--quiet", is_flag=True, help="Tell of failures only.")
@debug_option
@click.pass_context
def sheet(
    context: click.Context,
    photos: tuple[str, ...],
    output: str,
    styles: tuple[str, ...],
    size: int,
    columns: int | None,
    quiet: bool,
) -> None:
    """Show all styles on photos, on one sheet.

    One row a style: its painting, then each photo in that style. A photo or style that cannot be
    used is named, and the sheet shows the others.

    \b
    fast-style sheet photo.jpg
    fast-style sheet a.jpg b.jpg c.jpg --style starry-night --style great-wave -o sheet.png
    """  # noqa: D301 (the \b is click's)
    for photo in photos:
        if os.path.exists(output) and os.path.exists(photo) and os.path.samefile(output, photo):
            raise click.UsageError(f"{photo} would be overwritten by the sheet: choose another -o")

    # Imported here, so that help and mistakes in the options come at once.
    from fast_style.errors import FastStyleError, ImageWriteError, UsageError
    from fast_style.images import format_from_suffix, read_image, write_image
    from fast_style.inference.contact_sheet import contact_sheet

    try:
        format_from_suffix(output)
    except ImageWriteError as error:  # now, and not when all is computed
        raise UsageError(str(error)) from None
    problems: list[FastStyleError] = []

    def tell(error: FastStyleError) -> None:
        problems.append(error)
        say(describe(error))

    def progress(name: str, number: int, total: int) -> None:
        if not quiet:
            click.echo(f"{name} ({number} of {total})", err=True)

    try:
        image = contact_sheet(
            photos,
            styles or None,
            size=size,
            columns=columns,
            on_problem=tell,
            on_style=progress,
        )
    except UsageError:
        if problems:  # all were told of already
            context.exit(FAILED)
        raise
    for note in write_image(read_image(image), output):
        say(note)
    if not quiet:
        click.echo(f"-> {output} ({image.width}x{image.height})", err=True)
    if problems:
        context.exit(SOME_FAILED)
