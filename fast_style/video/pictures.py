"""Reading videos that are pictures: numbered files, and animated GIF, WebP and PNG, by Pillow."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from fast_style.errors import ImageError, VideoError
from fast_style.images import DEFAULT_MAX_MEGAPIXELS, read_image
from fast_style.images.animation import count_plays, still_first
from fast_style.images.decoding import explain_decoder_errors, open_picture, silence_pillow
from fast_style.images.resampling import fit_long_side, resize_premultiplied
from fast_style.storage.atomic_write import is_stream
from fast_style.video.source import Pixels, Position, SourceFrame, VideoInfo

__all__ = ["DEFAULT_RATE", "AnimationSource", "SequenceSource", "is_animation", "is_pattern"]

DEFAULT_RATE = Fraction(25)
"""Frames per second of numbered pictures, which know of no time."""

_PLACE = re.compile(r"%0?\d*d")

_MILLISECONDS = Fraction(1, 1000)
_UNSTATED = 100  # milliseconds that browsers show a frame for whose length is 0


def is_pattern(path: str) -> bool:
    """Return whether a path stands for numbered files, such as `frames/%06d.png`."""
    return len(_PLACE.findall(os.path.basename(path))) == 1


def is_animation(path: str) -> bool:
    """Return whether a file is a GIF, WebP or PNG, by its first bytes."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return (
        head[:6] in (b"GIF87a", b"GIF89a")
        or head[:8] == b"\x89PNG\r\n\x1a\n"
        or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
    )


