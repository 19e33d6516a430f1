"""Read checkpoints of other projects as arrays, without running their code."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from fast_style.errors import ForeignCheckpointError, MissingExtraError
from fast_style.models.card import METADATA_KEY
from fast_style.models.model_file import looks_like_safetensors, metadata_of
from fast_style.storage.git_lfs import LFS_DESCRIPTION, LFS_SIGNATURE
from fast_style.styles.importing.pickles import FILE_LIMIT, check_pickles
from fast_style.styles.importing.prefixes import strip_prefixes

# Keys of the state dict in checkpoints that have other entries too.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params")

_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"},
}
"""numpy's name of each of safetensors' types; it has no bfloat16, which is shifted to float32."""

StateDict = dict[str, NDArray[np.float32]]


def read_state_dict(path: str | os.PathLike[str]) -> StateDict:
    """Read the parameters of a checkpoint.

    Args:
        path: a file written by `torch.save`, in its zip or its old format: a state dict, or a dict
            that contains one; or a state dict as safetensors, which needs no torch.

    Returns:
        float32 arrays by key, without prefixes such as `module.` of `DataParallel` and
        `_orig_mod.` of `torch.compile`.

    Raises:
        ForeignCheckpointError: it is not such a file, or contains more than tensors.
        MissingExtraError: torch is needed and not installed.
    """
    path = Path(path)
    if looks_like_safetensors(path):
        return strip_prefixes(_read_safetensors(path))
    check_pickles(path)
    loaded = load_tensors(path)
    import torch

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
    arrays: StateDict = {}
    for key, value in strip_prefixes(state).items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise ForeignCheckpointError(f"{path}: {key} is not a plain tensor")
        arrays[key] = np.array(value.detach().to(torch.float32).numpy())
    return arrays


def load_tensors(path: Path) -> Any:
    """Load what `torch.save` has written, if it consists of tensors and plain values.

    Args:
        path: a file that `check_pickles` has passed.

    Raises:
        ForeignCheckpointError: it is damaged.
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError("reading checkpoints", "torch", "torch") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for damaged files
        # Its text is not shown: it advises loading the file without restrictions.
        raise ForeignCheckpointError(
            f"{path} cannot be loaded as tensors alone: copy or fetch it again, or save the "
            "network's state_dict alone, with torch.save(model.state_dict(), ...)"
        ) from error


def _read_safetensors(path: Path) -> StateDict:
    if not path.is_file():
        raise ForeignCheckpointError(f"there is no file {path}; expected a checkpoint")
    size = path.stat().st_size
    if size > FILE_LIMIT:
        raise ForeignCheckpointError(f"{path} has {size} bytes; expected at most {FILE_LIMIT}")
    content = path.read_bytes()
    if content.startswith(LFS_SIGNATURE):
        raise ForeignCheckpointError(f"{path} is {LFS_DESCRIPTION}")
    try:
        tensors: dict[str, Any] = dict(deserialize(content))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ForeignCheckpointError(f"{path} is a damaged safetensors file") from error
    if METADATA_KEY in (metadata_of(content) or {}):
        raise ForeignCheckpointError(
            f"{path} is a model file of Fast Style already: add it with fast-style models add"
        )
    return {key: _to_float32(path, key, tensor) for key, tensor in tensors.items()}


def _to_float32(path: Path, key: str, tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    kind = tensor["dtype"]
    if kind not in _DTYPES:
        raise ForeignCheckpointError(
            f"{path}: {key} holds {kind}; expected one of {', '.join(_DTYPES)}"
        )
    values: NDArray[Any] = np.frombuffer(tensor["data"], _DTYPES[kind])
    if kind == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32).reshape(tensor["shape"])


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
