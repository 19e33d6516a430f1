"""Reading videos by PyAV: upright RGB frames with their exact times."""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import Interpolation

from fast_style.errors import VideoError
from fast_style.video.colors import stream_colors, swscale_matrix, written_colors
from fast_style.video.source import (
    Pixels,
    Position,
    SourceFrame,
    VideoInfo,
    checksum,
)
from fast_style.video.tone_mapping import map_tones

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["ContainerSource", "open_container"]

_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_REDUCING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

_SEEK_MARGIN = 2.0
"""Seconds before a position at which decoding begins: over the start of a group of pictures, whose
first pictures may refer to the group before."""

_MISSING_SECONDS = 1.0  # a video stream that ends so long before its own stated length is damaged


_FORMATS = (
    "3dostr,amv,apng,asf,av1,avi,avs2,avs3,bink,cavsvideo,dirac,dnxhd,dv,dvbtxt,evc,ffmetadata,flac,"
    "flic,flv,gif,gxf,h261,h263,h264,hevc,ifv,ipmovie,ivf,ivr,live_flv,lvf,lxf,m4v,matroska,webm,"
    "mjpeg,mlv,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,mpegvideo,mtv,mvi,mxf,nsv,nut,nuv,obu,ogg,"
    "pmp,r3d,rm,roq,rpl,sdr2,smk,swf,tmv,ty,vc1,vc1test,viv,vvc,wav,webp_pipe,wsvqa,wtv,wv,xmv,"
    "yuv4mpegpipe,yop"
)
"""Formats whose files hold the video itself. A playlist could name any file of this machine."""


def open_container(source: str | os.PathLike[str] | BinaryIO, name: str) -> InputContainer:
    """Open a video file.

    Args:
        source: a path, or a stream of bytes.
        name: what to call it in messages.

    Raises:
        VideoError: it is no video that can be read.
        OSError: it cannot be opened.
    """
    try:
        return av.open(
            os.fspath(source) if not hasattr(source, "read") else source,
            mode="r",
            container_options={"format_whitelist": _FORMATS},
        )
    except (av.error.InvalidDataError, av.error.ArgumentError, av.error.EOFError) as error:
        raise VideoError(
            f"{name}: expected a video, and its contents are of no format that is known, or end at "
            "once"
        ) from error
    except av.error.FFmpegError as error:
        raise VideoError(f"{name}: {error.strerror or error}") from error


