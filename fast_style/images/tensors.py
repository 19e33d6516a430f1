"""Pictures that are torch tensors, without importing torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import UsageError

__all__ = ["is_tensor", "tensor_to_array"]

_CHANNELS = (1, 3, 4)


def is_tensor(value: object) -> bool:
    """Return whether a value is a torch tensor, by the module of its type."""
    return any(
        kind.__name__ == "Tensor" and kind.__module__.partition(".")[0] == "torch"
        for kind in type(value).__mro__
    )


def tensor_to_array(tensor: Any, name: str) -> NDArray[Any]:
    """Convert a tensor to an array with the channels last, on the CPU.

    Args:
        tensor: channels first, as torch has them: shape (C, H, W) with 1, 3 or 4 channels, RGB,
            uint8 or floats in [0, 1]; or a grey picture of shape (H, W). On any device.
        name: what to call it in messages.

    Returns:
        An array of shape (H, W, C) or (H, W), of a type that `read_image` takes.

    Raises:
        UsageError: it has another shape.
    """
    shape = tuple(tensor.shape)
    if not (len(shape) == 2 or (len(shape) == 3 and shape[0] in _CHANNELS)):
        raise UsageError(
            f"{name} has shape {shape}; expected (C, H, W) with 1, 3 or 4 channels: "
            f"{_advise(shape)}"
        )
    plain = tensor.detach().cpu()
    if plain.is_floating_point():
        plain = plain.float()  # numpy has no bfloat16
    array: NDArray[Any] = np.asarray(plain.numpy())
    return array if array.ndim == 2 else np.ascontiguousarray(array.transpose(1, 2, 0))


def _advise(shape: tuple[int, ...]) -> str:
    if len(shape) == 4:
        return "give one picture of the batch, batch[0]"
    if len(shape) == 3 and shape[2] in _CHANNELS:
        return "with the channels last, give tensor.permute(2, 0, 1) or tensor.numpy()"
    return "give one picture"
