"""The command `fast-style models`: manage the folder of your own styles."""

from pathlib import Path

import click

from fast_style.cli.exit_codes import debug_option, print_message
from fast_style.cli.options import options_from, quiet_option
from fast_style.cli.refine import refine_file, refine_option
from fast_style.options import PredictionOptions


@click.group()
@debug_option
def models() -> None:
    """Add styles to your own folder and remove them.

    The folder is $FAST_STYLE_MODELS, or else fast-style/models in your data directory; `fast-style
    styles` lists its styles with the others.
    """


@models.command()
@click.argument("source", metavar="URL|FILE|PICTURE")
@click.option("--name", help="Name of the style.  [default: the file's name]")
@click.option("--sha256", help="Refuse the file if its SHA-256 is another one.")
@click.option(
    "--max-size",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Largest download, in megabytes.",
)
@click.option("--offline", is_flag=True, help="Make no connections ($FAST_STYLE_OFFLINE=1).")
@click.option("--overwrite", is_flag=True, help="Replace an existing style of this name.")
@options_from(PredictionOptions, "prediction_options")
@refine_option
@quiet_option
@debug_option
def add(
    source: str,
    name: str | None,
    sha256: str | None,
    max_size: int,
    offline: bool,
    overwrite: bool,
    prediction_options: PredictionOptions,
    refine: float | None,
    quiet: bool,
) -> None:
    """Copy or download a model file into your folder, and print its new path to stdout.

    A picture becomes the style that is predicted from it; --refine makes it better. The file is
    checked first. An interrupted download continues when the command is run again. A URL may end in
    #sha256=DIGITS.
    """
    from fast_style.errors import DownloadError
    from fast_style.storage.downloads import OFFLINE_VARIABLE, is_offline
    from fast_style.styles.user_folder import add_file, add_url, check_sha256, file_sha256

    if sha256 is not None:
        check_sha256(sha256)
    if refine is not None:
        from fast_style.styles.user_folder import add_model, new_style_path

        painting = Path(source)
        new_style_path(name or painting.stem, overwrite=overwrite)  # before a minute of training
        model = refine_file(painting, refine, prediction_options, quiet=quiet)
        path = add_model(model, name or painting.stem, painting=painting, overwrite=overwrite)
        digits = file_sha256(path)
    elif "://" not in source:
        path = add_file(
            Path(source),
            name=name,
            sha256=sha256,
            overwrite=overwrite,
            style_size=prediction_options.style_size,
        )
        digits = file_sha256(path)
    elif offline or is_offline():
        raise DownloadError(
            f"{source} is not downloaded: "
            f"{'--offline' if offline else OFFLINE_VARIABLE} forbids connections"
        )
    else:
        path, digits = add_url(
            source,
            name=name,
            sha256=sha256,
            overwrite=overwrite,
            limit=max_size * 1_000_000,
            note=(lambda _: None) if quiet else print_message,
        )
    if not quiet:
        print_message(f"added {path.stem}, SHA-256 {digits}")
    click.echo(str(path))


@models.command()
@click.argument("name", required=False)
@debug_option
def path(name: str | None) -> None:
    """Print the path of your folder, or of the style NAME."""
    from fast_style.styles.registry import find_style, user_folder

    click.echo(str(user_folder() if name is None else find_style(name)))


@models.command()
@click.argument("name")
@quiet_option
@debug_option
def remove(name: str, quiet: bool) -> None:
    """Delete the style NAME from your own folder."""
    from fast_style.styles.user_folder import remove_style

    path = remove_style(name)
    if not quiet:
        print_message(f"removed {path}")
