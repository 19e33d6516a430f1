"""Putting an output file together: the parts' pictures, and what else the input has."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from fast_style.errors import VideoError
from fast_style.video.encoding import PICTURE_CONTAINERS, Encoding, configure, to_frame
from fast_style.video.extras import Extras
from fast_style.video.gif import encode_gif
from fast_style.video.parts import PartsFolder

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet as _Packet

    Packet = _Packet[Any]

__all__ = ["write_video"]


def write_video(
    path: Path,
    encoding: Encoding,
    parts: PartsFolder,
    extras: Extras | None,
    *,
    offset: int = 0,
) -> list[str]:
    """Write an output file beside its place, and move it there once it is complete.

    Args:
        path: of the output.
        encoding: how the video is encoded.
        parts: the frames; lossless if the encoding is one `at_once`.
        extras: what else the input has, or None.
        offset: the tick of the input that becomes 0.

    Returns:
        What the user should be told.

    Raises:
        VideoError: it cannot be written.
        OSError: likewise.
    """
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".fast-style-{secrets.token_hex(8)}.tmp"
    try:
        with av.open(
            str(temporary),
            "w",
            format=encoding.container,
            container_options=_container_options(encoding, parts),
        ) as output:
            _write(output, encoding, parts, extras, offset)
        os.replace(temporary, target)
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: it cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return [] if extras is None else extras.notes


def _write(
    output: OutputContainer,
    encoding: Encoding,
    parts: PartsFolder,
    extras: Extras | None,
    offset: int,
) -> None:
    if encoding.container in PICTURE_CONTAINERS:
        extras = None
    stream: Any = output.add_stream(encoding.encoder, rate=encoding.rate)
    configure(stream.codec_context, encoding)
    stream.time_base = encoding.time_base
    if extras is not None:
        extras.add_streams(output, encoding.container)
    video: Iterator[Packet]
    if encoding.codec == "gif":
        frames = partial(_frames, parts, encoding)
        video = encode_gif(stream, encoding, frames, parts.frames, offset)
    elif encoding.at_once:
        video = _encoded(stream, encoding, parts, offset)
    else:
        video = _stored(stream, encoding, parts, offset)
    timed = ((Fraction(packet.dts or 0) * (packet.time_base or 1), packet) for packet in video)
    for packet in _merged(timed, iter(()) if extras is None else extras.packets()):
        output.mux(packet)


def _container_options(encoding: Encoding, parts: PartsFolder) -> dict[str, str]:
    """Return the options of the muxer."""
    plays = encoding.plays
    if encoding.container in ("mp4", "mov"):
        return {"movflags": "+faststart"}  # the index in front, so that it plays while it loads
    if encoding.container not in ("gif", "apng"):
        return {"loop": str(plays)} if encoding.container == "webp" else {}
    # Both muxers tell a frame's length by the next one's time, and need the last one's.
    last = max((packet for packet, _ in parts.packets()), key=lambda packet: packet.pts)
    seconds = last.duration * encoding.time_base
    if encoding.container == "gif":  # it counts repetitions, -1 for none, and hundredths
        loop = str(plays - 1 if plays > 1 else -plays)
        return {"loop": loop, "final_delay": str(round(100 * seconds) or -1)}
    return {"plays": str(plays), **({"final_delay": str(seconds)} if seconds else {})}


def _merged(
    first: Iterator[tuple[Fraction, Packet]], second: Iterator[tuple[Fraction, Packet]]
) -> Iterator[Packet]:
    """Return the packets of both in the order of their times, so that little must be held."""
    one, other = next(first, None), next(second, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] <= other[0]):
            assert one is not None
            yield one[1]
            one = next(first, None)
        else:
            yield other[1]
            other = next(second, None)


def _stored(stream: Any, encoding: Encoding, parts: PartsFolder, offset: int) -> Iterator[Packet]:
    for stored, decoding_time in parts.packets():
        packet = av.Packet(stored.data)
        packet.pts, packet.dts = stored.pts - offset, decoding_time - offset
        packet.duration = stored.duration
        packet.time_base = encoding.time_base
        packet.is_keyframe = stored.is_key
        packet.stream = stream
        yield packet


def _frames(parts: PartsFolder, encoding: Encoding) -> Iterator[av.VideoFrame]:
    """Decode the frames of lossless parts."""
    decoder: Any = av.CodecContext.create("ffv1", "r")
    decoder.width, decoder.height = encoding.width, encoding.height
    decoder.extradata = parts.extradata()
    for stored, _ in parts.packets():
        packet = av.Packet(stored.data)
        packet.pts = packet.dts = stored.pts
        packet.time_base = encoding.time_base
        for frame in decoder.decode(packet):
            frame.pts, frame.time_base = stored.pts, encoding.time_base
            frame.duration = stored.duration
            yield frame


def _encoded(stream: Any, encoding: Encoding, parts: PartsFolder, offset: int) -> Iterator[Packet]:
    end = duration = 0
    for frame in _frames(parts, encoding):
        rgba: Any = frame.to_ndarray(format="rgba")
        alpha = rgba[..., 3] if encoding.alpha else None
        pts, duration = (frame.pts or 0) - offset, frame.duration
        end = pts + duration
        yield from stream.encode(to_frame(encoding, rgba[..., :3], alpha, pts, duration))
    for packet in stream.encode(None):
        if encoding.codec == "webp":
            yield _mended_webp(packet, encoding, end if duration else None)
        else:
            yield packet


def _mended_webp(packet: Packet, encoding: Encoding, end: int | None) -> Packet:
    """Mend what the encoder leaves open: the length of the last frame, and the mark of alpha.

    It guesses the length, and leaves out the mark where transparent borders are cut off and what is
    left of every frame is opaque.

    Args:
        packet: the whole file: RIFF chunks, of which each `ANMF` is a frame.
        encoding: of the frames.
        end: when the animation ends, in ticks; None where that is not known.
    """
    data = bytearray(bytes(packet))
    at, last, before = 12, None, 0
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind == b"VP8X" and encoding.alpha:
            data[at + 8] |= 0x10
        elif kind == b"ANMF":
            if last is not None:
                before += int.from_bytes(data[last : last + 3], "little")
            last = at + 8 + 12  # after the frame's place and size
        at += 8 + size + size % 2
    if last is not None and end is not None:
        length = round(1000 * end * encoding.time_base) - before
        data[last : last + 3] = max(1, length).to_bytes(3, "little")
    made = av.Packet(bytes(data))
    made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
    made.stream = packet.stream
    return made