class ContainerSource:
    """The first video stream of a file; see `Source`."""

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        name: str,
        *,
        size: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> None:
        """Open the file and look at its first frame.

        Args:
            source: a path, or a stream of bytes.
            name: what to call it in messages.
            size: longest long side; larger frames are made smaller.
            start: time of the first frame wanted, in seconds from the start of the file.
            end: time before which the last frame wanted is shown, in seconds.

        Raises:
            VideoError: there is no video in it, or not a single frame.
        """
        self.notes: list[str] = []
        self.damage: str | None = None
        self._source, self._name, self._size = source, name, size
        self._container = open_container(source, name)
        self._stream = self._video_stream()
        origin = self._container.start_time or 0
        self._start = None if start is None else self._ticks(start, origin)
        self._end = None if end is None else self._ticks(end, origin)
        self.origin = self._start or 0
        self._decoder = self._choose_decoder()
        self._packets = self._container.demux(self._stream)
        first = self._first_frame()
        self._colors = stream_colors(first)
        self._turns, self._flipped = _orientation(first)
        self.info = self._describe(first)

    def frames(self, after: Position | None = None) -> Iterator[SourceFrame]:
        """Return the frames in order; see `Source.frames`."""
        if after is not None:
            decoded = self._continued(after)
        elif self._start is not None:
            decoded = self._sought(self._start)
        else:
            decoded = self._timed(self._begun)
        for frame, pts in decoded:
            if self._end is not None and pts >= self._end:
                return
            if self._start is None or pts >= self._start:
                yield self._converted(frame, pts)
        self._check_end()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    # Opening

    def _video_stream(self) -> VideoStream:
        streams = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic
        ]
        if not streams:
            what = ", ".join(sorted({s.type for s in self._container.streams})) or "nothing"
            raise VideoError(f"{self._name}: expected a video, and there is only {what} in it")
        if len(streams) > 1:
            self.notes.append(f"it has {len(streams)} video streams, and the first is used")
        streams[0].thread_type = "AUTO"
        return streams[0]

    def _ticks(self, seconds: float, origin: int) -> int:
        assert self._stream.time_base is not None
        exact = Fraction(origin, av.time_base) + Fraction(seconds).limit_denominator(10**6)
        return math.ceil(exact / self._stream.time_base)

    def _choose_decoder(self) -> Any:
        """Return what decodes packets: the decoder of libvpx where there is alpha.

        FFmpeg's own decoder of VP8 and VP9 drops the alpha plane.
        """
        context = self._stream.codec_context
        if self._stream.metadata.get("alpha_mode") == "1" and context.name in ("vp8", "vp9"):
            with suppress(av.error.FFmpegError, ValueError):
                decoder = av.CodecContext.create(
                    "libvpx" if context.name == "vp8" else "libvpx-vp9", "r"
                )
                decoder.extradata = context.extradata
                return decoder
        return context

    def _first_frame(self) -> VideoFrame:
        decoded = self._decoded()
        first = next(decoded, None)
        if first is None:
            self.close()
            reason = self.damage or "there is not a single frame in it"
            raise VideoError(f"{self._name}: expected a video, and {reason}")
        self._begun = chain([first], decoded)
        return first

    def _describe(self, first: VideoFrame) -> VideoInfo:
        stream = self._stream
        width, height = _fit(first.width, first.height, self._size)
        aspect = stream.codec_context.sample_aspect_ratio or Fraction(1)
        if self._turns % 2:
            width, height = height, width
            aspect = 1 / aspect if aspect else aspect
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        if first.interlaced_frame:
            self.notes.append("its frames are interlaced, and both fields are stylized as one")
        if self._colors.is_hdr:
            self.notes.append(
                "its brightness is of high dynamic range (HDR), and is mapped to the standard range"
            )
        assert stream.time_base is not None
        return VideoInfo(
            name=self._name,
            width=width,
            height=height,
            time_base=stream.time_base,
            rate=rate,
            count=self._count(rate),
            aspect=aspect or Fraction(1),
            colors=written_colors(self._colors),
            has_alpha=_has_alpha(first),
        )

    def _count(self, rate: Fraction) -> int | None:
        seconds = self._seconds()
        if self._start is None and self._end is None and self._stream.frames:
            return int(self._stream.frames)
        if seconds is None:
            return None
        assert self._stream.time_base is not None
        first = Fraction(self._stream.start_time or 0) * self._stream.time_base
        last = first + seconds
        if self._end is not None:
            last = min(last, self._end * self._stream.time_base)
        if self._start is not None:
            first = max(first, self._start * self._stream.time_base)
        return max(0, round((last - first) * rate))

    def _seconds(self) -> Fraction | None:
        """Return how long the video is, as far as the file tells."""
        if self._stream.duration and self._stream.time_base:
            return self._stream.duration * self._stream.time_base
        tagged = re.fullmatch(
            r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", self._stream.metadata.get("DURATION", "")
        )
        if tagged:  # of Matroska
            hours, minutes, seconds = (Fraction(part) for part in tagged.groups())
            return hours * 3600 + minutes * 60 + seconds
        if self._container.duration:
            return Fraction(self._container.duration, av.time_base)
        return None

    # Decoding

    def _decoded(self) -> Iterator[VideoFrame]:
        """Decode from where the file stands; damage ends it, and is noted."""
        while True:
            try:
                packet = next(self._packets, None)
            except av.error.FFmpegError as error:
                self.damage = f"it is damaged ({error.strerror or error})"
                packet = None
            if packet is not None and packet.size and packet.is_corrupt:
                self.damage = "it is damaged (a packet is not whole)"
                continue
            try:
                # A packet of size 0 is the demuxer's word for the end.
                yield from self._decoder.decode(packet if packet and packet.size else None)
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                self.damage = f"it is damaged ({error.strerror or error})"
            if packet is None or not packet.size:
                return

    def _timed(self, frames: Iterator[VideoFrame]) -> Iterator[tuple[VideoFrame, int]]:
        """Give every frame a time later than the one before."""
        assert self._stream.time_base is not None
        step = max(1, round(1 / (self._stream.time_base * (self._stream.average_rate or 25))))
        last: int | None = None
        for frame in frames:
            pts = frame.pts
            if pts is None or (last is not None and pts <= last):
                pts = 0 if last is None else last + (step if pts is None else 1)
            self._last_pts = last = pts
            yield frame, pts

    def _sought(self, pts: int) -> Iterator[tuple[VideoFrame, int]]:
        """Decode from a little before a time."""
        assert self._stream.time_base is not None
        margin = round(_SEEK_MARGIN / self._stream.time_base)
        with suppress(av.error.FFmpegError, ValueError):  # not every file can be sought in
            self._container.seek(pts - margin, stream=self._stream, backward=True)
            if self._decoder is self._stream.codec_context:
                self._decoder.flush_buffers()
            else:
                self._decoder = self._choose_decoder()
            self._packets = self._container.demux(self._stream)
        return self._timed(self._decoded())

    def _continued(self, after: Position) -> Iterator[tuple[VideoFrame, int]]:
        """Decode on after a position, by seeking where that leads to the very same picture."""
        decoded = self._sought(after.pts)
        for frame, pts in decoded:
            if pts > after.pts:
                break
            if pts == after.pts and checksum(self._converted(frame, pts)) == after.checksum:
                return decoded
        # From the start, then: slow, but sure.
        self.close()
        self._container = open_container(self._source, self._name)
        self._stream = self._video_stream()
        self._decoder = self._choose_decoder()
        self._packets = self._container.demux(self._stream)
        decoded = self._timed(self._decoded())
        for _, pts in decoded:
            if pts >= after.pts:
                break
        return decoded

    def _check_end(self) -> None:
        """Note where the video stops short of its stated length."""
        stream, seconds = self._stream, self._seconds()
        if self.damage is not None or seconds is None or self._end is not None:
            return
        assert stream.time_base is not None
        shown = (self._last_pts - (stream.start_time or 0)) * stream.time_base
        if seconds - shown <= _MISSING_SECONDS:
            return
        if not stream.duration and "DURATION" not in stream.metadata:
            # The length is that of the longest stream, which may well be the sound.
            tail = self._tail_seconds()
            if tail is None or seconds - tail <= _MISSING_SECONDS:
                return
        self.damage = f"it ends after {float(shown):.1f} of {float(seconds):.1f} seconds"

    def _tail_seconds(self) -> Fraction | None:
        """Return when the last packet of any stream is shown; None where that cannot be found."""
        if not isinstance(self._source, str | os.PathLike):
            return None
        tail = Fraction(0)
        with suppress(av.error.FFmpegError), open_container(self._source, self._name) as container:
            container.seek(max(0, (container.duration or 0) - av.time_base))
            for packet in container.demux():
                if packet.pts is not None and packet.time_base:
                    tail = max(tail, (packet.pts + (packet.duration or 0)) * packet.time_base)
        return tail - Fraction(self._container.start_time or 0, av.time_base)

    def _converted(self, frame: VideoFrame, pts: int) -> SourceFrame:
        width, height = _fit(frame.width, frame.height, self._size)
        if self._turns % 2:
            wanted = (self.info.height, self.info.width)
        else:
            wanted = (self.info.width, self.info.height)
        if (width, height) != wanted:  # a stream may change its size
            width, height = wanted
        colors = self._colors
        alpha = None
        kind = "rgb48le" if colors.is_hdr else "rgba" if _has_alpha(frame) else "rgb24"
        shrinks = width < frame.width or height < frame.height
        pixels: Any = frame.reformat(
            width=width,
            height=height,
            format=kind,
            src_colorspace=swscale_matrix(colors.matrix),
            src_color_range=colors.range,
            interpolation=_REDUCING if shrinks else _SCALING,
        ).to_ndarray()
        if colors.is_hdr:
            pixels = map_tones(pixels, colors.transfer)
        if kind == "rgba":
            alpha = self._upright(pixels[..., 3])
            pixels = pixels[..., :3]
        return SourceFrame(self._upright(pixels), pts, frame.duration or 0, alpha)

    def _upright(self, pixels: Pixels) -> Pixels:
        if self._flipped:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, self._turns))


def _orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Return how a frame is brought upright: mirrored or not, then quarter turns to the left."""
    side_data: Any = frame.side_data
    for data in side_data:
        if data.type is SideDataType.DISPLAYMATRIX:
            a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
            flipped = a * d - b * c < 0
            if flipped:
                a, c = -a, -c
            return round(-math.degrees(math.atan2(b, a)) / 90) % 4, flipped
    return 0, False


def _has_alpha(frame: VideoFrame) -> bool:
    return any(part.is_alpha for part in frame.format.components)


def _fit(width: int, height: int, size: int | None) -> tuple[int, int]:
    """Return width and height of a frame whose long side is at most `size`."""
    longest = max(width, height)
    if size is None or longest <= size:
        return width, height
    return max(1, round(width * size / longest)), max(1, round(height * size / longest))
