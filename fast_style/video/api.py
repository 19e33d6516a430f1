"""Stylizing a whole video, from file to file."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fast_style.errors import UsageError, VideoError
from fast_style.images import ImageSource
from fast_style.images.color_transfer import ColorStatistics
from fast_style.inference.guides import Guides, MaskSource, check_colors, read_guides
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions, VideoOptions
from fast_style.video.encoding import choose_encoding, container_of
from fast_style.video.extras import Extras
from fast_style.video.outputs import Output, PartsOutput, PicturesOutput, PipeOutput
from fast_style.video.parts import PART_FRAMES
from fast_style.video.pictures import (
    DEFAULT_RATE,
    AnimationSource,
    SequenceSource,
    is_animation,
    is_pattern,
)
from fast_style.video.pipeline import run_pipeline
from fast_style.video.reading import ContainerSource
from fast_style.video.source import Pixels, Source, SourceFrame, VideoInfo
from fast_style.video.video_stylizer import Prepared, VideoStylizer

__all__ = ["VideoResult", "describe_video", "stylize_part", "stylize_video"]

STANDARD = "-"
"""Stands for stdin as an input, for stdout as an output."""

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class VideoResult:
    """What became of a video.

    Attributes:
        output: where it was written.
        frames: how many it has.
        width: of what was written, in pixels, without padding.
        height: likewise.
        notes: what the user should know, such as what the container does not hold.
        damage: why it ends before its input does, in words; None where it does not.
    """

    output: str
    frames: int
    width: int
    height: int
    notes: tuple[str, ...] = ()
    damage: str | None = None


def stylize_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    style: str | os.PathLike[str] | Stylizer,
    *,
    options: StyleOptions | None = None,
    video_options: VideoOptions | None = None,
    mask: MaskSource | Sequence[MaskSource] | None = None,
    colors_of: ImageSource | ColorStatistics | None = None,
    start: float | None = None,
    end: float | None = None,
    rate: Fraction | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> VideoResult:
    """Put a style on a video; every frame keeps its time, and the file its sound and subtitles.

    The output appears once it is complete. Until then the parts that are done lie in a hidden
    folder beside it, from which `resume` continues.

    Args:
        source: a video, an animated GIF, WebP or PNG, numbered pictures (`frames/%06d.png`), or
            `-` for a video from stdin.
        target: a file whose suffix says what is written, numbered pictures, or `-` for yuv4mpeg
            to stdout.
        style: a style's name, the path of a model file, a mixture, or a stylizer.
        options: how each frame is stylized.
        video_options: how still the strokes are held, and how it is encoded.
        mask: where the style is applied, in all frames alike; as for `Stylizer.stylize`.
        colors_of: a picture whose colours each frame is given.
        start: time of the first frame, in seconds; it becomes 0.
        end: time before which the last frame is shown, in seconds.
        rate: frames per second of numbered pictures; None for 25.
        resume: whether to continue a run that was cut short.
        progress: called from another thread: frames done, and in all as far as known.

    Returns:
        The result. A video whose end is damaged is written as far as it goes.

    Raises:
        VideoError: the source cannot be read, or the target not be written.
        UsageError: an argument is out of its range, or they do not fit together.
        FastStyleError: the style cannot be used.
        OSError: a file cannot be read or written.
    """
    with ExitStack() as opened:
        guides = read_guides(mask, colors_of)
        run = _open_run(
            opened, source, target, style, options, video_options, guides, start, end, rate, resume
        )
        run.advance(resume, progress)
        return run.finish()


def describe_video(source: str | os.PathLike[str]) -> tuple[VideoInfo, float | None]:
    """Return what a video file tells of itself, and its length in seconds as far as it is known.

    Raises:
        FastStyleError: it cannot be read.
        OSError: it cannot be opened.
    """
    with closing(_open_source(os.fspath(source), None, None, None, None)) as read:
        count = read.info.count
        return read.info, None if count is None else float(count / read.info.rate)


def stylize_part(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    style: Stylizer,
    *,
    options: StyleOptions | None = None,
    video_options: VideoOptions | None = None,
    progress: Progress | None = None,
) -> VideoResult | None:
    """Stylize the next part of a video, `PART_FRAMES` frames, and store it beside the target.

    Called until it returns a result, it makes what `stylize_video` makes; also where each call is
    in another process, as long as the parts are there.

    Args:
        source: a video file, or an animated GIF, WebP or PNG.
        target: as for `stylize_video`; the parts lie in `PartsFolder(target).path`.
        style: the stylizer.
        options: as for `stylize_video`.
        video_options: likewise.
        progress: likewise.

    Returns:
        None while frames may be left; else the result, and the target is written.

    Raises:
        FastStyleError: as for `stylize_video`.
        OSError: likewise.
    """
    with ExitStack() as opened:
        run = _open_run(opened, source, target, style, options, video_options, resume=True)
        return None if run.advance(True, progress, PART_FRAMES) else run.finish()


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A video that is being stylized."""

    target: str
    read: Source
    video: VideoStylizer
    output: Output
    job: dict[str, Any]
    notes: list[str]

    def advance(
        self, resume: bool, progress: Progress | None = None, limit: int | None = None
    ) -> bool:
        """Do the frames that are not done yet; returns whether a limit of frames ended that."""
        output, video = self.output, self.video
        state = output.begin(self.job, resume=resume)
        begun = done = output.done
        if done:
            video.restore(state)

        def finished(frame: SourceFrame, prepared: Prepared, pixels: Pixels) -> None:
            nonlocal done
            output.write(frame, prepared, pixels)
            done += 1
            if progress is not None:
                progress(done, self.read.info.count)

        frames = islice(self.read.frames(output.position), limit)
        try:
            run_pipeline(frames, video, finished, is_fresh=lambda index: index % PART_FRAMES == 0)
        except BaseException:
            output.abandon()
            raise
        if done == 0:
            raise VideoError(
                f"{self.read.info.name}: expected a frame between those times, and there is none"
            )
        return limit is not None and done - begun == limit

    def finish(self) -> VideoResult:
        """Put the output together."""
        frames = self.output.frames
        notes = [*self.notes, *self.video.notes, *self.output.finish()]
        info = self.read.info
        return VideoResult(
            self.target, frames, info.width, info.height, tuple(notes), self.read.damage
        )


