"""What a video has beside its pictures: sound, subtitles, chapters, attachments and titles.

Packets are copied as they are. What the output's container does not hold is converted; what cannot
be converted is left out and named.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av

from fast_style.video.reading import open_container

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet as _Packet

    Packet = _Packet[Any]
    from av.stream import Stream

__all__ = ["Extras"]

_TEXT_SUBTITLES = ("ass", "ssa", "subrip", "srt", "mov_text", "webvtt", "text")
_SUBTITLES = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
_SOUND = {"mp4": "aac", "mov": "aac", "matroska": "libopus", "webm": "libopus"}
_OPUS_RATES = (48000, 24000, 16000, 12000, 8000)
_OF_THE_FILE = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration")


@dataclass(slots=True, eq=False)
class _Track:
    """A stream of the input, and what makes packets of the output of its packets."""

    source: Stream
    target: Stream
    convert: Callable[[Packet | None], list[Packet]] | None = None


class Extras:
    """What is taken over from an input into one output."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str,
        *,
        audio: bool = True,
        start: float | None = None,
        end: float | None = None,
    ) -> None:
        """Open the input a second time.

        Args:
            path: of the input.
            name: what to call it in messages.
            audio: whether sound is taken over.
            start: time from which on, in seconds; it becomes 0.
            end: time until which, in seconds.
        """
        self.notes: list[str] = []
        self._container: InputContainer = open_container(path, name)
        self._audio = audio
        origin = Fraction(self._container.start_time or 0, av.time_base)
        self._start = None if start is None else origin + Fraction(start)
        self._end = None if end is None else origin + Fraction(end)
        self._tracks: dict[int, _Track] = {}
        self._only_positive = False

    def add_streams(self, output: OutputContainer, container: str) -> None:
        """Add a stream for each that is taken over, and the chapters and titles.

        Args:
            output: what is written.
            container: FFmpeg's name of its format.
        """
        self._only_positive = container in ("matroska", "webm")
        first_video = next(iter(self._container.streams.video), None)
        left_out: list[str] = []
        for stream in self._container.streams:
            if stream is first_video or (stream.type == "audio" and not self._audio):
                continue
            track = self._track(stream, output, container)
            if track is not None:
                self._tracks[stream.index] = track
            elif not (stream.type == "data" and self._container.chapters()):
                codec = getattr(stream.codec_context, "name", None)
                left_out.append(f"{stream.type}{f' ({codec})' if codec else ''}")
        if left_out:
            self.notes.append(f"left out, for {container} does not hold it: {', '.join(left_out)}")
        metadata = {
            key: value
            for key, value in self._container.metadata.items()
            if key.lower() not in _OF_THE_FILE
        }
        output.metadata.update(metadata)
        chapters = self._chapters()
        if chapters:
            output.set_chapters(chapters)

    def packets(self) -> Iterator[tuple[Fraction, Packet]]:
        """Return the packets for the output's streams, each with its time in seconds."""
        sources = [track.source for track in self._tracks.values()]
        if not sources:
            return
        if self._start is not None:
            at = int((self._start - 1) * av.time_base)
            self._container.seek(max(0, at), backward=True)
        with suppress(av.error.FFmpegError):  # the frames end there too, and report it
            for packet in self._container.demux(sources):
                if packet.size and packet.is_corrupt:
                    continue
                yield from self._moved(packet)
        for track in self._tracks.values():
            if track.convert is not None:
                yield from self._finished(track, track.convert(None))

    def close(self) -> None:
        """Close the input."""
        self._container.close()

    def _track(self, stream: Any, output: OutputContainer, container: str) -> _Track | None:
        """Add a stream to the output; None where it cannot hold it."""
        if stream.type == "attachment":
            if container != "matroska":
                return None
            output.add_attachment(stream.name or "attachment", stream.mimetype or "", stream.data)
            return _Track(stream, stream)
        if stream.type not in ("audio", "subtitle") or stream.codec_context is None:
            return None
        codec = stream.codec_context.name
        track = None
        wanted = _SUBTITLES[container]
        try:
            if stream.type == "subtitle" and container == "webm" and codec != wanted:
                raise ValueError("WebM holds WebVTT only")
            track = _Track(stream, output.add_stream_from_template(stream))
        except (ValueError, av.error.FFmpegError):
            if stream.type == "audio":
                track = self._recoded_sound(stream, output, _SOUND[container])
            elif codec in _TEXT_SUBTITLES:
                track = self._recoded_subtitles(stream, output, wanted)
        if track is not None:
            for key, value in stream.metadata.items():
                if key in ("language", "title", "handler_name"):
                    track.target.metadata[key] = value
            track.target.disposition = stream.disposition
        return track

    def _recoded_sound(self, stream: Any, output: OutputContainer, codec: str) -> _Track:
        context = stream.codec_context
        rate = context.sample_rate
        if codec == "libopus" and rate not in _OPUS_RATES:
            rate = 48000
        target: Any = output.add_stream(codec, rate=rate)
        target.codec_context.layout = context.layout
        target.codec_context.time_base = Fraction(1, rate)
        self.notes.append(
            f"the sound is converted from {context.name} to {codec.removeprefix('lib')}"
        )
        resampler: Any = None

        def convert(packet: Packet | None) -> list[Packet]:
            nonlocal resampler
            if resampler is None:
                resampler = av.AudioResampler(
                    format=target.codec_context.format,
                    layout=target.codec_context.layout,
                    rate=rate,
                    frame_size=target.codec_context.frame_size or 960,
                )
            made: list[Packet] = []
            for frame in stream.codec_context.decode(packet if packet and packet.size else None):
                for piece in resampler.resample(frame):
                    made += target.encode(piece)
            if packet is None:
                for piece in resampler.resample(None):
                    made += target.encode(piece)
                made += target.encode(None)
            return made

        return _Track(stream, target, convert)

    def _recoded_subtitles(self, stream: Any, output: OutputContainer, codec: str) -> _Track:
        target: Any = output.add_stream(codec)
        stream.codec_context.open(strict=False)
        target.codec_context.subtitle_header = stream.codec_context.subtitle_header
        target.codec_context.time_base = target.time_base = Fraction(1, 1000)
        self.notes.append(f"the subtitles are converted to {codec}")

        def convert(packet: Packet | None) -> list[Packet]:
            if packet is None or not packet.size or packet.pts is None:
                return []
            subtitle = stream.codec_context.decode2(packet)
            if subtitle is None:
                return []
            made = target.codec_context.encode_subtitle(subtitle)
            assert packet.time_base is not None
            made.pts = made.dts = round(packet.pts * packet.time_base * 1000)
            made.duration = round((packet.duration or 0) * packet.time_base * 1000)
            made.time_base = Fraction(1, 1000)
            return [made]

        return _Track(stream, target, convert)

    def _moved(self, packet: Packet) -> Iterator[tuple[Fraction, Packet]]:
        """Return what becomes of a packet of the input."""
        track = self._tracks.get(packet.stream_index)
        if track is None or not packet.size:
            return
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None or packet.time_base is None:
            return
        begin = time * packet.time_base
        finish = begin + (packet.duration or 0) * packet.time_base
        if self._start is not None and (finish <= self._start or begin < self._start - 1):
            return
        if self._end is not None and begin >= self._end:
            return
        if track.convert is not None:
            yield from self._finished(track, track.convert(packet))
        else:
            yield from self._finished(track, [packet])

    def _finished(self, track: _Track, packets: list[Packet]) -> Iterator[tuple[Fraction, Packet]]:
        for packet in packets:
            base = packet.time_base
            if self._start is not None and base is not None:
                back = round(self._start / base)
                packet.pts = None if packet.pts is None else packet.pts - back
                packet.dts = None if packet.dts is None else packet.dts - back
            packet.stream = track.target
            time = packet.dts if packet.dts is not None else packet.pts
            if self._only_positive and time is not None and time < 0:
                continue  # the muxer would shift all streams, and with them every frame
            yield Fraction(time or 0) * (base or 1), packet

    def _chapters(self) -> list[Any]:
        chapters = []
        for chapter in self._container.chapters():
            base = chapter["time_base"] or Fraction(1, av.time_base)
            begin, end = chapter["start"] * base, chapter["end"] * base
            begin = max(begin, self._start or begin)
            end = end if self._end is None else min(end, self._end)
            if begin < end:
                back = self._start or 0
                start, stop = round((begin - back) / base), round((end - back) / base)
                chapters.append({**chapter, "start": start, "end": stop, "time_base": base})
        return chapters
