"""The fingerprint of a model: a hash of its weights and a coarse picture that they computed.

It is written once and can be compared at any time. The hash shows whether the weights are still the
same bits. The picture, stored as an 8x8 grid of mean colours, shows whether they still compute the
same: another release of this package or of an engine, or a card with another grain, may change it.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.engines import Engine, create_engine
from fast_style.errors import ModelFileError
from fast_style.images.grain import add_grain
from fast_style.models.card import ModelCard
from fast_style.models.model_file import StyleModel, Weights, change_card, load_model
from fast_style.options import EngineOptions

VERSION = 1
GRID = 8
HEIGHT, WIDTH = 96, 128

TOLERANCES = {"fp32": 0.1, "fp16": 0.5, "bf16": 4.0}
"""The largest valid difference of a cell's mean colour, in levels of 255, for each precision.

A cell is the mean of 192 pixels that are rounded to whole levels. In float32, engines differ in the
order of their sums, which changes the rounding of single pixels: by 1/192 of a level between
OpenVINO, ONNX Runtime and torch on eight networks. With the 11 significant bits of fp16 and the 8
of bf16 in each of sixteen layers, it was up to 0.12 and 1.3 levels. The limits are three times
these or more; another style's picture differs by tens of levels."""


@dataclass(frozen=True, slots=True)
class FingerprintComparison:
    """The comparison of a model with its fingerprint.

    Attributes:
        sha256: hash of the model's weights.
        same_weights: whether the fingerprint has the same hash.
        difference: the largest difference of a cell's mean colour, in levels of 255.
        tolerance: the largest valid difference for the engine's precision.
    """

    sha256: str
    same_weights: bool
    difference: float
    tolerance: float

    @property
    def same_picture(self) -> bool:
        """Whether the picture is the fingerprint's, within the tolerance."""
        return self.difference <= self.tolerance


def photo_like(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> NDArray[np.uint8]:
    """Create a picture with the broad areas, edges and detail of a photo.

    It is noise at several scales, stronger at the coarser ones as in photos (Field 1987), and a
    disc with a sharp edge. It is the same on every machine: computed in whole numbers, from a
    generator whose stream numpy guarantees not to change.

    Args:
        height: in pixels, 1 or more.
        width: in pixels, 1 or more.
        seed: of the noise.

    Returns:
        RGB of shape (height, width, 3), uint8, values 0-255.
    """
    raw = np.random.PCG64(seed)
    rows, columns = np.arange(height), np.arange(width)
    total = np.zeros((height, width, 3), np.int64)
    weights = 0
    for cell, weight in ((64, 16), (32, 8), (16, 4), (8, 2), (4, 1)):
        grid_shape = (height // cell + 2, width // cell + 2, 3)
        values = raw.random_raw(int(np.prod(grid_shape))) >> np.uint64(56)
        grid = values.astype(np.int64).reshape(grid_shape)
        (top, down), (left, across) = divmod(rows, cell), divmod(columns, cell)
        down, across = down[:, None, None], across[None, :, None]
        upper: NDArray[np.int64] = (
            grid[top][:, left] * (cell - across) + grid[top][:, left + 1] * across
        )
        lower: NDArray[np.int64] = (
            grid[top + 1][:, left] * (cell - across) + grid[top + 1][:, left + 1] * across
        )
        total += weight * ((upper * (cell - down) + lower * down) // (cell * cell))
        weights += weight
    picture = 2 * (total // weights) - 128  # a mean of several scales has little contrast
    disc = (3 * rows[:, None] - 2 * height) ** 2 + (3 * columns - width) ** 2
    picture[disc < min(height, width) ** 2] //= 3
    return picture.clip(0, 255).astype(np.uint8)


def weights_sha256(weights: Weights) -> str:
    """Return the SHA-256 of a model's weights, which does not depend on how they are stored.

    It covers each parameter in the order of `parameter_shapes`: its name, its shape as text, and
    its values as little-endian float32.
    """
    digest = hashlib.sha256()
    for name, values in weights.items():
        digest.update(f"{name} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values, "<f4").tobytes())
    return digest.hexdigest()


def take_fingerprint(model: StyleModel) -> dict[str, Any]:
    """Compute a model's fingerprint, in float32 on the CPU.

    Returns:
        Plain JSON values for `ModelCard.fingerprint`.

    Raises:
        EngineError: no engine works here.
    """
    engine = create_engine(model, EngineOptions(device="cpu", precision="fp32"))
    return {
        "version": VERSION,
        "sha256": weights_sha256(model.weights),
        "picture": [round(float(mean), 2) for mean in _cells(model.card, engine).ravel()],
    }


def add_fingerprint(path: str | os.PathLike[str]) -> None:
    """Write the fingerprint of a model file into its card; the weights do not change.

    Raises:
        ModelFileError: the file is not a valid model file, or cannot be written.
        EngineError: no engine works here.
    """
    model = load_model(path)
    change_card(path, replace(model.card, fingerprint=take_fingerprint(model)))


def compare_fingerprint(model: StyleModel, engine: Engine) -> FingerprintComparison:
    """Compare a model with the fingerprint on its card.

    Args:
        model: a model whose card has a fingerprint.
        engine: an engine of that model; its precision sets the tolerance.

    Raises:
        ModelFileError: the fingerprint is damaged, or its version is newer.
    """
    sha256, picture = _read_fingerprint(model.card.fingerprint)
    found = weights_sha256(model.weights)
    difference = float(np.abs(_cells(model.card, engine) - picture).max())
    return FingerprintComparison(found, found == sha256, difference, TOLERANCES[engine.precision])


def _cells(card: ModelCard, engine: Engine) -> NDArray[np.float64]:
    """Return the mean colours of the picture's cells, (GRID, GRID, 3), in levels of 255."""
    pixels = add_grain(photo_like(), card.grain)
    stylized = engine.predict(pixels[None])[0]
    cells = stylized.reshape(GRID, HEIGHT // GRID, GRID, WIDTH // GRID, 3)
    result: NDArray[np.float64] = cells.mean(axis=(1, 3))
    return result


def _read_fingerprint(fingerprint: Mapping[str, Any]) -> tuple[str, NDArray[np.float64]]:
    """Check a card's fingerprint and return its hash and picture."""
    version, sha256, picture = (fingerprint.get(key) for key in ("version", "sha256", "picture"))
    if type(version) is int and version > VERSION:
        raise ModelFileError(
            "its fingerprint was written by a newer release: pip install --upgrade fast-style"
        )
    if (
        version != VERSION
        or not isinstance(sha256, str)
        or not isinstance(picture, list)
        or len(picture) != GRID * GRID * 3
        or not all(type(mean) in (int, float) and 0 <= mean <= 255 for mean in picture)
    ):
        raise ModelFileError("the fingerprint on its card is not valid")
    return sha256, np.array(picture, np.float64).reshape(GRID, GRID, 3)
