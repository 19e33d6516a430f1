"""Predict a style from any picture: a small network of its own, in one pass of the predictor."""

import hashlib
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fast_style.engines.base import GraphFunction
from fast_style.engines.cpu_graph import load_cpu_graph
from fast_style.engines.onnx.predictor_graph import (
    GRAPH_VERSION,
    MINIMUM_SIDE,
    PAINTING,
    STATISTICS,
    build_predictor_graph,
)
from fast_style.errors import UsageError
from fast_style.images import ImageSource, Photo, read_image, resize_long_side
from fast_style.images.photo import visible_pixels
from fast_style.models.card import ModelCard
from fast_style.models.model_file import StyleModel
from fast_style.models.predictor import (
    StylePredictor,
    load_predictor,
)
from fast_style.models.vgg_weights import load_vgg_weights
from fast_style.options import PredictionOptions
from fast_style.storage.background import BackgroundCall
from fast_style.storage.disk_cache import DiskCache

PREDICTED = DiskCache("predicted", limit=1000)
"""Predicted parameters, float32; 6 KB each."""


def predict_style(
    painting: ImageSource,
    *,
    name: str = "",
    style_size: int | None = None,
    cache: bool = True,
    predictor: StylePredictor | None = None,
) -> StyleModel:
    """Predict a style from a picture.

    Args:
        painting: as in `fast_style.read_image`; of a transparent picture, what is visible counts.
        name: the style's name; the file's name without its suffix if empty.
        style_size: long side to which the painting is resized, in pixels: larger gives larger
            strokes. None is the size that the predictor was trained on.
        cache: whether predictions are kept on disk, by the picture's content.
        predictor: the predictor; None is `load_predictor()`: the one that ships, or the file that
            the environment variable `FAST_STYLE_PREDICTOR` names.

    Returns:
        A model in memory, with a card that says that it was predicted.

    Raises:
        ImageError: the picture cannot be read.
        UsageError: the picture is too narrow, or has no visible pixel; or the size is out of the
            bounds of `PredictionOptions`.
        WeightsError: the predictor's file is missing or damaged.
    """
    predictor = predictor or load_predictor()
    size = PredictionOptions(style_size=style_size).style_size or predictor.style_size
    label = name or _label(painting)
    source, digest = _identify(painting, size)
    key = hashlib.sha256(f"{digest} {size} {predictor.digest}".encode()).hexdigest()
    kept = PREDICTED.load(key) if cache else None
    if kept is not None:
        parameters = np.frombuffer(kept, "<f4")
    else:
        loading = BackgroundCall(lambda: _load_graph(predictor))
        path = os.fsdecode(painting) if isinstance(painting, str | os.PathLike) else None
        photo = (
            source if isinstance(source, Photo) else read_image(source, at_least=size, name=path)
        )
        pixels = _prepare(photo, size, path or label)
        statistics = loading.result()({PAINTING: pixels[None]}, [STATISTICS])[STATISTICS][0]
        parameters = predictor.predict(statistics)
        if cache:
            PREDICTED.store(key, parameters.astype("<f4").tobytes())
    card = _make_card(label, predictor, digest, size)
    return StyleModel(card, predictor.fold(np.asarray(parameters, np.float32)))


def _make_card(label: str, predictor: StylePredictor, digest: str, size: int) -> ModelCard:
    return ModelCard(
        name=label,
        network=predictor.network,
        title=label,
        grain=predictor.grain,
        training={
            "predicted": True,
            # The file is in the name: networks of two predictors cannot be mixed by weights.
            "started_from": {**predictor.training, "name": f"predictor-{predictor.digest[:8]}"},
            "painting_sha256": digest,
            "style_size": size,
        },
    )


def _identify(painting: ImageSource, size: int) -> tuple[bytes | Photo, str]:
    """Read a painting and return its hash: a file's content, not yet decoded, or pixels."""
    if isinstance(painting, str | os.PathLike):
        with suppress(OSError):  # `read_image` has a sentence for it
            data = Path(painting).read_bytes()
            return data, hashlib.sha256(data).hexdigest()
    if isinstance(painting, bytes):
        return painting, hashlib.sha256(painting).hexdigest()
    photo = read_image(painting, at_least=size)
    content = hashlib.sha256(repr(photo.pixels.shape).encode())
    for plane in (photo.pixels, photo.alpha):
        content.update(b"" if plane is None else plane.tobytes())
    return photo, content.hexdigest()


def _label(painting: ImageSource) -> str:
    if isinstance(painting, str | os.PathLike):
        return Path(os.fsdecode(painting)).stem or "painting"
    return "painting"


def _prepare(photo: Photo, size: int, label: str) -> NDArray[np.uint8]:
    """Fill transparent parts, and resize to `size`."""
    pixels = visible_pixels(photo, label)
    resized = resize_long_side(pixels, size, enlarge=True)
    if min(resized.shape[:2]) < MINIMUM_SIDE:
        raise UsageError(
            f"{label} is {photo.width}x{photo.height} pixels, too narrow for a style: expected a "
            f"long side of at most {size // MINIMUM_SIDE} times the short one; crop it"
        )
    return np.ascontiguousarray(resized)


@lru_cache(maxsize=2)
def _load_graph(predictor: StylePredictor) -> GraphFunction:
    """Load a predictor's graph, once for the process."""
    return load_cpu_graph(
        lambda: build_predictor_graph(predictor, load_vgg_weights()),
        f"predictor {predictor.digest}, graph {GRAPH_VERSION}",
    )
