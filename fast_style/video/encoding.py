"""How frames are encoded: which codec a file gets, and the encoder itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import Interpolation

from fast_style.errors import UsageError, VideoError
from fast_style.video.colors import swscale_matrix
from fast_style.video.source import FULL, LIMITED, Colors, Pixels, VideoInfo

if TYPE_CHECKING:
    from av.packet import Packet as _Packet

    Packet = _Packet[Any]

__all__ = ["Encoding", "FrameEncoder", "choose_encoding", "lossless", "to_frame"]

DEFAULT_QUALITY = 75

_CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".gif": "gif",
    ".webp": "webp",
    ".apng": "apng",
    ".png": "apng",
}
_HOLDS = {
    "mp4": ("h264", "h265", "av1", "vp9"),
    "mov": ("h264", "h265", "prores"),
    "matroska": ("h264", "h265", "av1", "vp9", "prores"),
    "webm": ("vp9", "av1"),
    "gif": ("gif",),
    "webp": ("webp",),
    "apng": ("apng",),
}
"""The codecs of each container; the first is what `auto` takes."""

PICTURE_CONTAINERS = ("gif", "webp", "apng")
"""Containers of moving pictures alone, without sound, subtitles, chapters or colour tags."""

_THREADS = 4

_SMALL_SIDE = 128
"""In smaller frames, x264's analysis of coming frames (mbtree) gives other pictures each time."""

_Options = tuple[tuple[str, str], ...]

_PACKING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a video is encoded.

    Attributes:
        codec: one of `VideoOptions.codec`, or `webp`, `apng`, `ffv1`, `y4m`.
        encoder: FFmpeg's name of the encoder.
        container: FFmpeg's name of the format.
        pixel_format: FFmpeg's name.
        options: of the encoder, as pairs.
        width: what is written, in pixels; even where the codec needs that.
        height: likewise.
        time_base: length of a tick, in seconds.
        rate: average frames per second.
        aspect: width of a pixel by its height.
        colors: how colours are coded.
        alpha: whether alpha is written.
        at_once: whether the encoder must see the whole video, so that parts are kept lossless.
        plays: how often an animation is played; 0 stands for ever.
    """

    codec: str
    encoder: str
    container: str
    pixel_format: str
    options: _Options
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    aspect: Fraction
    colors: Colors
    alpha: bool = False
    at_once: bool = False
    plays: int = 0


def container_of(path: str | os.PathLike[str]) -> str:
    """Return the container that a file's name asks for.

    Raises:
        UsageError: the suffix is none that is known.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in _CONTAINERS:
        raise UsageError(
            f"{os.fspath(path)}: expected an output that ends in {', '.join(_CONTAINERS)}, or "
            "numbered pictures such as frames/%06d.png"
        )
    return _CONTAINERS[suffix]


def choose_encoding(
    path: str | os.PathLike[str],
    info: VideoInfo,
    *,
    codec: str = "auto",
    quality: int | None = None,
) -> tuple[Encoding, list[str]]:
    """Choose how a file is encoded, by its name, and by what the video has.

    Args:
        path: the output.
        info: of the frames that are written.
        codec: one of `VideoOptions.codec`.
        quality: from 1 to 100; None for `DEFAULT_QUALITY`.

    Returns:
        The encoding, and what the user should be told.

    Raises:
        UsageError: the container does not hold that codec.
    """
    container = container_of(path)
    codec = _choose_codec(os.fspath(path), container, codec, has_alpha=info.has_alpha)
    notes = []
    alpha = info.has_alpha and codec in ("vp9", "prores", "gif", "webp", "apng")
    if info.has_alpha and not alpha:
        notes.append(
            f"{codec} holds no transparency, so it is left out: write .webm, .mov with --codec "
            "prores, .webp or .png to keep it"
        )
    encoder, pixel_format, options = _encoder(codec, alpha, quality or DEFAULT_QUALITY)
    width, height = info.width, info.height
    if codec == "h264" and min(width, height) < _SMALL_SIDE:
        options = (*options, ("mbtree", "0"))
    if codec in ("h264", "h265", "prores") and (width % 2 or height % 2):
        width, height = width + width % 2, height + height % 2
        notes.append(
            f"{codec} needs even sides, so {info.width}x{info.height} is written as "
            f"{width}x{height}: the last row or column is there twice"
        )
    aspect = info.aspect
    if container in PICTURE_CONTAINERS and aspect != 1:
        notes.append(f"{codec} holds square pixels only, and these are {aspect}: it looks squeezed")
    encoding = Encoding(
        codec=codec,
        encoder=encoder,
        container=container,
        pixel_format=pixel_format,
        options=options,
        width=width,
        height=height,
        time_base=info.time_base,
        rate=info.rate,
        aspect=aspect,
        colors=replace(info.colors, range=LIMITED) if codec == "prores" else info.colors,
        alpha=alpha,
        at_once=container in PICTURE_CONTAINERS or (codec == "vp9" and alpha),
        plays=info.plays,
    )
    return encoding, notes


