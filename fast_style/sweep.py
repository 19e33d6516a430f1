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

from fast_style.architecture import STRIDE
from fast_style.checkpoint import StyleModel
from fast_style.engines import GraphEngine, Run
from fast_style.graph import OUTPUT, statistics_shape
from fast_style.stage_graphs import (
    BASE,
    IMAGE,
    MEASURED,
    NEXT_BASE,
    NEXT_RAW,
    RAW,
    ROWS,
    Stage,
    build_stage,
    plan_stages,
)

Arrays = Mapping[str, NDArray[Any]]

STRIP_PIXELS = 1 << 20
"""Pixels of a strip: large enough that its halo and the calls cost little."""

SHORTEST_SIDE = 4 * STRIDE
"""Shortest side that strips and their halo need; narrower pictures are small anyway."""

_TO_THE_END = 1 << 30


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
    trunk = (-(-height // STRIDE), -(-width // STRIDE), 4 * config.width)
    # Not so many that the engines' own overhead counts, nor fewer rows than a halo.
    rows_each = max(8, round(strip_pixels / (STRIDE * trunk[1]) / STRIDE))
    pictures = np.ascontiguousarray(pixels)[None]
    stored: dict[str, NDArray[Any]] = {IMAGE: pictures}
    statistics = np.zeros(statistics_shape(config), np.float32)
    n_known = 0
    for stage in plan_stages(config):
        strips = plan_strips(trunk[0], rows_each, stage.halo)
        run = engine.load_graph(build_stage(config, weights, stage, statistics))
        for name, place in ((NEXT_RAW, RAW), (NEXT_BASE, BASE)):
            if name in stage.outputs and place not in stored:
                stored[place] = np.empty((1, *trunk), np.float16)
        if not stage.norm:
            del stored[RAW]
            stored[OUTPUT] = np.empty_like(pictures)
        measured = [
            (_rows_kept(stage, strip, height, trunk[0]), result[MEASURED][0])
            for strip, result in _run_strips(run, stage, strips, stored)
            if MEASURED in result
        ]
        if measured:
            found = _pooled(measured)
            statistics[:, n_known : n_known + found.shape[1]] = found
            n_known += found.shape[1]
    result: NDArray[np.uint8] = stored[OUTPUT][0]
    return result


def _run_strips(
    run: Run, stage: Stage, strips: list[Strip], stored: dict[str, NDArray[Any]]
) -> Iterator[tuple[Strip, Arrays]]:
    """Run a stage on every strip and keep its features, in the very arrays that it reads from.

    A strip's result is written once no later strip's window reaches into it.
    """
    waiting: deque[tuple[Strip, Arrays]] = deque()
    for strip in strips:
        # Up to three rows at the picture's bottom belong to a stride that is not whole.
        rows = slice(
            strip.start * stage.rows_in, None if strip.is_end else strip.stop * stage.rows_in
        )
        inputs: dict[str, NDArray[Any]] = {name: stored[name][:, rows] for name in stage.inputs}
        first = (strip.first - strip.start) * stage.rows_out
        last = (strip.last - strip.start) * stage.rows_out
        inputs[ROWS] = np.array([first, _TO_THE_END if strip.is_end else last], np.int64)
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
            rows = slice(strip.first * scale, _TO_THE_END if strip.is_end else strip.last * scale)
            # The network gives whole strides; the picture may end before.
            target = stored[place][:, rows]
            target[...] = result[name][:, : target.shape[1], : target.shape[2]]


def _rows_kept(stage: Stage, strip: Strip, height: int, trunk_rows: int) -> int:
    """How many rows a stage measured: those of the picture going down, whole strides going up."""
    if stage.inputs == (IMAGE,):
        total = -(-height * stage.rows_out // STRIDE)
    else:
        total = trunk_rows * stage.rows_out
    last = total if strip.is_end else strip.last * stage.rows_out
    return last - strip.first * stage.rows_out


def _pooled(measured: list[tuple[int, NDArray[Any]]]) -> NDArray[np.float64]:
    """Mean and variance over all strips from each strip's own, (2, C)."""
    counts = np.array([count for count, _ in measured], np.float64)[:, None]
    parts = np.stack([part for _, part in measured]).astype(np.float64)
    shares = counts / counts.sum()
    mean = (shares * parts[:, 0]).sum(axis=0)
    variance = (shares * (parts[:, 1] + (parts[:, 0] - mean) ** 2)).sum(axis=0)
    return np.stack([mean, variance])
