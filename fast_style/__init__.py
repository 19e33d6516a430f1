"""Fast neural style transfer: train a style from one painting, put it on photos at once.

::

    from fast_style import Stylizer

    Stylizer("starry-night").stylize("photo.jpg").save("stylized.jpg")

Importing the package is cheap: a name is loaded, with what it needs, when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fast_style.architecture import SIZES, NetworkConfig, parameter_count, size_name
    from fast_style.blending import mix_models, parse_mixture
    from fast_style.catalogue import StyleEntry, list_styles, load_style
    from fast_style.checkpoint import ModelCard, StyleModel, model_from_bytes
    from fast_style.errors import (
        DownloadError,
        EngineError,
        ExportError,
        FastStyleError,
        ForeignCheckpointError,
        ImageError,
        ImageTooLargeError,
        ImageWriteError,
        MissingExtraError,
        ModelError,
        ModelFileError,
        NewerFormatError,
        ServiceError,
        StyleNotFoundError,
        TrainingError,
        UnreadableImageError,
        UsageError,
        WeightsError,
    )
    from fast_style.gatys.api import optimize_image, optimize_steps
    from fast_style.gatys.config import OptimizeConfig
    from fast_style.gatys.run import OptimizeStep
    from fast_style.images import read_image
    from fast_style.images.encoding import encode_image
    from fast_style.images.photo import Photo, resize_long_side
    from fast_style.networks import StyleNetwork
    from fast_style.perceptual import LossConfig, PerceptualLoss, gram_matrix, total_variation
    from fast_style.remote import RemoteStylizer, remote_styles
    from fast_style.sheet import contact_sheet
    from fast_style.stylizer import Painted, Stylizer
    from fast_style.training.config import TrainingConfig
    from fast_style.training.run import TrainingResult, train

__version__ = "0.1.0"

__all__ = [
    "SIZES",
    "DownloadError",
    "EngineError",
    "ExportError",
    "FastStyleError",
    "ForeignCheckpointError",
    "ImageError",
    "ImageTooLargeError",
    "ImageWriteError",
    "LossConfig",
    "MissingExtraError",
    "ModelCard",
    "ModelError",
    "ModelFileError",
    "NetworkConfig",
    "NewerFormatError",
    "OptimizeConfig",
    "OptimizeStep",
    "Painted",
    "PerceptualLoss",
    "Photo",
    "RemoteStylizer",
    "ServiceError",
    "StyleEntry",
    "StyleModel",
    "StyleNetwork",
    "StyleNotFoundError",
    "Stylizer",
    "TrainingConfig",
    "TrainingError",
    "TrainingResult",
    "UnreadableImageError",
    "UsageError",
    "WeightsError",
    "__version__",
    "contact_sheet",
    "encode_image",
    "gram_matrix",
    "list_styles",
    "load_style",
    "mix_models",
    "model_from_bytes",
    "optimize_image",
    "optimize_steps",
    "parameter_count",
    "parse_mixture",
    "read_image",
    "remote_styles",
    "resize_long_side",
    "size_name",
    "total_variation",
    "train",
]

_HOMES = {
    "fast_style.architecture": ("SIZES", "NetworkConfig", "parameter_count", "size_name"),
    "fast_style.blending": ("mix_models", "parse_mixture"),
    "fast_style.catalogue": ("StyleEntry", "list_styles", "load_style"),
    "fast_style.checkpoint": ("ModelCard", "StyleModel", "model_from_bytes"),
    "fast_style.errors": (
        "DownloadError",
        "EngineError",
        "ExportError",
        "FastStyleError",
        "ForeignCheckpointError",
        "ImageError",
        "ImageTooLargeError",
        "ImageWriteError",
        "MissingExtraError",
        "ModelError",
        "ModelFileError",
        "NewerFormatError",
        "ServiceError",
        "StyleNotFoundError",
        "TrainingError",
        "UnreadableImageError",
        "UsageError",
        "WeightsError",
    ),
    "fast_style.images": ("read_image",),
    "fast_style.images.encoding": ("encode_image",),
    "fast_style.images.photo": ("Photo", "resize_long_side"),
    "fast_style.gatys.api": ("optimize_image", "optimize_steps"),
    "fast_style.gatys.config": ("OptimizeConfig",),
    "fast_style.gatys.run": ("OptimizeStep",),
    "fast_style.networks": ("StyleNetwork",),
    "fast_style.perceptual": ("LossConfig", "PerceptualLoss", "gram_matrix", "total_variation"),
    "fast_style.remote": ("RemoteStylizer", "remote_styles"),
    "fast_style.sheet": ("contact_sheet",),
    "fast_style.stylizer": ("Painted", "Stylizer"),
    "fast_style.training.config": ("TrainingConfig",),
    "fast_style.training.run": ("TrainingResult", "train"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

# The extra of the package that brings what a home needs beyond the base install.
_NEEDS = {
    "fast_style.gatys.run": "torch",
    "fast_style.networks": "torch",
    "fast_style.perceptual": "torch",
    "fast_style.training.run": "train",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562).

    Raises:
        AttributeError: There is no such name.
        MissingExtraError: It needs a package that is not installed.
    """
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        extra, package = _NEEDS.get(home), (error.name or "").partition(".")[0]
        if extra is None or package == __name__:
            raise
        from fast_style.errors import MissingExtraError

        raise MissingExtraError(f"fast_style.{name}", package, extra) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names beside what is loaded already."""
    return sorted({*globals(), *__all__})