def _open_run(
    opened: ExitStack,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    style: str | os.PathLike[str] | Stylizer,
    options: StyleOptions | None,
    video_options: VideoOptions | None,
    guides: Guides | None = None,
    start: float | None = None,
    end: float | None = None,
    rate: Fraction | None = None,
    resume: bool = False,
) -> _Run:
    """Check the arguments of `stylize_video`, and open what is read and written."""
    source, target, options = os.fspath(source), os.fspath(target), options or StyleOptions()
    chosen = video_options or VideoOptions()
    _check(source, target, start, end, resume)
    read = opened.enter_context(closing(_open_source(source, options.size, start, end, rate)))
    stylizer = style if isinstance(style, Stylizer) else Stylizer(style)
    check_colors(guides, options)
    video = VideoStylizer(stylizer, steady=chosen.steady, options=options, guides=guides)
    name = stylizer.card.name if isinstance(style, Stylizer) else str(style)
    times = {"from": start, "to": end, "rate": str(rate)}
    job = _describe_job(source, name, video) | times
    notes = list(read.notes)
    output = _open_output(source, target, read, video, chosen, job, notes, opened)
    return _Run(target, read, video, output, job, notes)


def _describe_job(source: str, style: str, video: VideoStylizer) -> dict[str, Any]:
    """Return what decides the frames; a run resumes only what has the same description."""
    engine = video.stylizer.engine
    return {
        "source": _identity(source),
        "style": style,
        "engine": [engine.name, engine.precision],
        "options": asdict(video.options),
        "steady": video.steady,
        "masks": [zlib.crc32(np.asarray(mask).tobytes()) for mask in video.guides.masks],
        "colors": None if video.guides.colors is None else video.guides.colors.mean.tolist(),
    }


def _open_output(
    source: str,
    target: str,
    read: Source,
    video: VideoStylizer,
    chosen: VideoOptions,
    job: dict[str, Any],
    notes: list[str],
    opened: ExitStack,
) -> Output:
    """Open what is written, and the sound and subtitles for it; adds to `job` and `notes`."""
    if target == STANDARD:
        return PipeOutput(sys.stdout.buffer, read.info)
    if is_pattern(target):
        return PicturesOutput(target, video, quality=chosen.quality)
    encoding, more = choose_encoding(target, read.info, codec=chosen.codec, quality=chosen.quality)
    notes += more
    job["encoding"] = repr(encoding)
    extras, start = None, job["from"]
    if isinstance(read, ContainerSource) and source != STANDARD:
        extras = Extras(source, source, audio=chosen.audio == "copy", start=start, end=job["to"])
        opened.callback(extras.close)
    offset = 0 if start is None else read.origin
    return PartsOutput(Path(target), encoding, video, extras=extras, offset=offset)


def _open_source(
    source: str, size: int | None, start: float | None, end: float | None, rate: Fraction | None
) -> Source:
    if is_pattern(source):
        return SequenceSource(source, rate=rate or DEFAULT_RATE, size=size, start=start, end=end)
    if rate is not None:
        raise UsageError(f"a rate is for numbered pictures (frames/%06d.png), and {source} is none")
    if source == STANDARD:
        stdin = sys.stdin.buffer
        return ContainerSource(stdin, "standard input", size=size, start=start, end=end)
    if not os.path.exists(source):
        raise VideoError(f"{source}: there is no such file")
    if is_animation(source):
        return AnimationSource(source, size=size, start=start, end=end)
    return ContainerSource(source, source, size=size, start=start, end=end)


def _identity(source: str) -> list[Any]:
    """Return what tells a source from another that took its place."""
    if source == STANDARD or is_pattern(source):
        return [source]
    stat = os.stat(source)
    return [os.path.basename(source), stat.st_size, stat.st_mtime_ns]


def _check(
    source: str,
    target: str,
    start: float | None,
    end: float | None,
    resume: bool,
) -> None:
    if start is not None and not 0 <= start < float("inf"):
        raise UsageError(f"start must be a time of 0 seconds or more, and {start} was given")
    if end is not None and not (start or 0) < end < float("inf"):
        raise UsageError(f"end must be a time after the start, and {end} was given")
    if resume and STANDARD in (source, target):
        raise UsageError("a pipe cannot be resumed: give files, or leave out resume")
    if target == STANDARD or is_pattern(target):
        if source == target != STANDARD:
            raise UsageError(f"{target}: the pictures would overwrite the input: write elsewhere")
        return
    container_of(target)
    if os.path.exists(target) and os.path.exists(source) and os.path.samefile(source, target):
        raise UsageError(f"{target}: it is the input, which is never overwritten: write elsewhere")
    if os.path.isdir(target):
        raise UsageError(f"{target}: expected a file to write, and it is a folder")
