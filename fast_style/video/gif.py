"""Animated GIF: one palette for the whole clip, so that colours do not flicker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av

from fast_style.video.encoding import Encoding

if TYPE_CHECKING:
    from av.packet import Packet as _Packet

    Packet = _Packet[Any]

__all__ = ["encode_gif"]

_TICK = Fraction(1, 100)


def encode_gif(
    stream: Any, encoding: Encoding, frames: Callable[[], Iterator[av.VideoFrame]], offset: int
) -> Iterator[Packet]:
    """Encode frames, in two passes: the palette, then the frames in it.

    Args:
        stream: of the output.
        encoding: of the frames.
        frames: starts a pass over the frames.
        offset: the tick that becomes 0.
    """
    stream.codec_context.time_base = stream.time_base = _TICK
    palette = _palette(encoding, frames())
    graph = av.filter.Graph()
    source = _source(graph, encoding)
    colors = _source(graph, encoding, width=16, height=16, name="palette")
    use = graph.add("paletteuse", "dither=sierra2_4a:diff_mode=rectangle")
    sink = graph.add("buffersink")
    source.link_to(use, 0, 0)
    colors.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    colors.push(palette)
    colors.push(None)
    last = -1
    for frame in frames():
        seconds = ((frame.pts or 0) - offset) * encoding.time_base
        # Hundredths of a second; no two frames in the same.
        last = max(last + 1, round(seconds / _TICK))
        length = max(1, round(frame.duration * encoding.time_base / _TICK))
        source.push(_as_rgb(frame, encoding))
        for mapped in _pulled(sink):
            mapped.pts, mapped.time_base, mapped.duration = last, _TICK, length
            yield from stream.encode(mapped)
    source.push(None)
    yield from stream.encode(None)


def _palette(encoding: Encoding, frames: Iterator[av.VideoFrame]) -> av.VideoFrame:
    graph = av.filter.Graph()
    source = _source(graph, encoding)
    options = f"stats_mode=full:reserve_transparent={int(encoding.alpha)}"
    make = graph.add("palettegen", options)
    sink = graph.add("buffersink")
    source.link_to(make)
    make.link_to(sink)
    graph.configure()
    for frame in frames:
        source.push(_as_rgb(frame, encoding))
    source.push(None)
    palette = sink.pull()
    assert isinstance(palette, av.VideoFrame)
    return palette


def _source(
    graph: Any, encoding: Encoding, *, width: int = 0, height: int = 0, name: str = "frames"
) -> Any:
    return graph.add_buffer(
        width=width or encoding.width,
        height=height or encoding.height,
        format="bgra",
        time_base=encoding.time_base,
        name=name,
    )


def _as_rgb(frame: av.VideoFrame, encoding: Encoding) -> av.VideoFrame:
    result = frame.reformat(format="bgra")
    result.pts, result.time_base = frame.pts, encoding.time_base
    return result


def _pulled(sink: Any) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield sink.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