class SequenceSource:
    """Numbered pictures as the frames of a video; see `Source`."""

    def __init__(
        self,
        pattern: str,
        *,
        rate: Fraction = DEFAULT_RATE,
        size: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> None:
        """Find the files, and read the first.

        Args:
            pattern: a path with one `%d` or `%06d`.
            rate: frames per second.
            size: longest long side; larger pictures are made smaller.
            start: time of the first frame wanted, in seconds.
            end: time before which the last frame wanted is shown, in seconds.

        Raises:
            VideoError: there is no such file.
            ImageError: the first cannot be read.
        """
        self.notes: list[str] = []
        self.damage: str | None = None
        self._size = size
        files = _numbered(pattern)
        first = 0 if start is None else int(-(-Fraction(start) * rate // 1))
        last = len(files) if end is None else int(-(-Fraction(end) * rate // 1))
        self._files = files[first:last]
        if not self._files:
            raise VideoError(f"{pattern}: expected numbered pictures, and there is none")
        self._first = self.origin = first
        pixels, alpha = self._read(self._files[0])
        self.info = VideoInfo(
            name=pattern,
            width=pixels.shape[1],
            height=pixels.shape[0],
            time_base=1 / rate,
            rate=rate,
            count=len(self._files),
            has_alpha=alpha is not None,
        )

    def frames(self, after: Position | None = None) -> Iterator[SourceFrame]:
        """Return the frames in order; see `Source.frames`."""
        begin = 0 if after is None else after.index + 1
        for index, path in enumerate(self._files[begin:], begin):
            try:
                pixels, alpha = self._read(path)
            except (ImageError, OSError) as error:
                self.damage = f"a picture cannot be read ({error})"
                return
            if pixels.shape[:2] != (self.info.height, self.info.width):
                raise VideoError(
                    f"{path}: the first picture has {self.info.width}x{self.info.height} pixels, "
                    f"and this one {pixels.shape[1]}x{pixels.shape[0]}: give frames of one size"
                )
            yield SourceFrame(pixels, self._first + index, 1, alpha)

    def close(self) -> None:
        """Do nothing; every file is closed as soon as it is read."""

    def _read(self, path: Path) -> tuple[Pixels, Pixels | None]:
        photo = read_image(path)
        if self._size is not None:
            photo = photo.resize_long_side(self._size)
        return photo.pixels, photo.alpha


class AnimationSource:
    """An animated GIF, WebP or PNG; see `Source`."""

    def __init__(
        self,
        path: str,
        *,
        size: int | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> None:
        """Open the file and look at its first frame.

        Args:
            path: of the file.
            size: longest long side; larger frames are made smaller.
            start: time of the first frame wanted, in seconds.
            end: time before which the last frame wanted is shown, in seconds.

        Raises:
            ImageError: it cannot be read.
            OSError: it cannot be opened.
        """
        self.notes: list[str] = []
        self.damage: str | None = None
        self._size = size
        self._start = 0.0 if start is None else start * 1000
        self.origin = round(self._start)
        self._end = None if end is None else end * 1000
        self._stream: BinaryIO = open(path, "rb")  # noqa: SIM115 (closed by `close`)
        try:
            self._image = open_picture(self._stream, path, DEFAULT_MAX_MEGAPIXELS)
            self.info = self._describe(path, is_whole=start is None and end is None)
        except BaseException:
            self.close()
            raise

    def frames(self, after: Position | None = None) -> Iterator[SourceFrame]:
        """Return the frames in order; see `Source.frames`."""
        pts, index = 0, self._first
        while index < self._count:
            try:
                duration, rgba = self._decode(index)
            except EOFError:
                return
            except (OSError, SyntaxError, ValueError) as error:
                self.damage = f"it is damaged ({error})"
                return
            if self._end is not None and pts >= self._end:
                return
            if pts >= self._start and (after is None or pts > after.pts):
                alpha = np.ascontiguousarray(rgba[..., 3]) if self.info.has_alpha else None
                yield SourceFrame(np.ascontiguousarray(rgba[..., :3]), pts, duration, alpha)
            pts += duration
            index += 1

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _describe(self, path: str, *, is_whole: bool) -> VideoInfo:
        with explain_decoder_errors(path, self._image.format or "picture"):
            self._count = int(getattr(self._image, "n_frames", 1))
            self._first = still_first(self._image) if self._count > 1 else 0
            duration, first = self._decode(self._first)
        return VideoInfo(
            name=path,
            width=first.shape[1],
            height=first.shape[0],
            time_base=_MILLISECONDS,
            rate=Fraction(1000, duration),
            count=self._count - self._first if is_whole else None,
            has_alpha=self._is_transparent(first),
            plays=count_plays(self._image) if self._count > 1 else 0,
        )

    def _is_transparent(self, first: Pixels) -> bool:
        """Return whether any frame is transparent somewhere; often the first is."""
        if (first[..., 3] < 255).any():
            return True
        with suppress(EOFError, OSError, SyntaxError, ValueError):  # `frames` will report it
            for index in range(self._first + 1, self._count):
                if (self._decode(index)[1][..., 3] < 255).any():
                    return True
        return False

    def _decode(self, index: int) -> tuple[int, Pixels]:
        """Decode a frame; returns its milliseconds, and RGBA."""
        with silence_pillow():
            self._image.seek(index)
            self._image.load()
            duration = round(self._image.info.get("duration", 0)) or _UNSTATED
            return duration, _to_array(self._image, self._size)


def _numbered(pattern: str) -> list[Path]:
    """Find the files of a pattern, in the order of their numbers."""
    folder, name = os.path.split(pattern)
    place = _PLACE.search(name)
    assert place is not None
    before, after = name[: place.start()], name[place.end() :]
    exact = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    found = []
    for path in glob.glob(os.path.join(glob.escape(folder), glob.escape(before) + "*")):
        match = exact.fullmatch(os.path.basename(path))
        if match and not is_stream(path):  # a pipe would be waited for
            found.append((int(match[1]), Path(path)))
    return [path for _, path in sorted(found)]


def _to_array(image: Image.Image, size: int | None) -> Pixels:
    rgba = np.asarray(image.convert("RGBA"))
    if size is None or max(rgba.shape[:2]) <= size:
        return rgba
    height, width = fit_long_side(rgba.shape[0], rgba.shape[1], size)
    return np.dstack(resize_premultiplied(rgba[..., :3], rgba[..., 3], height, width))