def _choose_codec(path: str, container: str, codec: str, *, has_alpha: bool) -> str:
    """Return the codec that `auto` stands for, or the one given, if the container holds it."""
    holds = _HOLDS[container]
    if codec == "auto":
        codec = holds[0]
        if has_alpha:
            # MP4's VP9 has no alpha.
            wanted = {"mov": "prores", "matroska": "vp9", "webm": "vp9"}
            codec = wanted.get(container, codec)
    if codec not in holds:
        raise UsageError(
            f"{path}: expected a codec that {container} holds ({', '.join(holds)}), and {codec} "
            "was given"
        )
    return codec


def lossless(encoding: Encoding) -> Encoding:
    """Return how the frames are kept for an encoder that must see all of them."""
    return replace(
        encoding,
        codec="ffv1",
        encoder="ffv1",
        pixel_format="bgra" if encoding.alpha else "bgr0",
        options=(("level", "3"), ("slices", "4")),
        colors=Colors(),
        at_once=False,
    )


def y4m(info: VideoInfo) -> Encoding:
    """Return how frames are written to a pipe as yuv4mpeg."""
    return Encoding(
        codec="y4m",
        encoder="wrapped_avframe",
        container="yuv4mpegpipe",
        pixel_format="yuv420p",
        options=(),
        width=info.width,
        height=info.height,
        time_base=1 / info.rate,
        rate=info.rate,
        aspect=info.aspect,
        colors=replace(info.colors, range=LIMITED),
    )


