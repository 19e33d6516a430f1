"""Small clips that tests make: any codec, times, colours, sound, subtitles, chapters."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions, VideoOptions
from fast_style.video.api import VideoResult, stylize_video
from fast_style.video.colors import swscale_matrix

Pixels = NDArray[np.uint8]

WIDTH, HEIGHT = 64, 48


def moving_frames(count: int = 6, height: int = HEIGHT, width: int = WIDTH) -> list[Pixels]:
    """Frames of a smooth pattern that moves two pixels a frame to the right."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    frames = []
    for index in range(count):
        moved = x - 2 * index
        red, green = 128 + 90 * np.sin(moved / 9), 128 + 90 * np.sin(y / 7 + moved / 15)
        blue = 128 + 90 * np.cos((moved + y) / 11)
        frames.append(np.rint(np.dstack([red, green, blue])).astype(np.uint8))
    return frames


def flat_frames(color: Sequence[int], count: int = 3) -> list[Pixels]:
    """Frames of one colour."""
    return [np.full((HEIGHT, WIDTH, 3), color, np.uint8) for _ in range(count)]


def write_clip(
    path: Path,
    frames: Sequence[Pixels],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    colors: tuple[int, int, int, int] = (1, 1, 1, 1),
    options: dict[str, str] | None = None,
    sound: tuple[str, str] | None = None,
    subtitles: Sequence[tuple[int, int, str]] = (),
    chapters: Sequence[tuple[int, int, str]] = (),
    metadata: dict[str, str] | None = None,
    open_options: dict[str, str] | None = None,
) -> Path:
    """Write a clip.

    Args:
        path: of the file; its suffix chooses the container.
        frames: RGB (H, W, 3) or RGBA (H, W, 4), uint8, or uint16 RGB.
        codec: encoder of the video.
        pixel_format: of the video.
        times: of the frames, in ticks; 25 frames a second if None.
        time_base: length of a tick.
        colors: matrix, range, primaries, transfer, by ITU-T H.273; 2 is unspecified.
        options: of the encoder.
        sound: encoder and layout of a tone as long as the video.
        subtitles: milliseconds from, to, and text.
        chapters: milliseconds from, to, and title.
        metadata: of the file.
        open_options: of the container.
    """
    matrix, range_, primaries, transfer = colors
    step = int(1 / (25 * time_base))
    times = [index * step for index in range(len(frames))] if times is None else times
    with av.open(str(path), "w", options=open_options or {}) as output:
        output.metadata.update(metadata or {})
        default = {"crf": "4"} if codec in ("libx264", "libx265") else {}
        stream: Any = output.add_stream(codec, rate=25, options={**default, **(options or {})})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = time_base
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, range_
        stream.codec_context.color_primaries = primaries
        stream.codec_context.color_trc = transfer
        audio: Any = None
        if sound is not None:
            audio = output.add_stream(sound[0], rate=48000, layout=sound[1])
        text: Any = output.add_mux_stream("subrip") if subtitles else None
        if text is not None:
            text.time_base = Fraction(1, 1000)
            text.metadata["language"] = "nob"
        if chapters:
            output.set_chapters(
                [_chapter(index, *chapter) for index, chapter in enumerate(chapters)]
            )
        for pixels, time in zip(frames, times, strict=True):
            output.mux(stream.encode(_frame(pixels, pixel_format, colors, time, time_base)))
        output.mux(stream.encode(None))
        seconds = float((times[-1] + step) * time_base) if len(times) else 1.0
        if audio is not None:
            _write_sound(output, audio, seconds)
        for start, end, words in subtitles:
            output.mux(_subtitle(text, start, end, words))
    return path


def _chapter(index: int, start: int, end: int, title: str) -> dict[str, Any]:
    times = {"start": start, "end": end, "time_base": Fraction(1, 1000)}
    return {"id": index, **times, "metadata": {"title": title}}


def _subtitle(stream: Any, start: int, end: int, words: str) -> Any:
    packet = av.Packet(words.encode())
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = start
    packet.duration = end - start
    return packet


def _frame(
    pixels: NDArray[Any], pixel_format: str, colors: Sequence[int], time: int, base: Fraction
) -> av.VideoFrame:
    kind = "rgb48le" if pixels.dtype == np.uint16 else "rgba" if pixels.shape[2] == 4 else "rgb24"
    frame = av.VideoFrame.from_ndarray(pixels, format=kind)
    matrix, range_ = colors[0], colors[1]
    frame = frame.reformat(
        format=pixel_format,
        dst_colorspace=swscale_matrix(matrix if matrix != 2 else 6),
        dst_color_range=range_ or 1,
        interpolation=4 | 0x40000,  # bicubic, accurate rounding
    )
    frame.colorspace, frame.color_range = matrix, range_
    frame.color_primaries, frame.color_trc = colors[2], colors[3]
    frame.pts, frame.time_base = time, base
    return frame


def _write_sound(output: Any, stream: Any, seconds: float) -> None:
    channels = stream.codec_context.layout.nb_channels
    rate, kind = 48000, stream.codec_context.format.name
    total = int(seconds * rate)
    tone = 0.3 * np.sin(np.arange(total) * 2 * np.pi * 440 / rate)
    step = stream.codec_context.frame_size or 1024
    for start in range(0, total, step):
        piece = np.tile(tone[start : start + step], (channels, 1))
        if kind == "s16":
            piece = (piece.T.reshape(1, -1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(
            piece if kind == "s16" else piece.astype(np.float32),
            format=kind,
            layout=stream.codec_context.layout.name,
        )
        frame.sample_rate, frame.pts = rate, start
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def rotate_clip(path: Path, degrees: int) -> None:
    """Set the matrix of the video track of an MP4: how a player is to turn it, clockwise."""
    one = 1 << 16
    matrix = {
        90: (0, one, 0, -one, 0, 0),
        180: (-one, 0, 0, 0, -one, 0),
        270: (0, -one, 0, one, 0, 0),
    }[degrees]
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and ids, the rest
    values = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    content[at : at + 24] = values
    path.write_bytes(content)


def read_clip(path: Path) -> tuple[list[Pixels], list[Fraction], Any]:
    """Read a clip: its frames, their times in seconds, and the first frame as it was decoded."""
    frames, times, first = [], [], None
    with av.open(str(path)) as source:
        for frame in source.decode(video=0):
            first = first or frame
            frames.append(frame.to_ndarray(format="rgb24"))
            times.append(frame.pts * frame.time_base)
    return frames, times, first


def read_packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Read the packets of the first stream of a kind: times in seconds, and contents."""
    with av.open(str(path)) as source:
        streams = [stream for stream in source.streams if stream.type == kind]
        if not streams:
            return []
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in source.demux(streams[0])
            if packet.size
        ]


def convert_clip(
    source: Path, target: Path, stylizer: Stylizer, **more: Any
) -> tuple[Path, VideoResult]:
    """Stylize with strength 0, so that colours and order can be compared with the input's."""
    names = ("steady", "codec", "quality", "audio")
    chosen = VideoOptions(**{name: more.pop(name) for name in names if name in more})
    photo = StyleOptions(strength=0)
    return target, stylize_video(
        source, target, stylizer, options=photo, video_options=chosen, **more
    )
