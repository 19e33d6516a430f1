"""The command `fast-style train`."""

import dataclasses
import importlib.util
import json
from contextlib import suppress
from typing import Any

import click

from fast_style.cli.exit_codes import EXIT_CODES, debug_option
from fast_style.cli.options import json_option, options_from, quiet_option
from fast_style.errors import MissingExtraError
from fast_style.training.config import TrainingConfig


@click.command("train", epilog=EXIT_CODES)
@options_from(TrainingConfig, "config")
@json_option
@quiet_option
@debug_option
@click.pass_context
def train(context: click.Context, config: TrainingConfig, as_json: bool, quiet: bool) -> None:
    """Train a style model from a painting, with photos of your own or those that ship.

    Shows each loss and the time left, writes preview pictures to RUNS/NAME/previews and TensorBoard
    logs to RUNS/NAME/tensorboard, and the model to MODELS/NAME.safetensors. Ctrl-C, SIGTERM and
    SIGHUP save a checkpoint; the same command with --resume continues from it. With --predictor it
    trains what predicts styles from a folder of paintings, and writes RUNS/NAME/NAME.safetensors.

    \b
    fast-style train --style-image painting.jpg --photos photos/ --name my-style
    fast-style stylize photo.jpg --style my-style -o stylized.jpg
    """  # noqa: D301 (the \b is click's)
    for module, package in (("torch", "torch"), ("pytorch_lightning", "pytorch-lightning")):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError("training", package, "train")
    # Read first, so that errors in the files come at once: importing torch takes seconds.
    from fast_style.training.inputs import TrainingInputs, read_inputs
    from fast_style.training.predictor.inputs import PredictorInputs, read_predictor_inputs

    inputs: TrainingInputs | PredictorInputs
    inputs = read_predictor_inputs(config) if config.predictor else read_inputs(config)
    from fast_style.training.trainer import train as run

    result = run(config, quiet=quiet, inputs=inputs)
    from fast_style.training.session import is_first_process

    # Of a training on several devices, the first process prints and has the exit code; Lightning
    # kills it when another one has a code of its own.
    if not is_first_process():
        return
    if as_json:
        document = dataclasses.asdict(result)
        click.echo(json.dumps({k: _plain(v) for k, v in document.items()}, indent=2))
    if result.signal is not None:
        if not quiet:
            with suppress(OSError):  # after SIGHUP there is no terminal
                click.echo(
                    f"stopped at step {result.steps}; the same command with --resume continues",
                    err=True,
                )
        context.exit(128 + result.signal)
    if not quiet:
        click.echo(
            f"{result.model_path} is ready after {result.steps} steps and "
            f"{result.seconds / 60:.1f} minutes: {_next_command(config)}",
            err=True,
        )


def _next_command(config: TrainingConfig) -> str:
    if config.predictor:
        variable = f"FAST_STYLE_PREDICTOR={config.model_path}"
        return f"{variable} fast-style stylize PHOTO --style PAINTING -o OUTPUT"
    return f"fast-style stylize PHOTO --style {_style_argument(config)} -o OUTPUT"


def _style_argument(config: TrainingConfig) -> str:
    # Names are looked up in ./saved_models; elsewhere the path of the file is needed.
    default = TrainingConfig.__dataclass_fields__["models"].default
    return config.name if config.models == default else str(config.model_path)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | dict) else str(value)
