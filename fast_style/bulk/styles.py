"""The styles of a bulk run, as they are sent to its workers."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from fast_style.errors import UsageError
from fast_style.models.model_file import is_picture, model_from_bytes, model_to_bytes
from fast_style.styles.fingerprint import weights_sha256
from fast_style.styles.mixing import mixture_name
from fast_style.styles.registry import (
    find_parts,
    identify_parts,
    is_training_checkpoint,
    load_file,
)

__all__ = ["LoadedStyle", "load_styles"]


@dataclass(frozen=True, slots=True)
class LoadedStyle:
    """A style as it is sent to the workers.

    Attributes:
        label: its name in the manifest, which contains the beginning of its hash.
        sha256: hash of its weights and shares.
        parts: for each model file, its contents and its share.
        name: its name, with the names of all its parts.
        identity: see `styles.registry.identify_parts`.
    """

    label: str
    sha256: str
    parts: tuple[tuple[bytes, float], ...]
    name: str
    identity: str


def load_styles(wanted: Iterable[str]) -> dict[str, LoadedStyle]:
    """Load the styles of a run, each once.

    Args:
        wanted: the style of each picture, as for `find_parts`.

    Returns:
        The styles by the text that names them.

    Raises:
        UsageError: a picture has no style.
        StyleNotFoundError: there is no such style.
        ModelFileError: its file is no sound model file.
    """
    styles: dict[str, LoadedStyle] = {}
    for text in dict.fromkeys(wanted):
        if not text:
            raise UsageError(
                "there are pictures without a style: give --style for those for which the list "
                "names none"
            )
        found = find_parts(text)
        parts, digest = [], hashlib.sha256()
        for path, share in found:
            model = load_file(path)  # raises an error that names the file
            is_file = not (is_picture(path) or is_training_checkpoint(path))
            data = path.read_bytes() if is_file else model_to_bytes(model.card, model.weights)
            digest.update(weights_sha256(model_from_bytes(data).weights).encode())
            digest.update(f" {share!r}\n".encode())
            parts.append((data, share))
        sha256, name = digest.hexdigest(), mixture_name([path.stem for path, _ in found])
        label = f"{name}@{sha256[:8]}"
        styles[text] = LoadedStyle(label, sha256, tuple(parts), name, identify_parts(found))
    return styles
