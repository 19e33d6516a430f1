"""The model files that a training run writes, and their cards."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from fast_style._version import __version__
from fast_style.errors import EngineError
from fast_style.models.card import ModelCard, clean_values
from fast_style.models.model_file import save_model
from fast_style.models.network import StyleNetwork
from fast_style.models.perceptual_loss import NORMALISATION
from fast_style.styles.fingerprint import add_fingerprint
from fast_style.styles.thumbnail import make_thumbnail
from fast_style.training.conditional_norm import fold_norm_parameters
from fast_style.training.data import PhotoDataModule
from fast_style.training.lightning_module import StyleTransferModule, TrainingModule


def network_weights(network: StyleNetwork) -> dict[str, NDArray[np.float32]]:
    """Return a network's weights as float32 arrays by parameter name, for `save_model`."""
    return {
        name: value.detach().float().cpu().contiguous().numpy()
        for name, value in network.state_dict().items()
    }


def save_models(
    module: StyleTransferModule,
    paintings: Mapping[str, NDArray[np.uint8]],
    training: dict[str, Any],
) -> None:
    """Write the run's model file.

    With several paintings, the model has the mean of their scales and shifts, and each painting's
    own model goes to the folder `styles` of the run.

    Args:
        module: the trained module.
        paintings: RGB pixels, (H, W, 3) uint8, by name.
        training: the card's part about the training; see `training_card`.
    """
    config, factors = module.config, module.loss.style_factors.tolist()

    def save(path: Path, name: str, about: dict[str, Any], thumbnail: bytes) -> None:
        card = ModelCard(
            name=name,
            network=config.network,
            title=config.title,
            artist=config.artist,
            year=config.year,
            licence=config.licence,
            grain=config.grain,
            training=clean_values({**training, **about}),
            thumbnail=thumbnail,
        )
        save_model(path, card, network_weights(module.network))
        with suppress(EngineError):  # without an engine, the model is valid but has no fingerprint
            add_fingerprint(path)

    norms = module.painting_norms
    if norms is None:
        (pixels,) = paintings.values()
        about = {"style_factor": factors[0], "painting_size": list(pixels.shape[1::-1])}
        save(config.model_path, config.name, about, make_thumbnail(pixels))
        return
    for number, (name, pixels) in enumerate(paintings.items()):
        fold_norm_parameters(module.network, norms(torch.tensor([number])))
        about = {"painting": name, "style_factor": factors[number]}
        path = config.run_folder / "styles" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, name, about, make_thumbnail(pixels))
    fold_norm_parameters(module.network, norms.mean())
    about = {"paintings": dict(zip(paintings, factors, strict=True))}
    save(config.model_path, config.name, about, b"")


def training_card(
    module: TrainingModule,
    data: PhotoDataModule,
    trainer: pl.Trainer,
    seconds: float,
    losses: Mapping[str, float],
) -> dict[str, Any]:
    """Return everything that is needed to repeat a training, without paths of this machine.

    Args:
        module: the trained module.
        data: the photos.
        trainer: Lightning's trainer after the run.
        seconds: training time.
        losses: the last step's losses by name.
    """
    config = module.config
    assert config.batch_size is not None
    options = config.to_dict()
    for machine_only in (
        "photos",
        "runs",
        "models",
        "resume",
        "overwrite",
        "preview",
        "preview_paintings",
    ):
        del options[machine_only]
    for on_card in ("name", "title", "artist", "year", "licence"):
        del options[on_card]
    options["style_image"] = config.style_image.name
    options["steps"], options["max_minutes"] = config.step_limit, config.minute_limit
    if module.started_from is None:
        options["init"] = "scratch"
    else:
        options["init"] = Path(config.init).name
        options["started_from"] = module.started_from
    return {
        **options,
        "steps_taken": trainer.global_step,
        "photos": len(data.photos),
        "photos_seen": trainer.global_step * config.batch_size * trainer.world_size,
        "normalisation": NORMALISATION,
        "precision_used": "bf16" if trainer.precision == "bf16-mixed" else "fp32",
        "final_losses": dict(losses),
        "seconds": round(seconds, 1),
        "device": _device_name(trainer.strategy.root_device),
        "devices_used": trainer.world_size,
        "versions": {"fast-style": __version__, "python": platform.python_version()}
        | {name: _version(name) for name in ("torch", "pytorch-lightning")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # on Linux, platform knows only the instruction set
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    return f"{device.type}: {processor}, {torch.get_num_threads()} threads"
