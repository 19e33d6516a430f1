"""A training run, from its options to the finished model file."""

from collections.abc import Sequence

import pytorch_lightning as pl
import torch

from fast_style.models.config import size_name
from fast_style.models.network import StyleNetwork
from fast_style.training.callbacks import Notify
from fast_style.training.config import GPU_BATCH, TrainingConfig
from fast_style.training.data import PhotoDataModule, balancing_crops, style_tensor
from fast_style.training.initialization import check_same_run, choose_init, find_start
from fast_style.training.inputs import TrainingInputs, read_inputs
from fast_style.training.lightning_module import StyleTransferModule
from fast_style.training.model_card import save_models, training_card
from fast_style.training.predictor.inputs import PredictorInputs
from fast_style.training.predictor.trainer import train_predictor
from fast_style.training.progress import SECONDS_BETWEEN_LINES, Previews
from fast_style.training.progress_bar import ProgressDisplay
from fast_style.training.session import (
    TrainingResult,
    TrainingSession,
    choose_batch_size,
    is_first_process,
    make_folders,
    run_lock,
)

__all__ = ["TrainingResult", "train"]


def train(
    config: TrainingConfig,
    *,
    quiet: bool = False,
    callbacks: Sequence[pl.Callback] = (),
    inputs: TrainingInputs | PredictorInputs | None = None,
) -> TrainingResult:
    """Train a style, or with `config.predictor` a predictor, and write its file.

    Args:
        config: the options of the run.
        quiet: print nothing on stderr.
        callbacks: Lightning callbacks to run in addition to the trainer's own.
        inputs: the result of `read_inputs` for these options, or of `read_predictor_inputs`; None
            reads them here.

    Returns:
        The outcome. A run that Ctrl-C, SIGTERM or SIGHUP ended has saved its checkpoint.

    Raises:
        TrainingDataError: no painting, no photos, too few photos.
        NameTakenError: a model or run of this name exists, and neither resume nor overwrite is set.
        ResumeError: there is nothing to resume, or the options differ from the run's.
        TrainingError: the losses do not stay finite, the accelerator cannot be used, or another
            training uses the name at the same time.
    """
    quiet = quiet or not is_first_process()
    display = ProgressDisplay(quiet=quiet, seconds_between_lines=SECONDS_BETWEEN_LINES)

    with run_lock(config):
        if config.predictor:
            assert not isinstance(inputs, TrainingInputs)
            return train_predictor(config, display, callbacks, inputs)
        assert not isinstance(inputs, PredictorInputs)
        return _train_style(config, display, callbacks, inputs)


def _train_style(
    config: TrainingConfig,
    display: ProgressDisplay,
    callbacks: Sequence[pl.Callback],
    inputs: TrainingInputs | None,
) -> TrainingResult:
    """Train a style and write its file; see `train`."""
    # 1) Read photos and paintings; check the options against them.
    inputs = inputs or read_inputs(config)
    for note in inputs.notes:
        display.print(f"note: {note}")
    config = choose_batch_size(config, len(inputs.photos), on_cpu=1, on_gpu=GPU_BATCH)
    config = choose_init(config)
    if config.resume:
        check_same_run(config)

    # 2) Build the network with its initial weights, and the perceptual loss.
    module = _build_module(config, inputs, display.print)
    data = PhotoDataModule(config, inputs.photos, display.print)
    previews = Previews(inputs.preview, config.run_folder / "previews", config.preview_every)
    session = TrainingSession(config, previews, display, callbacks)
    crops = balancing_crops(data.photos).to(session.device)
    module.loss.to(session.device).balance_styles(crops)

    # 3) Train, from the beginning or from a checkpoint.
    session.fit(module, data)

    # 4) Write the model, unless a signal ended the run.
    if session.finished and session.trainer.is_global_zero:
        seconds = session.budget.elapsed
        card = training_card(module, data, session.trainer, seconds, session.losses())
        card["curve"] = session.curve.to_card()
        save_models(module, inputs.paintings, card)
    return session.result()


def _build_module(
    config: TrainingConfig, inputs: TrainingInputs, notify: Notify
) -> StyleTransferModule:
    """Build the network with its initial weights, and the perceptual loss."""
    torch.manual_seed(config.seed)
    network = StyleNetwork(config.network)
    start = None if config.resume else find_start(config, inputs.paintings)
    if start is None and config.init == "base" and not config.resume:
        notify(
            f"no base ships for this network ({size_name(config.network)}): starting from scratch"
        )
    make_folders(config)
    paintings = {
        name: style_tensor(pixels, config.style_size) for name, pixels in inputs.paintings.items()
    }
    module = StyleTransferModule(config, network, paintings)
    if start is not None:
        start.apply(network, module.painting_norms)
        module.started_from = start.origin
    return module
