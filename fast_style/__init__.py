"""Fast neural style transfer: train a style from one painting and apply it to photos in one pass.

::

    from fast_style import Stylizer

    Stylizer("starry-night").stylize("photo.jpg").save("stylized.jpg")

Importing the package is cheap: each name is loaded, with the packages it needs, on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fast_style._version import __version__

if TYPE_CHECKING:
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
        OptionError,
        ServiceError,
        StyleNotFoundError,
        TrainingError,
        UnreadableImageError,
        UsageError,
        VideoError,
        WeightsError,
    )
    from fast_style.images import READABLE_SUFFIXES, read_image
    from fast_style.images.encoding import encode_image
    from fast_style.images.photo import Photo
    from fast_style.images.resampling import resize_long_side
    from fast_style.inference.contact_sheet import contact_sheet
    from fast_style.inference.guides import Guides, read_guides
    from fast_style.inference.painted import Painted
    from fast_style.inference.remote import RemoteStylizer, remote_styles
    from fast_style.inference.stylizer import Stylizer
    from fast_style.inference.stylizer_cache import StylizerCache
    from fast_style.models.card import ModelCard
    from fast_style.models.config import SIZES, NetworkConfig, parameter_count, size_name
    from fast_style.models.model_file import StyleModel, model_from_bytes, model_to_bytes
    from fast_style.models.network import StyleNetwork
    from fast_style.models.perceptual_loss import (
        LossConfig,
        PerceptualLoss,
        gram_matrix,
        total_variation,
    )
    from fast_style.optimization.api import optimize_image, optimize_steps
    from fast_style.optimization.config import OptimizeConfig
    from fast_style.optimization.optimizer_loop import OptimizeStep
    from fast_style.options.bundles import EngineOptions, StyleOptions, VideoOptions
    from fast_style.styles.mixing import mix_models, parse_mixture
    from fast_style.styles.prediction import predict_style
    from fast_style.styles.registry import StyleEntry, list_styles, load_style
    from fast_style.training.config import TrainingConfig
    from fast_style.training.refine import RefineStep, refine_style
    from fast_style.training.session import TrainingResult
    from fast_style.training.trainer import train
    from fast_style.video.api import VideoResult, stylize_video
    from fast_style.video.video_stylizer import VideoStylizer

__all__ = [
    "READABLE_SUFFIXES",
    "SIZES",
    "DownloadError",
    "EngineError",
    "EngineOptions",
    "ExportError",
    "FastStyleError",
    "ForeignCheckpointError",
    "Guides",
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
    "OptionError",
    "Painted",
    "PerceptualLoss",
    "Photo",
    "RefineStep",
    "RemoteStylizer",
    "ServiceError",
    "StyleEntry",
    "StyleModel",
    "StyleNetwork",
    "StyleNotFoundError",
    "StyleOptions",
    "Stylizer",
    "StylizerCache",
    "TrainingConfig",
    "TrainingError",
    "TrainingResult",
    "UnreadableImageError",
    "UsageError",
    "VideoError",
    "VideoOptions",
    "VideoResult",
    "VideoStylizer",
    "WeightsError",
    "__version__",
    "contact_sheet",
    "encode_image",
    "gram_matrix",
    "list_styles",
    "load_style",
    "mix_models",
    "model_from_bytes",
    "model_to_bytes",
    "optimize_image",
    "optimize_steps",
    "parameter_count",
    "parse_mixture",
    "predict_style",
    "read_guides",
    "read_image",
    "refine_style",
    "remote_styles",
    "resize_long_side",
    "size_name",
    "stylize_video",
    "total_variation",
    "train",
]

_MODULES = {
    "fast_style.models.config": ("SIZES", "NetworkConfig", "parameter_count", "size_name"),
    "fast_style.styles.mixing": ("mix_models", "parse_mixture"),
    "fast_style.styles.registry": ("StyleEntry", "list_styles", "load_style"),
    "fast_style.models.card": ("ModelCard",),
    "fast_style.models.model_file": ("StyleModel", "model_from_bytes", "model_to_bytes"),
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
        "OptionError",
        "ServiceError",
        "StyleNotFoundError",
        "TrainingError",
        "UnreadableImageError",
        "UsageError",
        "VideoError",
        "WeightsError",
    ),
    "fast_style.images": ("READABLE_SUFFIXES", "read_image"),
    "fast_style.images.encoding": ("encode_image",),
    "fast_style.images.photo": ("Photo",),
    "fast_style.images.resampling": ("resize_long_side",),
    "fast_style.options.bundles": ("EngineOptions", "StyleOptions", "VideoOptions"),
    "fast_style.optimization.api": ("optimize_image", "optimize_steps"),
    "fast_style.optimization.config": ("OptimizeConfig",),
    "fast_style.optimization.optimizer_loop": ("OptimizeStep",),
    "fast_style.models.network": ("StyleNetwork",),
    "fast_style.models.perceptual_loss": (
        "LossConfig",
        "PerceptualLoss",
        "gram_matrix",
        "total_variation",
    ),
    "fast_style.inference.guides": ("Guides", "read_guides"),
    "fast_style.inference.remote": ("RemoteStylizer", "remote_styles"),
    "fast_style.inference.contact_sheet": ("contact_sheet",),
    "fast_style.inference.painted": ("Painted",),
    "fast_style.inference.stylizer": ("Stylizer",),
    "fast_style.inference.stylizer_cache": ("StylizerCache",),
    "fast_style.training.config": ("TrainingConfig",),
    "fast_style.styles.prediction": ("predict_style",),
    "fast_style.training.refine": ("RefineStep", "refine_style"),
    "fast_style.training.session": ("TrainingResult",),
    "fast_style.training.trainer": ("train",),
    "fast_style.video.api": ("VideoResult", "stylize_video"),
    "fast_style.video.video_stylizer": ("VideoStylizer",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

# The optional extra with the packages that a module needs beyond the base install.
_EXTRAS = {
    "fast_style.optimization.optimizer_loop": "torch",
    "fast_style.models.network": "torch",
    "fast_style.models.perceptual_loss": "torch",
    "fast_style.training.refine": "train",
    "fast_style.training.session": "train",
    "fast_style.training.trainer": "train",
    "fast_style.video.api": "video",
    "fast_style.video.video_stylizer": "video",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562).

    Raises:
        AttributeError: There is no such name.
        MissingExtraError: It needs a package that is not installed.
    """
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        extra, package = _EXTRAS.get(module), (error.name or "").partition(".")[0]
        if extra is None or package == __name__:
            raise
        from fast_style.errors import MissingExtraError

        raise MissingExtraError(f"fast_style.{name}", package, extra) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names and those that are loaded already."""
    return sorted({*globals(), *__all__})
