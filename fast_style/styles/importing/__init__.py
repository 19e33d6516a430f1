"""Convert checkpoints of other projects into models.

Differences between the networks (the range of the values, the order of the channels, the
normalization of the picture) are folded into the first and the last convolution. The result is an
ordinary model that every engine runs.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import ForeignCheckpointError, UsageError, shorten
from fast_style.models.config import NetworkConfig, parameter_shapes
from fast_style.styles.importing.layouts import IMAGENET_MEAN, IMAGENET_STD, LAYOUTS, Layout
from fast_style.styles.importing.reading import StateDict, read_state_dict

__all__ = [
    "LAYOUTS",
    "TANH_MULTIPLIER",
    "Layout",
    "convert_checkpoint",
    "read_state_dict",
    "recognise_layout",
]

TANH_MULTIPLIER = 150.0
"""The default factor on the output of rrmina's tanh variant."""

_SHOWN = 5


def recognise_layout(state: Mapping[str, object]) -> Layout:
    """Return the layout of a checkpoint, found by its keys.

    Raises:
        ForeignCheckpointError: the layout is not known.
    """
    for layout in LAYOUTS.values():
        if layout.fits(state):
            return layout
    raise ForeignCheckpointError(
        f"the layout of the checkpoint is not known: its first keys are {_first(state)}; known are "
        + ", ".join(f"{layout.name} ({layout.project})" for layout in LAYOUTS.values())
    )


def convert_checkpoint(
    state: StateDict, layout: Layout | None = None, *, tanh: float = 0.0
) -> tuple[NetworkConfig, dict[str, NDArray[np.float32]]]:
    """Convert the parameters of a checkpoint to a network of this package.

    Args:
        state: arrays by the project's keys, from `read_state_dict`.
        layout: the project's layout; None finds it by the keys.
        tanh: factor on the tanh, for the variant of `rrmina` that ends in one, which has the same
            keys; 0 for all others.

    Returns:
        The network, and its weights by the names of `parameter_shapes`. Biases before an instance
        norm, which have no effect, are zero.

    Raises:
        ForeignCheckpointError: keys are missing or unknown, shapes do not fit each other, or values
            are not finite.
        UsageError: a tanh for a project that has no such variant, or out of range.
    """
    NetworkConfig(tanh=tanh)  # raises the caller's error; the others below are the file's
    layout = layout or recognise_layout(state)
    if tanh and not layout.ends_in_tanh:
        raise UsageError(f"no network of the layout {layout.name} ends in a tanh; leave it out")
    if layout.forbidden and any(key.endswith(layout.forbidden[0]) for key in state):
        raise ForeignCheckpointError(
            f"the checkpoint has {layout.forbidden[1]} ({layout.forbidden[0]}), and only networks "
            "with instance normalization can be imported"
        )
    config = _configuration(state, layout, tanh)
    keys = layout.names(config)
    known = set(keys.values())
    unknown = [key for key in state if key not in known and not key.endswith(layout.stale)]
    if unknown:
        raise ForeignCheckpointError(
            f"the checkpoint does not match the layout {layout.name}: it has unknown keys "
            f"{_first(unknown)}"
        )
    weights: dict[str, NDArray[np.float32]] = {}
    for name, shape in parameter_shapes(config).items():
        values = _taken(state, layout, keys[name])
        if values.shape != shape:
            raise ForeignCheckpointError(
                f"{keys[name]} has shape {values.shape}; in a network of layout {layout.name} with "
                f"width {config.width} it has {shape}"
            )
        if not np.isfinite(values).all():
            raise ForeignCheckpointError(f"{keys[name]} holds values that are not finite numbers")
        weights[name] = values
    # These biases have no effect: the norm after them cancels any constant.
    for name, values in weights.items():
        if name.endswith(".conv.bias"):
            weights[name] = np.zeros_like(values)
    _fold(weights, layout)
    return config, weights


def _configuration(state: StateDict, layout: Layout, tanh: float) -> NetworkConfig:
    first = _taken(state, layout, layout.key("encoder.0.conv.weight"))
    if first.ndim != 4:
        raise ForeignCheckpointError(
            f"{layout.key('encoder.0.conv.weight')} has shape {first.shape}; expected that of a "
            "convolution"
        )
    try:
        return NetworkConfig(first.shape[0], layout.count_blocks(state), layout.upsampling, tanh)
    except UsageError as error:
        raise ForeignCheckpointError(f"the checkpoint's network is not ours: {error}") from error


def _taken(state: StateDict, layout: Layout, key: str) -> NDArray[np.float32]:
    if key not in state:
        raise ForeignCheckpointError(
            f"the checkpoint has no {key}, as the layout {layout.name} has; its first keys are "
            f"{_first(state)}"
        )
    return state[key]


def _fold(weights: dict[str, NDArray[np.float32]], layout: Layout) -> None:
    """Fold the project's channel order and normalization into both ends of the network."""
    first = weights["encoder.0.conv.weight"].astype(np.float64)
    last = weights["output.weight"].astype(np.float64)
    bias = weights["output.bias"].astype(np.float64)
    if layout.bgr:
        first, last, bias = first[:, ::-1], last[::-1], bias[::-1]
    if layout.imagenet:
        # In: (x / 255 - mean) / std. As padding by reflection repeats pixels of the picture, the
        # mean shifts all pixels of a channel alike, and the norm cancels it. Out: 255 * (y * std +
        # mean).
        scale = 255 * np.array(IMAGENET_STD)
        first = first / scale[:, None, None]
        last = last * scale[:, None, None, None]
        bias = bias * scale + 255 * np.array(IMAGENET_MEAN)
    for name, values in (
        ("encoder.0.conv.weight", first),
        ("output.weight", last),
        ("output.bias", bias),
    ):
        weights[name] = np.ascontiguousarray(values, np.float32)


def _first(keys: object) -> str:
    assert isinstance(keys, Mapping | list)
    shown = [shorten(str(key), 60) for key in list(keys)[:_SHOWN]]
    return (", ".join(shown) or "none") + (", ..." if len(keys) > _SHOWN else "")
