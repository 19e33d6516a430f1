"""Where finished frames go: a video file, numbered pictures, or a pipe."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import av

from fast_style.images.encoding import encode_image, format_from_suffix
from fast_style.images.photo import Photo
from fast_style.storage.atomic_write import replace_file
from fast_style.video.encoding import Encoding, configure, lossless, to_frame, y4m
from fast_style.video.extras import Extras
from fast_style.video.muxing import write_video
from fast_style.video.parts import PART_FRAMES, PartsFolder, PartWriter
from fast_style.video.source import Pixels, Position, SourceFrame, VideoInfo, checksum
from fast_style.video.video_stylizer import Prepared, VideoStylizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Output", "PartsOutput", "PicturesOutput", "PipeOutput"]


class Output(Protocol):
    """What takes finished frames.

    Attributes:
        position: of the last frame that an earlier run has written, or None.
        done: how many frames are stored.
    """

    position: Position | None
    done: int

    @property
    def frames(self) -> int:
        """How many frames are written, stored or not."""

    def begin(self, job: Mapping[str, Any], *, resume: bool) -> dict[str, NDArray[Any]]:
        """Begin, or find where an earlier run has stopped; returns the state to continue from."""

    def write(self, frame: SourceFrame, prepared: Prepared, pixels: Pixels) -> None:
        """Write the next frame."""

    def finish(self) -> list[str]:
        """Complete the output; returns what the user should be told."""

    def abandon(self) -> None:
        """Close what is open; the output is not completed."""


class _Resumable:
    """An output that stores the state after every `PART_FRAMES` frames."""

    def __init__(self, path: Path, video: VideoStylizer) -> None:
        self.path = path
        self.position: Position | None = None
        self.done = 0
        self._video = video
        self._parts = PartsFolder(path)
        self._frames = 0  # of the part that is being written
        self._last: tuple[SourceFrame, Prepared] | None = None

    @property
    def frames(self) -> int:
        """How many frames are written."""
        return self.done + self._frames

    def begin(self, job: Mapping[str, Any], *, resume: bool) -> dict[str, NDArray[Any]]:
        self._parts.begin(job, resume=resume)
        self.position, self.done = self._parts.position, self._parts.frames
        return self._parts.state()

    def _count(self, frame: SourceFrame, prepared: Prepared, part: PartWriter | None) -> bool:
        """Count a frame of the part; returns whether the part is complete, and stored."""
        self._frames += 1
        self._last = frame, prepared
        if self._frames < PART_FRAMES:
            return False
        self._store(part)
        return True

    def _store(self, part: PartWriter | None) -> None:
        assert self._last is not None
        frame, prepared = self._last
        index = self.done + self._frames - 1
        position = Position(index, frame.pts, checksum(frame))
        self._parts.store(part, self._frames, position, self._video.state(prepared))
        self.done += self._frames
        self._frames = 0


class PartsOutput(_Resumable):
    """A video file, put together of parts at the end; see `Output`."""

    def __init__(
        self,
        path: Path,
        encoding: Encoding,
        video: VideoStylizer,
        *,
        extras: Extras | None = None,
        offset: int = 0,
    ) -> None:
        """Store what is written, and how.

        Args:
            path: of the file.
            encoding: how it is encoded.
            video: whose state is stored.
            extras: what else the input has, or None.
            offset: the tick of the input that becomes 0.
        """
        super().__init__(path, video)
        self._encoding, self._extras, self._offset = encoding, extras, offset
        self._kept = lossless(encoding) if encoding.at_once else encoding
        self._part: PartWriter | None = None

    def write(self, frame: SourceFrame, prepared: Prepared, pixels: Pixels) -> None:
        """Encode the next frame."""
        if self._part is None:
            self._part = self._parts.open_part(self._kept)
        self._part.write(pixels, prepared.content.alpha, frame.pts, frame.duration)
        if self._count(frame, prepared, self._part):
            self._part = None

    def finish(self) -> list[str]:
        """Put the file together and delete the parts."""
        if self._part is not None:
            self._store(self._part)
            self._part = None
        notes = write_video(
            self.path, self._encoding, self._parts, self._extras, offset=self._offset
        )
        self._parts.remove()
        return notes

    def abandon(self) -> None:
        """Close the part that is being written; the complete ones stay."""
        if self._part is not None:
            self._part.abandon()


class PicturesOutput(_Resumable):
    """Numbered pictures; see `Output`."""

    def __init__(self, pattern: str, video: VideoStylizer, *, quality: int | None = None) -> None:
        """Store where they go.

        Args:
            pattern: a path with one `%d` or `%06d`, which becomes 1 for the first frame.
            video: whose state is stored.
            quality: of JPEG and WebP, from 1 to 100.
        """
        super().__init__(Path(pattern), video)
        self._pattern, self._quality = pattern, quality
        self._format = format_from_suffix(pattern)

    def begin(self, job: Mapping[str, Any], *, resume: bool) -> dict[str, NDArray[Any]]:
        """Make the folder; see `Output.begin`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return super().begin(job, resume=resume)

    def write(self, frame: SourceFrame, prepared: Prepared, pixels: Pixels) -> None:
        """Write the next picture."""
        folder, name = os.path.split(self._pattern)
        number = self.done + self._frames + 1
        named = re.sub(r"%0?\d*d", lambda place: place[0] % number, name)
        photo = Photo(pixels, prepared.content.alpha)
        data, _ = encode_image(photo, format=self._format, quality=self._quality)
        replace_file(Path(folder, named), data)
        self._count(frame, prepared, None)

    def finish(self) -> list[str]:
        """Delete the notes of how far it got."""
        self._parts.remove()
        return []

    def abandon(self) -> None:
        """Leave the pictures and the notes as they are."""


class PipeOutput:
    """A stream of yuv4mpeg; see `Output`."""

    def __init__(self, stream: BinaryIO, info: VideoInfo) -> None:
        """Store where it goes.

        Args:
            stream: takes the bytes.
            info: of the frames.
        """
        self.position: Position | None = None
        self.done = 0
        self._encoding = y4m(info)
        self._output = av.open(stream, "w", format="yuv4mpegpipe")
        self._stream = self._output.add_stream("wrapped_avframe", rate=info.rate)
        configure(self._stream.codec_context, self._encoding)

    @property
    def frames(self) -> int:
        """How many frames are written."""
        return self.done

    def begin(self, job: Mapping[str, Any], *, resume: bool) -> dict[str, NDArray[Any]]:
        """Begin; a pipe cannot be resumed."""
        return {}

    def write(self, frame: SourceFrame, prepared: Prepared, pixels: Pixels) -> None:
        """Write the next frame; the format has one rate, and no times."""
        picture = to_frame(self._encoding, pixels, None, self.done, 1)
        self._output.mux(self._stream.encode(picture))
        self.done += 1

    def finish(self) -> list[str]:
        """Write what is left."""
        self._output.mux(self._stream.encode(None))
        self._output.close()
        return []

    def abandon(self) -> None:
        """Close the stream."""
