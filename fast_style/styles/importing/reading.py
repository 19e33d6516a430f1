"""Read checkpoints of other projects as arrays, with torch and without running their code."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import ForeignCheckpointError, MissingExtraError
from fast_style.styles.importing.pickles import check_pickles

# Keys of the state dict in checkpoints that have other entries too.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params")

StateDict = dict[str, NDArray[np.float32]]


def read_state_dict(path: str | os.PathLike[str]) -> StateDict:
    """Read the parameters of a checkpoint.

    Args:
        path: a file written by `torch.save`, in its zip or its old format: a state dict, or a dict
            that contains one.

    Returns:
        float32 arrays by key, without the prefix `module.` of `DataParallel`.

    Raises:
        ForeignCheckpointError: it is not such a file, or contains more than tensors.
        MissingExtraError: torch is not installed.
    """
    path = Path(path)
    check_pickles(path)
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError("importing checkpoints", "torch", "torch") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for damaged files
        # Its text is not shown: it advises loading the file without restrictions.
        raise ForeignCheckpointError(
            f"{path} cannot be loaded as tensors alone: copy or fetch it again, or save the "
            "network's state_dict alone, with torch.save(model.state_dict(), ...)"
        ) from error
    state = _find_state_dict(loaded, torch.Tensor)
    if state is None:
        raise ForeignCheckpointError(
            f"{path} holds no state_dict; expected a dict of tensors, or one with it under "
            f"{' or '.join(map(repr, _WRAPPERS))}"
        )
    # A small file may describe huge tensors: views that repeat a few values.
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if claimed > path.stat().st_size:
        raise ForeignCheckpointError(f"{path} claims {claimed} bytes of values, more than it has")
    prefix = "module."
    strip = all(key.startswith(prefix) for key in state)
    arrays: StateDict = {}
    for key, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise ForeignCheckpointError(f"{path}: {key} is not a plain tensor")
        plain = value.detach().to(torch.float32)
        arrays[key[len(prefix) :] if strip else key] = np.array(plain.numpy())
    return arrays


def _find_state_dict(loaded: Any, tensor: type) -> dict[str, Any] | None:
    """Return the dict of tensors in what was loaded; None if there is none."""
    if not isinstance(loaded, Mapping):
        return None
    if loaded and all(isinstance(value, tensor) for value in loaded.values()):
        return dict(loaded) if all(isinstance(key, str) for key in loaded) else None
    for wrapper in _WRAPPERS:
        if isinstance(loaded.get(wrapper), Mapping):
            return _find_state_dict(loaded[wrapper], tensor)
    return None
