"""A predictor's training run, from its options to the finished file."""

from collections.abc import Sequence

import pytorch_lightning as pl

from fast_style.models.perceptual_loss import LossConfig
from fast_style.training.config import TrainingConfig
from fast_style.training.data import PhotoDataModule, balancing_crops
from fast_style.training.initialization import check_same_run
from fast_style.training.model_card import training_card
from fast_style.training.predictor.initialization import choose_predictor_init, start_predictor
from fast_style.training.predictor.inputs import PredictorInputs, read_predictor_inputs
from fast_style.training.predictor.lightning_module import PredictorModule
from fast_style.training.predictor.objective import PredictorObjective
from fast_style.training.predictor.pool import PaintingReader, StylePool
from fast_style.training.predictor.predictor_file import save_predictor
from fast_style.training.predictor.previews import UnseenPreviews
from fast_style.training.progress_bar import ProgressDisplay
from fast_style.training.session import (
    TrainingResult,
    TrainingSession,
    choose_batch_size,
    make_folders,
)

CPU_BATCH, GPU_BATCH = 4, 16
"""Default batch sizes: the paintings of a step should differ."""


def train_predictor(
    config: TrainingConfig,
    display: ProgressDisplay,
    callbacks: Sequence[pl.Callback] = (),
    inputs: PredictorInputs | None = None,
) -> TrainingResult:
    """Train a predictor and write its file.

    Args:
        config: the options, with `predictor`.
        display: shows the progress.
        callbacks: Lightning callbacks to run in addition.
        inputs: the result of `read_predictor_inputs`; None reads them here.

    Returns:
        The outcome; `model_path` is the predictor's file.

    Raises:
        FastStyleError: as `training.trainer.train`.
    """
    # 1) Find the files; check the options against them.
    inputs = inputs or read_predictor_inputs(config)
    for note in inputs.notes:
        display.print(f"note: {note}")
    config = choose_predictor_init(config)
    config = choose_batch_size(config, len(inputs.photos), CPU_BATCH, GPU_BATCH)
    if config.resume:
        check_same_run(config)
    model, origin, unfitted = start_predictor(config)
    make_folders(config)

    # 2) Prepare Lightning, then the loss and the views on its device.
    shown = inputs.preview, inputs.unseen, config.run_folder / "previews"
    previews = UnseenPreviews(*shown, config.preview_every, display.print)
    session = TrainingSession(config, previews, display, callbacks)
    objective = PredictorObjective(
        LossConfig.from_options(config.to_dict()),
        balancing_crops(inputs.photos).to(session.device),
    )
    reader = PaintingReader(inputs.paintings, round(1.5 * config.style_size))
    seed = (config.seed, session.trainer.global_rank)
    pool = StylePool(reader, inputs.weights, objective, config.style_size, seed)
    module = PredictorModule(config, model, objective, pool, fits_descriptor=unfitted)
    module.started_from = origin
    data = PhotoDataModule(config, inputs.photos, display.print)

    # 3) Train, from the beginning or from a checkpoint.
    if unfitted:
        display.print(f"describing {module.first_views} views of the paintings")
    session.fit(module, data)

    # 4) Write the predictor, unless a signal ended the run.
    if session.finished and session.trainer.is_global_zero:
        _save(config, inputs, session, previews, module, data)
    return session.result()


def _save(
    config: TrainingConfig,
    inputs: PredictorInputs,
    session: TrainingSession,
    previews: UnseenPreviews,
    module: PredictorModule,
    data: PhotoDataModule,
) -> None:
    previews.evaluate(module)
    card = training_card(module, data, session.trainer, session.budget.elapsed, session.losses())
    card |= {
        "name": config.name,
        "paintings": len(inputs.paintings),
        "paintings_held_out": len(inputs.unseen),
        "samples": card["photos_seen"],
        "unseen_share": previews.share,
    }
    save_predictor(config.model_path, module.average, config, card, session.curve.to_card())
