"""The options of a training run, each with its meaning, default and check; needs no torch.

`fast-style train` builds its command line from these fields.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from fast_style.architecture import SIZES, NetworkConfig
from fast_style.errors import UsageError
from fast_style.grain import GRAIN_LIMIT

Schedule = Literal["linear", "cosine", "constant"]
TrainingPrecision = Literal["auto", "fp32", "bf16"]
VggChoice = Literal["bundled", "vgg16", "vgg19"]
SizeName = Literal["tiny", "standard", "full"]
UpsamplingChoice = Literal["nearest", "transposed"]

SEMANTIC_FIELDS = (
    "style_image",
    "size",
    "upsampling",
    "batch_size",
    "crop_size",
    "style_size",
    "grain",
    "content_weight",
    "style_weight",
    "tv_weight",
    "content_layers",
    "style_layers",
    "vgg",
    "learning_rate",
    "schedule",
    "seed",
    "init",
)
"""The fields that decide what is learnt; a resumed run must have them as they were."""


def _option(help_text: str, default: Any = ..., **bounds: Any) -> Any:
    metadata = {"help": help_text, **bounds}
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Everything that a training run is made of; each field's metadata says what it means."""

    style_image: Path = _option("The painting to learn.")
    photos: Path = _option("A folder of photos (JPEG, PNG, WebP), searched with its subfolders.")
    name: str = _option("The style's name: letters, digits, '-', '_' and '.'.")

    size: SizeName = _option("Network size.", "standard")
    upsampling: UpsamplingChoice = _option("How the decoder doubles the resolution.", "nearest")
    steps: int = _option("Training steps.", 5000, minimum=1)
    max_minutes: float | None = _option(
        "Stop after so many minutes of training, even before --steps; the learning rate falls "
        "with whichever comes first.",
        None,
        above=0,
    )
    batch_size: int = _option("Photos a step, on each device.", 2, minimum=1)
    crop_size: int = _option("Side of the training crops, in pixels.", 192, minimum=32)
    style_size: int = _option(
        "Long side to which the painting is resized, in pixels: larger gives finer strokes.",
        384,
        minimum=32,
    )
    grain: int = _option(
        "Noise on what the network sees, in levels: it keeps flat areas from staying flat.",
        8,
        minimum=0,
        maximum=GRAIN_LIMIT,
    )
    content_weight: float = _option("Weight of the content loss.", 1.0, minimum=0)
    style_weight: float = _option("Weight of the style loss.", 5.0, minimum=0)
    tv_weight: float = _option("Weight of the total variation.", 0.0, minimum=0)
    content_layers: str = _option(
        "VGG layers for the content loss, as LAYER[=WEIGHT],...", "relu2_2"
    )
    style_layers: str = _option(
        "VGG layers for the style loss, as LAYER[=WEIGHT],...", "relu1_2,relu2_2,relu3_3,relu4_3"
    )
    vgg: VggChoice = _option(
        "The loss network: bundled (VGG-16 to relu4_3), or torchvision's, fetched on first use.",
        "bundled",
    )
    learning_rate: float = _option("Adam's learning rate at the start.", 1e-3, above=0)
    schedule: Schedule = _option("How the learning rate falls to zero over the run.", "linear")
    precision: TrainingPrecision = _option(
        "auto takes bf16 where the processor or GPU has it natively.", "auto"
    )
    accelerator: str = _option("Lightning accelerator: auto, cpu, gpu, cuda, mps.", "auto")
    devices: str = _option("Lightning devices: auto, a number, or a list such as 0,1.", "auto")
    num_nodes: int = _option("Machines to train on.", 1, minimum=1)
    strategy: str = _option("Lightning strategy: auto, ddp, ...", "auto")
    workers: int | None = _option(
        "Processes that load photos; 0 loads in the trainer's own. [default: by the processor]",
        None,
        minimum=0,
    )
    seed: int = _option("Seed of the weights, the photos' order and the crops.", 0, minimum=0)
    init: str = _option("Start from scratch, or from another style's NAME or FILE.", "scratch")
    resume: bool = _option("Go on with the run of this name from its last checkpoint.", False)
    overwrite: bool = _option("Replace a model and a run of this name.", False)
    preview: Path | None = _option(
        "A photo to show the progress on. [default: the first of the photos]", None
    )
    preview_every: int = _option("Steps between two previews; 0 makes none.", 100, minimum=0)
    checkpoint_every: int = _option("Steps between two checkpoints.", 100, minimum=1)
    runs: Path = _option("Folder for checkpoints, previews and TensorBoard logs.", Path("runs"))
    models: Path = _option("Folder for the finished model.", Path("saved_models"))
    compile: bool = _option(
        "Compile the networks with torch.compile (needs a C++ compiler).", False
    )
    title: str = _option("The painting's title, for the model's card.", "")
    artist: str = _option("Who painted it, for the model's card.", "")
    year: str = _option("When it was painted, for the model's card.", "")
    licence: str = _option("Its licence, for the model's card.", "")

    def __post_init__(self) -> None:
        """Check every value on its own."""
        hints = get_type_hints(type(self))
        for spec in fields(self):
            value = getattr(self, spec.name)
            flag = f"--{spec.name.replace('_', '-')}"
            choices = get_args(hints[spec.name])
            named = choices and all(isinstance(choice, str) for choice in choices)
            if named and value not in choices:
                raise UsageError(f"{flag} is {value!r}; expected one of {', '.join(choices)}")
            if value is None:
                continue
            lowest, above = spec.metadata.get("minimum"), spec.metadata.get("above")
            if lowest is not None and not (lowest <= value < float("inf")):
                raise UsageError(f"{flag} is {value}; expected {lowest} or more")
            highest = spec.metadata.get("maximum")
            if highest is not None and value > highest:
                raise UsageError(f"{flag} is {value}; expected {highest} or less")
            if above is not None and not (above < value < float("inf")):
                raise UsageError(f"{flag} is {value}; expected more than {above}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise UsageError(
                f"--name is {self.name!r}; expected letters, digits, '-', '_' and '.', at most 100"
            )
        parse_layers(self.content_layers, "--content-layers")
        parse_layers(self.style_layers, "--style-layers")

    @property
    def network(self) -> NetworkConfig:
        """The network that `size` and `upsampling` name."""
        named = SIZES[self.size]
        return NetworkConfig(named.width, named.residual_blocks, self.upsampling)

    @property
    def run_folder(self) -> Path:
        """Where this run keeps its checkpoints, previews and logs."""
        return self.runs / self.name

    @property
    def checkpoint_path(self) -> Path:
        """The one checkpoint to resume from."""
        return self.run_folder / "checkpoints" / "last.ckpt"

    @property
    def model_path(self) -> Path:
        """Where the finished model goes."""
        return self.models / f"{self.name}.safetensors"

    def to_dict(self) -> dict[str, Any]:
        """All options as plain JSON values."""
        return {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }


def parse_layers(text: str, flag: str) -> Mapping[str, float]:
    """Read `relu1_2,relu2_2=0.5` as a weight for each layer; 1 where none is given.

    Raises:
        UsageError: not of that form, or a layer twice.
    """
    layers: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, weight = part.partition("=")
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            value = -1.0
        if name in layers or not 0 <= value < float("inf"):
            raise UsageError(
                f"{flag} is {text!r}; expected LAYER[=WEIGHT],... with each layer once, "
                "such as relu1_2,relu2_2=0.5"
            )
        layers[name] = value
    return layers
