"""`fast-style train`: learn a painting."""

import dataclasses
import importlib.util
import json
from typing import Any

import click

from fast_style.cli.exit_codes import EXIT_CODES, debug_option
from fast_style.cli.options import options_from
from fast_style.errors import MissingExtraError
from fast_style.training.config import TrainingConfig


@click.command("train", epilog=EXIT_CODES)
@options_from(TrainingConfig)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@debug_option
@click.pass_context
def train(context: click.Context, /, as_json: bool, quiet: bool, **options: Any) -> None:
    """Train a style model from one painting and a folder of photos.

    Shows each loss and the time left, writes preview pictures to RUNS/NAME/previews and TensorBoard
    logs to RUNS/NAME/tensorboard, and leaves the model in MODELS/NAME.safetensors. Ctrl-C and
    SIGTERM save a checkpoint; the same command with --resume goes on from it.

    \b
    fast-style train --style-image painting.jpg --photos photos/ --name my-style
    fast-style stylize photo.jpg --style my-style -o stylized.jpg
    """  # noqa: D301 (the \b is click's)
    config = TrainingConfig(**options)
    for module, package in (("torch", "torch"), ("pytorch_lightning", "pytorch-lightning")):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError("training", package, "train")
    # What is wrong with the files is told at once; importing torch and Lightning takes seconds.
    from fast_style.training.inputs import read_inputs

    inputs = read_inputs(config)
    from fast_style.training.trainer import train as run

    result = run(config, quiet=quiet, inputs=inputs)
    if as_json:
        document = dataclasses.asdict(result)
        click.echo(json.dumps({k: _plain(v) for k, v in document.items()}, indent=2))
    if result.signal is not None:
        if not quiet:
            click.echo(
                f"stopped at step {result.steps}; go on with the same command and --resume",
                err=True,
            )
        context.exit(128 + result.signal)
    if not quiet:
        click.echo(
            f"{result.model_path} is ready after {result.steps} steps and "
            f"{result.seconds / 60:.1f} minutes: "
            f"fast-style stylize PHOTO --style {_style_argument(config)} -o OUTPUT",
            err=True,
        )


def _style_argument(config: TrainingConfig) -> str:
    # A name is found in ./saved_models; elsewhere the file is what works from anywhere.
    default = TrainingConfig.__dataclass_fields__["models"].default
    return config.name if config.models == default else str(config.model_path)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | dict) else str(value)
