"""The command `fast-style import`."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fast_style.cli.exit_codes import debug_option, one_line, print_message
from fast_style.cli.options import quiet_option

if TYPE_CHECKING:
    from fast_style.models.model_file import StyleModel

# As in fast_style.styles.importing.layouts, which `--help` should not load; a test compares them.
LAYOUT_NAMES = ("pytorch-examples", "rrmina", "gordicaleksa")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the new style.")
@click.option(
    "--layout",
    type=click.Choice(("auto", *LAYOUT_NAMES)),
    default="auto",
    show_default=True,
    help="The project that the checkpoint comes from; auto recognizes it by its keys and shapes.",
)
@click.option(
    "--tanh",
    is_flag=True,
    help="For rrmina's variant that ends in a tanh, which has the same keys as the other one.",
)
@click.option(
    "--tanh-multiplier",
    type=float,
    help="Factor of that tanh.  [default: 150]",
)
@click.option("--title", default="", help="The painting's title, for the model's card.")
@click.option("--artist", default="", help="Who painted it, for the model's card.")
@click.option("--year", default="", help="When it was painted, for the model's card.")
@click.option("--licence", default="", help="Its licence, for the model's card.")
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    help="Folder for the model.  [default: your own, see `fast-style models path`]",
)
@click.option(
    "--float16", is_flag=True, help="Half the file size; pixels differ by up to a third of a level."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing style of this name.")
@quiet_option
@debug_option
def import_(
    file: Path,
    name: str,
    layout: str,
    tanh: bool,
    tanh_multiplier: float | None,
    title: str,
    artist: str,
    year: str,
    licence: str,
    models: Path | None,
    float16: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Import another project's checkpoint as a style, and print its path to stdout.

    Supported are checkpoints (.pth, .pt, .model, .safetensors) of pytorch/examples
    (fast_neural_style), of rrmina/fast-neural-style-pytorch and of
    gordicaleksa/pytorch-neural-style-transfer-johnson, with any width and number of residual
    blocks, and the last.ckpt of a training run. No code in them is executed: a file that contains
    more than tensors is refused.
    """
    from fast_style.models.config import size_name
    from fast_style.models.model_file import save_model
    from fast_style.styles.fingerprint import add_fingerprint
    from fast_style.styles.user_folder import new_style_path

    path = new_style_path(name, models, overwrite=overwrite)
    multiplier = _choose_multiplier(tanh, tanh_multiplier)
    model, project = _read_checkpoint(file, layout, multiplier)
    card = replace(
        model.card,
        name=name,
        title=title or model.card.title,
        artist=artist or model.card.artist,
        year=year or model.card.year,
        licence=licence or model.card.licence,
    )
    save_model(path, card, model.weights, float32=not float16)
    add_fingerprint(path)
    if not quiet:
        print_message(
            f"{one_line(file.name)} is a checkpoint of {project}: "
            f"{size_name(card.network)}; imported as {name}"
        )
    click.echo(str(path))


def _read_checkpoint(file: Path, layout: str, tanh: float) -> "tuple[StyleModel, str]":
    """Return the style in a checkpoint, and the project that wrote it."""
    from fast_style.errors import ModelFileError
    from fast_style.models.card import ModelCard, clean_values
    from fast_style.models.model_file import StyleModel
    from fast_style.styles.importing import (
        LAYOUTS,
        convert_checkpoint,
        read_state_dict,
        recognise_layout,
    )
    from fast_style.styles.registry import is_training_checkpoint, load_file
    from fast_style.styles.user_folder import file_sha256

    if layout == "auto" and is_training_checkpoint(file):
        with suppress(ModelFileError):  # another project's, which may have that suffix too
            return load_file(file), "fast-style train"
    state = read_state_dict(file)
    found = recognise_layout(state) if layout == "auto" else LAYOUTS[layout]
    network, weights = convert_checkpoint(state, found, tanh=tanh)
    imported = {"project": found.project, "file": file.name, "sha256": file_sha256(file)}
    card = ModelCard(file.stem, network, training=clean_values({"imported_from": imported}))
    return StyleModel(card, weights), found.project


def _choose_multiplier(tanh: bool, given: float | None) -> float:
    """Return the factor of the tanh; 0 without a tanh."""
    from fast_style.errors import UsageError
    from fast_style.styles.importing import TANH_MULTIPLIER

    if given is None:
        return TANH_MULTIPLIER if tanh else 0.0
    if not tanh:
        raise UsageError("--tanh-multiplier needs --tanh: give both")
    if not given > 0:
        raise UsageError(f"--tanh-multiplier is {given}; expected more than 0")
    return given
