"""The model file: the network of one style and its card, as safetensors.

`NAME.safetensors` contains the weights by the names of `parameter_shapes`, in float16 (or float32,
for imported models that must not change), and one metadata key, `fast_style`, with the card as
JSON. Nothing in it is pickled, and reading it does not need torch.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save

from fast_style.errors import ModelFileError, UsageError, shorten
from fast_style.models.card import METADATA_KEY, ModelCard, card_from_metadata, check_values
from fast_style.models.config import parameter_shapes
from fast_style.storage.atomic_write import replace_file
from fast_style.storage.git_lfs import LFS_DESCRIPTION, LFS_SIGNATURE

SUFFIX = ".safetensors"

# A full-size card is 12 KB; safetensors itself allows headers of 100 MB.
_HEADER_LIMIT = 4 * 1024 * 1024
_HEAD = len(LFS_SIGNATURE)  # bytes that show what a file is

# Names of half and single precision in safetensors.
_DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class StyleModel:
    """A model file in memory: its card, and its weights as float32 arrays by parameter name."""

    card: ModelCard
    weights: Weights


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """Read a model file's card without its weights.

    Raises:
        ModelFileError: the file does not exist, or is not a model file.
        NewerFormatError: the file was written by a newer release.
    """
    path = Path(path)
    _check_container(path)
    try:
        with safe_open(path, "numpy") as file:
            return card_from_metadata(path, file.metadata())
    except SafetensorError as error:
        raise _damaged(path, error) from error


def load_model(path: str | os.PathLike[str]) -> StyleModel:
    """Read a model file and check all of it.

    Raises:
        ModelFileError: the file does not exist, is not a model file, is truncated, has parameters
            that are missing, unknown or of the wrong shape, or weights that are not finite.
        NewerFormatError: the file was written by a newer release.
    """
    path = Path(path)
    _check_container(path)
    try:
        with safe_open(path, "numpy") as file:
            card = card_from_metadata(path, file.metadata())
            # Shapes and types come from the header, before memory is spent on the values.
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: (one.get_shape(), one.get_dtype()) for name, one in slices.items()}
            return StyleModel(card, _read_weights(path, card, found, file.get_tensor))
    except SafetensorError as error:
        raise _damaged(path, error) from error


def model_from_bytes(content: bytes, name: str = "the file") -> StyleModel:
    """Read a model from the bytes of its file and check all of it, without writing to disk.

    Args:
        content: the bytes.
        name: name of the file in messages.

    Raises:
        ModelFileError: as for `load_model`.
        NewerFormatError: the file was written by a newer release.
    """
    label = Path(name)
    _check_head(label, content[:_HEAD], len(content))
    try:
        tensors: dict[str, Any] = dict(deserialize(content))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise _damaged(label, error) from error
    card = card_from_metadata(label, metadata_of(content))

    def array(name: str) -> NDArray[Any]:
        tensor = tensors[name]
        values: NDArray[Any] = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]])
        return values.reshape(tensor["shape"])

    found = {name: (tensor["shape"], tensor["dtype"]) for name, tensor in tensors.items()}
    return StyleModel(card, _read_weights(label, card, found, array))


def _read_weights(
    path: Path,
    card: ModelCard,
    found: Mapping[str, tuple[Sequence[int], str]],
    array: Callable[[str], NDArray[Any]],
) -> Weights:
    """Check the parameters in a file against its card's network, and read them.

    Args:
        path: name of the file in messages.
        card: its card.
        found: shape and type of each parameter in it, by name.
        array: reads one parameter.
    """
    expected = parameter_shapes(card.network)
    if set(found) != set(expected):
        raise ModelFileError(
            f"{path}: its parameters are not those of its network "
            f"({_name_difference(set(found), set(expected))})"
        )
    weights: Weights = {}
    for name, shape in expected.items():
        seen, kind = found[name]
        if tuple(seen) != shape:
            raise ModelFileError(
                f"{path}: {name} has shape {shorten(tuple(seen))}; its network needs {shape}"
            )
        if kind not in _DTYPES:
            raise ModelFileError(f"{path}: {name} holds {kind}; expected {' or '.join(_DTYPES)}")
        values = array(name)
        if not np.isfinite(values).all():
            raise ModelFileError(
                f"{path}: {name} holds values that are not finite numbers; train it again "
                "or fetch the file again"
            )
        weights[name] = values.astype(np.float32)
    return weights


def save_model(
    path: str | os.PathLike[str],
    card: ModelCard,
    weights: Mapping[str, NDArray[np.floating]],
    *,
    float32: bool = False,
) -> None:
    """Write a model file, complete or not at all.

    Args:
        path: the file; its folder is created.
        card: its card.
        weights: arrays by the names of `parameter_shapes`.
        float32: store the weights as float32, at twice the size, instead of float16.

    Raises:
        ModelFileError: the weights do not fit the card's network or are not finite as stored, or
            the file cannot be written.
    """
    _write(Path(path), model_to_bytes(card, weights, float32=float32))


def model_to_bytes(
    card: ModelCard, weights: Mapping[str, NDArray[np.floating]], *, float32: bool = False
) -> bytes:
    """Return the content of a model file; see `save_model`.

    Raises:
        ModelFileError: the weights do not fit the card's network, or are not finite as stored.
    """
    expected = parameter_shapes(card.network)
    if set(weights) != set(expected):
        raise ModelFileError(
            f"the weights are not those of the card's network "
            f"({_name_difference(set(weights), set(expected))})"
        )
    stored: dict[str, NDArray[Any]] = {}
    kind, largest = (np.float32, "3.4e38") if float32 else (np.float16, "65504")
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise ModelFileError(f"{name} has shape {weights[name].shape}; expected {shape}")
        with np.errstate(over="ignore"):
            stored[name] = np.ascontiguousarray(weights[name], dtype=kind)
        if not np.isfinite(stored[name]).all():
            raise ModelFileError(
                f"{name} holds values that {kind.__name__} cannot (largest {largest})"
            )
    return _encode(card, stored)


def change_card(path: str | os.PathLike[str], card: ModelCard) -> None:
    """Replace the card of a model file; the weights do not change.

    Raises:
        ModelFileError: the file is not a valid model file, or cannot be written.
    """
    path = Path(path)
    load_model(path)
    with safe_open(path, "numpy") as file:
        stored = {name: file.get_tensor(name) for name in parameter_shapes(card.network)}
    _write(path, _encode(card, stored))


def _encode(card: ModelCard, stored: dict[str, NDArray[Any]]) -> bytes:
    values = card.to_dict()
    try:
        check_values(values)
    except UsageError as error:
        raise ModelFileError(f"the model cannot be written: {error}") from error
    return save(stored, metadata={METADATA_KEY: json.dumps(values, ensure_ascii=False)})


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise ModelFileError(
            f"the model cannot be written to {path}: {error.strerror or error}"
        ) from error


def _check_container(path: Path) -> None:
    """Check that a file looks like safetensors, and raise a clear message if not."""
    try:
        status = path.stat()
        size = status.st_size
        if stat.S_ISDIR(status.st_mode):
            raise ModelFileError(f"{path} is a folder; expected a model file (NAME{SUFFIX})")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            raise ModelFileError(f"{path} is a pipe or a device; expected a model file")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no model file {path}") from error
    except OSError as error:
        raise ModelFileError(f"the model file {path} cannot be read: {error.strerror}") from error
    _check_head(path, head, size)


def _check_head(path: Path, head: bytes, size: int) -> None:
    """Check a file's first bytes and its size."""
    # A safetensors file is the length of its header in 8 bytes, then the header, which is JSON.
    if head[8:9] != b"{":
        if head.startswith(LFS_SIGNATURE):
            raise ModelFileError(f"{path} is {LFS_DESCRIPTION}")
        if head[:4] == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] <= b"\x05"):
            raise ModelFileError(
                f"{path} is a pickled checkpoint, which could run any code and is never loaded; "
                f"expected a model file of Fast Style (NAME{SUFFIX}): fast-style import makes one"
            )
        raise ModelFileError(
            f"{path} is not a safetensors file; expected a model file of Fast Style"
        )
    header = int.from_bytes(head[:8], "little")
    if header > _HEADER_LIMIT:
        raise ModelFileError(f"{path} claims a header of {header} bytes; a model's is far smaller")
    if size < 8 + header:
        raise ModelFileError(f"{path} is cut short: copy or fetch it again")