def _encoder(codec: str, alpha: bool, quality: int) -> tuple[str, str, _Options]:
    """Return encoder, pixel format and options of a codec."""

    def crf(best: int, worst: int) -> str:
        return str(round(worst + (best - worst) * quality / 100))

    options: _Options
    if codec == "h264":
        return "libx264", "yuv420p", (("preset", "veryfast"), ("crf", crf(10, 45)))
    if codec == "h265":
        options = (
            ("preset", "fast"),
            ("crf", crf(12, 47)),
            ("x265-params", "log-level=none:frame-threads=2"),
        )
        return "libx265", "yuv420p", options
    if codec == "av1":
        return "libsvtav1", "yuv420p", (("preset", "8"), ("crf", crf(18, 60)))
    if codec == "vp9":
        options = (("crf", crf(12, 60)), ("deadline", "good"), ("cpu-used", "4"), ("row-mt", "1"))
        if alpha:
            return "libvpx-vp9", "yuva420p", (*options, ("auto-alt-ref", "0"))
        return "libvpx-vp9", "yuv420p", options
    if codec == "prores":
        if alpha:
            return "prores_ks", "yuva444p10le", (("profile", "4444"), ("vendor", "apl0"))
        profile = ("proxy", "lt", "standard", "hq")[min(3, quality // 25)]
        return "prores_ks", "yuv422p10le", (("profile", profile), ("vendor", "apl0"))
    if codec == "webp":
        return "libwebp_anim", "bgra", (("quality", str(quality)), ("lossless", "0"))
    if codec == "apng":
        return "apng", "rgba" if alpha else "rgb24", (("pred", "mixed"),)
    return "gif", "pal8", ()


def to_frame(
    encoding: Encoding, pixels: Pixels, alpha: Pixels | None, pts: int, duration: int
) -> av.VideoFrame:
    """Make a frame for an encoder.

    Args:
        encoding: what pixel format and colours it gets.
        pixels: RGB, shape (H, W, 3), uint8.
        alpha: shape (H, W), uint8, or None.
        pts: its time, in ticks of the encoding.
        duration: in ticks; 0 where it is not known.
    """
    down, right = encoding.height - pixels.shape[0], encoding.width - pixels.shape[1]
    if down or right:
        pixels = np.pad(pixels, ((0, down), (0, right), (0, 0)), mode="edge")
        alpha = None if alpha is None else np.pad(alpha, ((0, down), (0, right)), mode="edge")
    if encoding.alpha:
        opaque = np.full(pixels.shape[:2], 255, np.uint8)
        pixels = np.dstack([pixels, opaque if alpha is None else alpha])
    frame = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(pixels), format="rgba" if encoding.alpha else "rgb24"
    )
    colors = encoding.colors
    if not encoding.pixel_format.startswith(("rgb", "bgr", "pal")):
        frame = frame.reformat(
            format=encoding.pixel_format,
            dst_colorspace=swscale_matrix(colors.matrix),
            dst_color_range=colors.range,
            interpolation=_PACKING,
        )
        frame.colorspace, frame.color_range = colors.matrix, colors.range
        frame.color_primaries, frame.color_trc = colors.primaries, colors.transfer
    elif frame.format.name != encoding.pixel_format:
        frame = frame.reformat(format=encoding.pixel_format)
        frame.color_range = FULL
    frame.pts, frame.time_base, frame.duration = pts, encoding.time_base, duration
    return frame


def configure(context: Any, encoding: Encoding) -> None:
    """Set up an encoder that is not open yet."""
    context.width, context.height = encoding.width, encoding.height
    context.pix_fmt = encoding.pixel_format
    context.time_base = encoding.time_base
    context.framerate = encoding.rate
    context.sample_aspect_ratio = encoding.aspect
    context.thread_type = "AUTO"
    # A fixed number: the pictures of x264 depend on it, and must not on the machine or its load.
    context.thread_count = _THREADS
    context.options = dict(encoding.options)
    if not encoding.pixel_format.startswith(("rgb", "bgr", "pal")):
        colors = encoding.colors
        context.colorspace, context.color_range = colors.matrix, colors.range
        context.color_primaries, context.color_trc = colors.primaries, colors.transfer


class FrameEncoder:
    """An encoder that turns frames into packets, without a file."""

    def __init__(self, encoding: Encoding) -> None:
        """Open the encoder.

        Raises:
            VideoError: it cannot encode frames of this size.
        """
        self._encoding = encoding
        context: Any = av.CodecContext.create(encoding.encoder, "w")
        configure(context, encoding)
        context.flags |= int(av.codec.context.Flags.global_header)
        try:
            context.open()
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{encoding.codec} cannot be written at {encoding.width}x{encoding.height} pixels "
                f"({error}): choose another size or codec"
            ) from error
        self._context = context

    @property
    def extradata(self) -> bytes:
        """What a decoder needs beside the packets."""
        extradata: bytes = self._context.extradata or b""
        return extradata

    def encode(self, pixels: Pixels, alpha: Pixels | None, pts: int, duration: int) -> list[Packet]:
        """Encode a frame; returns the packets that are ready."""
        frame = to_frame(self._encoding, pixels, alpha, pts, duration)
        packets: list[Packet] = self._context.encode(frame)
        return packets

    def finish(self) -> list[Packet]:
        """Return the packets of the frames that the encoder still holds."""
        packets: list[Packet] = self._context.encode(None)
        return packets
