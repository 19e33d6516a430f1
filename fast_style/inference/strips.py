"""Large pictures in strips of rows, exactly as if they had been stylized whole.

Instance norm takes its statistics over the whole picture, so tiles on their own would show seams
and drift in style. Statistics guessed from a thumbnail (Chen et al. 2022, URST) or from a sample of
tiles do not come close enough: on photos of 4 megapixels they stayed below 32 dB from the whole
picture. So the network is swept stage by stage (`stage_graphs`): every stage goes over the picture
in strips and ends with the exact statistics of the next norm. Only the trunk's features stay in
memory, in float16 at a quarter of the resolution.
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
    Stage,
    build_stage,
    plan_stages,
)
from fast_style.models.config import STRIDE, NetworkConfig, norm_layers
from fast_style.models.model_file import StyleModel

Arrays = Mapping[str, NDArray[Any]]

STRIP_PIXELS = 1 << 20
"""Pixels of a strip: large enough that its halo and the calls cost little."""

SHORTEST_SIDE = 4 * STRIDE
"""Shortest side that strips and their halo need; narrower pictures are small anyway."""

_ROW_AXIS = {IMAGE: 1, OUTPUT: 1, RAW: 2, BASE: 2}


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows [first, last) of the trunk's features, and the rows [start, stop) they are made from.

    The window is as high for every strip, at the edges of the picture too, where half of its halo
    is not needed: engines prepare themselves anew for every shape they have not seen.
    """

    first: int
    last: int
    start: int
    stop: int
    is_end: bool


def plan_strips(trunk_rows: int, rows_each: int, halo: int) -> list[Strip]:
    """Cut a number of rows into strips.

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


def sweep(
    model: StyleModel,
    engine: GraphEngine,
    pixels: NDArray[np.uint8],
    strip_pixels: int = STRIP_PIXELS,
) -> NDArray[np.uint8]:
    """Stylize one large picture in bounded memory.

    Args:
        model: the style.
        engine: what runs the stages.
        pixels: uint8 RGB, shape (H, W, 3), values 0-255, both sides of `SHORTEST_SIDE` or more.
        strip_pixels: about how many pixels a strip may have.

    Returns:
        The stylized picture, of the same shape and type.
    """
    config, weights = model.card.network, model.weights
    height, width = pixels.shape[:2]
    trunk = (-(-height // STRIDE), -(-width // STRIDE))
    # Not so many that the engines' own overhead counts, nor fewer rows than a halo.
    rows_each = max(8, round(strip_pixels / (STRIDE * trunk[1]) / STRIDE))
    pictures = np.ascontiguousarray(pixels)[None]
    stored: dict[str, NDArray[Any]] = {IMAGE: pictures}
    statistics = np.zeros(statistics_shape(config), np.float32)
    starts = _norm_starts(config)
    for stage in plan_stages(config):
        strips = plan_strips(trunk[0], rows_each, stage.halo)
        total = _measured_side(stage, height, trunk[0])
        run = engine.load_graph(build_stage(config, weights, stage, statistics))
        for name, place in ((NEXT_RAW, RAW), (NEXT_BASE, BASE)):
            if name in stage.outputs and place not in stored:
                stored[place] = np.empty((1, 4 * config.width, *trunk), np.float16)
        if not stage.norm:
            stored.pop(RAW, None)
            stored[OUTPUT] = np.empty_like(pictures)
        measured = [
            result[MEASURED][0, :, _rows(strip, stage.rows_out, total, from_window=True)]
            for strip, result in _run_strips(run, stage, strips, stored)
            if MEASURED in result
        ]
        if measured:
            across = _measured_side(stage, width, trunk[1])
            found = _pooled(np.concatenate(measured, axis=1), across)
            start = starts[stage.norm]
            statistics[:, start : start + found.shape[1]] = found
    result: NDArray[np.uint8] = stored[OUTPUT][0]
    return result


def _run_strips(
    run: GraphFunction, stage: Stage, strips: list[Strip], stored: dict[str, NDArray[Any]]
) -> Iterator[tuple[Strip, Arrays]]:
    """Run a stage on every strip and keep its features, in the very arrays that it reads from.

    A strip's result is written once no later strip's window reaches into it.
    """
    waiting: deque[tuple[Strip, Arrays]] = deque()
    for strip in strips:
        inputs: dict[str, NDArray[Any]] = {}
        for name in stage.inputs:
            axis = _ROW_AXIS[name]
            # Up to three rows at the picture's bottom belong to a stride that is not whole.
            stop = None if strip.is_end else strip.stop * stage.rows_in
            rows = slice(strip.start * stage.rows_in, stop)
            inputs[name] = stored[name][(slice(None),) * axis + (rows,)]
        while waiting and waiting[0][0].last <= strip.start:
            _store(waiting.popleft(), stored)
        result = run(inputs, stage.outputs)
        yield strip, result
        waiting.append((strip, result))
    for late in waiting:
        _store(late, stored)


def _store(waiting: tuple[Strip, Arrays], stored: dict[str, NDArray[Any]]) -> None:
    strip, result = waiting
    for name, place, scale in ((NEXT_RAW, RAW, 1), (NEXT_BASE, BASE, 1), (OUTPUT, OUTPUT, STRIDE)):
        if name in result:
            kept, before = stored[place], (slice(None),) * _ROW_AXIS[place]
            total = kept.shape[_ROW_AXIS[place]]
            target = kept[(*before, _rows(strip, scale, total))]
            source = result[name][(*before, _rows(strip, scale, total, from_window=True))]
            # The network gives whole strides; the picture may end before.
            target[...] = source[:, :, : target.shape[2]]


def _rows(strip: Strip, scale: int, total: int, *, from_window: bool = False) -> slice:
    """The rows that a strip gives, at `scale` of the trunk's, of the picture or of its window."""
    start = strip.start * scale if from_window else 0
    last = total if strip.is_end else strip.last * scale
    return slice(strip.first * scale - start, last - start)


def _norm_starts(config: NetworkConfig) -> dict[str, int]:
    """Where the channels of each stage's norm begin among the statistics."""
    starts, total = {}, 0
    for name, channels in norm_layers(config).items():
        starts[name.removesuffix(".norm")] = total
        total += channels
    return starts


def _measured_side(stage: Stage, side: int, trunk_side: int) -> int:
    """Rows or columns that a norm sees: the picture's going down, whole strides going up."""
    if stage.inputs == (IMAGE,):
        return -(-side * stage.rows_out // STRIDE)
    return trunk_side * stage.rows_out


def _pooled(rows: NDArray[np.float32], width: int) -> NDArray[np.float64]:
    """Mean and variance over all rows, (2, C), from each row's mean and norm, (C, H, 2).

    In float64, so that the difference of the squares loses nothing that was there.
    """
    wide = rows.astype(np.float64)
    mean = wide[..., 0].mean(axis=1)
    square = (wide[..., 1] ** 2).mean(axis=1) / width
    return np.stack([mean, np.maximum(square - mean**2, 0.0)])