def _damaged(path: Path, error: SafetensorError) -> ModelFileError:
    if "not fully covered" in str(error):
        return ModelFileError(f"{path} is cut short or has bytes too many: copy or fetch it again")
    return ModelFileError(f"{path} is a damaged safetensors file ({shorten(str(error))})")


def _name_difference(found: set[str], expected: set[str]) -> str:
    parts = []
    for label, names in (("missing", expected - found), ("unknown", found - expected)):
        if names:
            shown = ", ".join(shorten(name, 40) for name in sorted(names)[:3])
            parts.append(f"{label}: {shown}{', ...' if len(names) > 3 else ''}")
    return "; ".join(parts)


def metadata_of(content: bytes) -> Any:
    """Return the metadata in the header of a sound safetensors file; None if there is none."""
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header.get("__metadata__")


def looks_like_safetensors(path: Path) -> bool:
    """Return whether a file has the suffix of safetensors, or begins as they do.

    They begin with the length of a header, and the header's brace.
    """
    if path.suffix == SUFFIX:
        return True
    try:
        with path.open("rb") as file:
            beginning = file.read(9)
        length = int.from_bytes(beginning[:8], "little")
        return beginning[8:] == b"{" and length < path.stat().st_size
    except OSError:
        return False


def is_picture(path: Path) -> bool:
    """Return whether a file is taken for a picture: it is neither safetensors nor a pickle."""
    if looks_like_safetensors(path):
        return False
    try:
        with path.open("rb") as file:
            beginning = file.read(4)
    except OSError:
        return False  # loading it as a model says what is wrong
    # The error of loading a pickled checkpoint as a model says that it is one.
    is_pickle = beginning.startswith(b"PK\x03\x04") or re.match(rb"\x80[\x00-\x05]", beginning)
    return not is_pickle
