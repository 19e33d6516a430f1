"""Large pictures in strips of rows, with the same result as stylizing them whole.

Instance norm uses statistics of the whole picture, so independent tiles would show seams and differ
in style. Statistics estimated from a thumbnail (Chen et al. 2022, URST) or from a sample of tiles
are not accurate enough: on photos of 4 megapixels, the picture stayed below 32 dB from the whole
one. Here the network runs stage by stage (`engines.onnx.stage_graphs`): every stage runs over the
picture in strips and ends with the exact statistics of the next norm. Only the trunk's features
stay in memory, in float16.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.engines import GraphEngine, GraphFunction
from fast_style.engines.onnx.graph import OUTPUT, statistics_shape
from fast_style.engines.onnx.stage_graphs import (
    BASE,
    IMAGE,
    MEASURED,
    NEXT_BASE,
    NEXT_RAW,
    RAW,
    GraphStage,
    build_stage_graph,
    plan_graph_stages,
)
from fast_style.models.config import NetworkConfig, norm_slices, total_stride
from fast_style.models.model_file import StyleModel

Arrays = Mapping[str, NDArray[Any]]

STRIP_SIDE = 1024
"""Side of a square with as many pixels as a strip: its halo and the calls cost little."""

_ROW_AXIS = {IMAGE: 1, OUTPUT: 1, RAW: 2, BASE: 2}
_DESTINATIONS = {NEXT_RAW: RAW, NEXT_BASE: BASE, OUTPUT: OUTPUT}


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows [first, last) of the trunk's features, and the window [start, stop) they depend on.

    All windows have the same height, also at the edges of the picture where half of the halo is not
    needed: engines prepare themselves again for every new shape.
    """

    first: int
    last: int
    start: int
    stop: int
    is_end: bool


def plan_strips(trunk_rows: int, rows_each: int, halo: int) -> list[Strip]:
    """Divide rows into strips.

    Args:
        trunk_rows: rows of the trunk's features, 1 or more.
        rows_each: rows of a strip, 1 or more; the last one has what is left.
        halo: further rows that a strip needs above and below.
    """
    window = min(trunk_rows, rows_each + 2 * halo)
    strips = []
    for first in range(0, trunk_rows, rows_each):
        last = min(first + rows_each, trunk_rows)
        start = min(max(0, first - halo), trunk_rows - window)
        strips.append(Strip(first, last, start, start + window, last == trunk_rows))
    return strips


def shortest_side(config: NetworkConfig) -> int:
    """Return the shortest side in pixels of a picture that can be stylized in strips."""
    return 4 * total_stride(config)


def sweep(
    model: StyleModel,
    engine: GraphEngine,
    pixels: NDArray[np.uint8],
    strip_pixels: int = STRIP_SIDE**2,
) -> NDArray[np.uint8]:
    """Stylize one large picture in bounded memory.

    Args:
        model: the style.
        engine: runs the stages.
        pixels: uint8 RGB, shape (H, W, 3), values 0-255, both sides of `shortest_side` or more.
        strip_pixels: approximate number of pixels of a strip.

    Returns:
        The stylized picture, of the same shape and type.
    """
    config, weights = model.card.network, model.weights
    height, width = pixels.shape[:2]
    stride = total_stride(config)
    trunk = (-(-height // stride), -(-width // stride))
    # At least 8 rows: fewer would cost more in overhead and halo than in work.
    rows_each = max(8, round(strip_pixels / (stride * trunk[1]) / stride))
    stored: dict[str, NDArray[Any]] = {IMAGE: np.ascontiguousarray(pixels)[None]}
    statistics = np.zeros(statistics_shape(config), np.float32)
    slices = norm_slices(config)
    for stage in plan_graph_stages(config):
        strips = plan_strips(trunk[0], rows_each, stage.halo)
        run = engine.load_graph(build_stage_graph(config, weights, stage, statistics))
        results = _allocate_results(stage, stored, trunk)
        total = _measured_side(stage, height, trunk[0])
        measured = [
            result[MEASURED][0, :, _rows(strip, stage.rows_out, total, from_window=True)]
            for strip, result in _run_strips(run, stage, strips, stored, results)
            if MEASURED in result
        ]
        stored |= results
        if measured:
            across = _measured_side(stage, width, trunk[1])
            rows = np.concatenate(measured, axis=1)
            statistics[:, slices[stage.norm]] = _pool_rows(rows, across)
    picture: NDArray[np.uint8] = stored[OUTPUT][0]
    return picture


def _allocate_results(
    stage: GraphStage, stored: dict[str, NDArray[Any]], trunk: tuple[int, int]
) -> dict[str, NDArray[Any]]:
    """Return an array for each result that a stage stores: the one that is there, if it fits."""
    results = {}
    for name, channels in stage.outputs.items():
        destination = _DESTINATIONS.get(name)
        if destination == OUTPUT:
            stored.pop(RAW, None)  # its memory is not needed any more
            results[OUTPUT] = np.empty_like(stored[IMAGE])
        elif destination is not None:
            shape = (1, channels, *trunk)
            array = stored.get(destination)
            if array is None or array.shape != shape:
                array = np.empty(shape, np.float16)
            results[destination] = array
    return results


def _run_strips(
    run: GraphFunction,
    stage: GraphStage,
    strips: list[Strip],
    stored: Mapping[str, NDArray[Any]],
    results: Mapping[str, NDArray[Any]],
) -> Iterator[tuple[Strip, Arrays]]:
    """Run a stage on every strip and store its features, which may overwrite what it reads.

    A strip's result is written once no later strip's window overlaps it.
    """
    waiting: deque[tuple[Strip, Arrays]] = deque()
    for strip in strips:
        inputs: dict[str, NDArray[Any]] = {}
        for name in stage.inputs:
            axis = _ROW_AXIS[name]
            # The last window of a picture may end with a part of a stride.
            stop = None if strip.is_end else strip.stop * stage.rows_in
            rows = slice(strip.start * stage.rows_in, stop)
            inputs[name] = stored[name][(slice(None),) * axis + (rows,)]
        while waiting and waiting[0][0].last <= strip.start:
            _store_rows(*waiting.popleft(), stage, results)
        result = run(inputs, list(stage.outputs))
        yield strip, result
        waiting.append((strip, result))
    for late in waiting:
        _store_rows(*late, stage, results)


def _store_rows(
    strip: Strip, result: Arrays, stage: GraphStage, results: Mapping[str, NDArray[Any]]
) -> None:
    for name, destination in _DESTINATIONS.items():
        if name in result:
            array, before = results[destination], (slice(None),) * _ROW_AXIS[destination]
            scale = stage.rows_out if destination == OUTPUT else 1
            total = array.shape[_ROW_AXIS[destination]]
            target = array[(*before, _rows(strip, scale, total))]
            source = result[name][(*before, _rows(strip, scale, total, from_window=True))]
            # The network returns whole strides; the picture may end before.
            target[...] = source[:, :, : target.shape[2]]


def _rows(strip: Strip, scale: int, total: int, *, from_window: bool = False) -> slice:
    """Return a strip's rows, with `scale` rows for each of the trunk's, of `total` in the picture.

    Counted from the top of the picture, or of the strip's window.
    """
    start = strip.start * scale if from_window else 0
    last = total if strip.is_end else strip.last * scale
    return slice(strip.first * scale - start, last - start)


def _measured_side(stage: GraphStage, side: int, trunk_side: int) -> int:
    """Return how many rows or columns a norm reads: whole strides after the trunk only."""
    if IMAGE in stage.inputs:
        return -(-side * stage.rows_out // stage.rows_in)
    return trunk_side * stage.rows_out


def _pool_rows(rows: NDArray[np.float32], width: int) -> NDArray[np.float64]:
    """Return mean and variance over all rows, (2, C), from each row's mean and norm, (C, H, 2).

    In float64, so that the difference of the squares loses no precision.
    """
    wide = rows.astype(np.float64)
    mean = wide[..., 0].mean(axis=1)
    square = (wide[..., 1] ** 2).mean(axis=1) / width
    return np.stack([mean, np.maximum(square - mean**2, 0.0)])
