"""The options of a training run, with help texts, defaults and checks; needs no torch.

`fast-style train` builds its command line from these fields.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fast_style.errors import OptionError, UsageError
from fast_style.models.card import TEXT_LIMIT, check_values
from fast_style.models.config import SIZES, NetworkConfig
from fast_style.options import (
    GRAIN_LIMIT,
    MIN_STYLE_SIZE,
    VggChoice,
    check_options,
    loss_option,
    option,
    parse_layers,
)

__all__ = ["SEMANTIC_FIELDS", "TrainingConfig", "parse_layers"]

Schedule = Literal["linear", "cosine", "constant"]
TrainingPrecision = Literal["auto", "fp32", "bf16"]
SizeName = Literal["tiny", "standard", "full"]
UpsamplingChoice = Literal["nearest", "transposed"]

DEFAULT_STEPS, DEFAULT_MINUTES = 4000, 10.0
"""Limits of a run without `--steps` and `--max-minutes`; it stops at whichever comes first.
Processors differ by a factor of five in the steps that they take in ten minutes, GPUs by more."""

DEFAULT_PREDICTOR_STEPS = 10_000
"""Steps of a run with `--predictor` without limits: two hours or more on two cores."""

GPU_BATCH = 8
"""Default batch size on a GPU. An H200 took 22 seconds for 561 such steps of `standard`, warm-up
included."""

SEMANTIC_FIELDS = (
    "style_image",
    "predictor",
    "preview_paintings",
    "size",
    "upsampling",
    "batch_size",
    "crop_size",
    "style_size",
    "grain",
    "content_weight",
    "style_weight",
    "tv_weight",
    "steady",
    "content_layers",
    "style_layers",
    "vgg",
    "learning_rate",
    "schedule",
    "seed",
    "init",
)
"""The options that decide what is learnt; a resumed run must have the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The options of a training run; each field's metadata has its help text."""

    style_image: Path = option(
        "The painting to learn. A folder of paintings trains one network for all of them, which "
        "other runs can start from (--init)."
    )
    predictor: bool = option(
        "Train a predictor, which turns any painting into a style in one pass: --style-image is a "
        "folder of some hundred paintings, whose subfolders are kinds of paintings.",
        False,
    )
    photos: Path | None = option(
        "A folder of photos (JPEG, PNG, WebP), searched with its subfolders: a few hundred are "
        "better than the 53 small ones that ship. [default: those that ship]",
        None,
    )
    name: str = option("The style's name: letters, digits, '-', '_' and '.'.")

    size: SizeName = option("Network size.", "standard")
    upsampling: UpsamplingChoice = option("How the decoder doubles the resolution.", "nearest")
    steps: int | None = option(
        f"Training steps. [default: {DEFAULT_STEPS}, or no limit with --max-minutes alone; "
        f"{DEFAULT_PREDICTOR_STEPS} with --predictor]",
        None,
        minimum=1,
    )
    max_minutes: float | None = option(
        "Stop after this many minutes of training, even before --steps. The learning rate falls to "
        f"zero at whichever comes first. [default: {DEFAULT_MINUTES:g}, or no limit with --steps "
        "alone or with --predictor]",
        None,
        above=0,
    )
    batch_size: int | None = option(
        f"Photos per step, on each device. [default: 1 on a CPU, {GPU_BATCH} on a GPU; with "
        "--predictor 4 and 16]",
        None,
        minimum=1,
    )
    crop_size: int = option("Side of the training crops, in pixels.", 192, minimum=32)
    style_size: int = option(
        "Long side to which the painting is resized, in pixels: larger gives larger strokes.",
        384,
        minimum=MIN_STYLE_SIZE,
    )
    grain: int = option(
        "Noise on the network's input, in levels (0-255): gives flat areas some texture.",
        8,
        minimum=0,
        maximum=GRAIN_LIMIT,
    )
    content_weight: float = loss_option("content_weight", 1.0)
    style_weight: float = loss_option("style_weight", 20.0)
    tv_weight: float = loss_option("tv_weight", 0.0)
    steady: float = option(
        "Weight of steadiness, for videos: a crop that has moved a little must be painted the "
        "same. 1000 is strong, 0 off. Needs 3,000 steps or more, --crop-size 256 and --batch-size "
        "4, or flat areas get a faint weave.",
        0.0,
        minimum=0,
    )
    content_layers: str = loss_option("content_layers", "relu2_2")
    style_layers: str = loss_option("style_layers", "relu1_2,relu2_2,relu3_3,relu4_3")
    vgg: VggChoice = loss_option("vgg", "bundled")
    learning_rate: float = option("Muon's learning rate at the start.", 3e-3, above=0)
    schedule: Schedule = option(
        "How the learning rate changes over the run; linear and cosine end at zero.", "linear"
    )
    precision: TrainingPrecision = option(
        "Training precision; auto is bf16 if the CPU or GPU computes it natively, else fp32.",
        "auto",
    )
    accelerator: str = option("Lightning accelerator: auto, cpu, gpu, cuda, mps.", "auto")
    devices: str = option("Lightning devices: auto, a number, or a list such as 0,1.", "auto")
    num_nodes: int = option("Machines to train on.", 1, minimum=1)
    strategy: str = option("Lightning strategy: auto, ddp, ...", "auto")
    workers: int | None = option(
        "Processes that load photos; 0 loads in the main process. [default: half the cores, at "
        "most 8]",
        None,
        minimum=0,
    )
    seed: int = option("Seed of the weights, the photos' order and the crops.", 0, minimum=0)
    init: str = option(
        "Initial weights: prediction (the style that is predicted from the painting; for networks "
        "that it does not fit, base), base (a network trained on other paintings), scratch "
        "(random), or another style's NAME or FILE, of this size or narrower. For a folder of "
        "paintings also the folder RUNS/NAME/styles of an earlier run.",
        "prediction",
    )
    resume: bool = option("Continue the run of this name from its last checkpoint.", False)
    overwrite: bool = option("Replace a model and a run of this name.", False)
    preview: Path | None = option(
        "Photo that the preview pictures show. [default: the first of the photos]", None
    )
    preview_paintings: Path | None = option(
        "With --predictor: a folder of paintings that previews show and that are not trained on. "
        "[default: every 20th painting]",
        None,
    )
    preview_every: int = option("Steps between two previews; 0 writes none.", 100, minimum=0)
    checkpoint_every: int = option("Steps between two checkpoints.", 100, minimum=1)
    runs: Path = option("Folder for checkpoints, previews and TensorBoard logs.", Path("runs"))
    models: Path = option("Folder for the finished model.", Path("saved_models"))
    compile: bool = option("Compile the networks with torch.compile (needs a C++ compiler).", False)
    title: str = option("The painting's title, for the model's card.", "")
    artist: str = option("Who painted it, for the model's card.", "")
    year: str = option("When it was painted, for the model's card.", "")
    licence: str = option("Its licence, for the model's card.", "")

    def __post_init__(self) -> None:
        """Check every value on its own."""
        check_options(self)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise OptionError(
                "name",
                f"is {self.name!r}; expected letters, digits, '-', '_' and '.', at most 100",
            )
        for name in ("title", "artist", "year", "licence"):
            try:
                check_values({name: getattr(self, name)})
            except UsageError as error:  # before the training and not after it
                problem = f"cannot be on a card ({error}); expected up to {TEXT_LIMIT} characters"
                raise OptionError(name, problem) from error
        parse_layers(self.content_layers, "content_layers")
        parse_layers(self.style_layers, "style_layers")

    @property
    def step_limit(self) -> int | None:
        """Step at which the run ends, or None if time alone ends it."""
        if self.steps is None and self.max_minutes is None:
            return DEFAULT_PREDICTOR_STEPS if self.predictor else DEFAULT_STEPS
        return self.steps

    @property
    def minute_limit(self) -> float | None:
        """Minutes after which the run ends, or None if steps alone end it."""
        if self.steps is None and self.max_minutes is None:
            return None if self.predictor else DEFAULT_MINUTES
        return self.max_minutes

    @property
    def network(self) -> NetworkConfig:
        """The network that `size` and `upsampling` name."""
        named = SIZES[self.size]
        return NetworkConfig(named.width, named.residual_blocks, self.upsampling)

    @property
    def run_folder(self) -> Path:
        """Folder of this run's checkpoints, previews and logs."""
        return self.runs / self.name

    @property
    def checkpoint_path(self) -> Path:
        """The checkpoint to resume from."""
        return self.run_folder / "checkpoints" / "last.ckpt"

    @property
    def model_path(self) -> Path:
        """File of the finished model, or predictor.

        A predictor stays in the run's folder: it is no style, and must not be listed as one.
        """
        if self.predictor:
            return self.run_folder / f"{self.name}.safetensors"
        return self.models / f"{self.name}.safetensors"

    def to_dict(self) -> dict[str, Any]:
        """Return all options as JSON values."""
        return {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }
