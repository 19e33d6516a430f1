"""The parts of a video that is being written, so that a killed run can be resumed exactly.

Beside the output lies a folder with, for every `PART_FRAMES` frames, the encoded packets
(`00000.packets`), the state of the steadying after them (`00000.npz`) and, written last, what makes
the part count (`00000.json`). An unbroken run writes the same parts, so both give the
same pictures.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import UsageError
from fast_style.storage.atomic_write import replace_file
from fast_style.video.encoding import Encoding, FrameEncoder
from fast_style.video.source import Pixels, Position

if TYPE_CHECKING:
    from av.packet import Packet as _Packet

    Packet = _Packet[Any]

__all__ = ["PART_FRAMES", "PartWriter", "PartsFolder", "StoredPacket"]

PART_FRAMES = 250
"""Frames of a part: as many as x264 puts between two key frames at most."""

_RECORD = struct.Struct("<qqI?")  # time, duration, bytes, whether it is a key frame
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class StoredPacket:
    """An encoded packet; times are in ticks of the encoding."""

    pts: int
    duration: int
    is_key: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class _Part:
    """What is known of a complete part.

    Attributes:
        frames: how many it has.
        delay: by how many frames an encoder's order runs ahead of the times.
        position: of its last frame.
    """

    frames: int
    delay: int
    position: Position


class PartsFolder:
    """The folder of an output's parts."""

    def __init__(self, output: Path) -> None:
        """Name the folder of an output; nothing is made yet."""
        self.path = output.parent / f".{output.name}.parts"
        self.parts: list[_Part] = []

    @property
    def position(self) -> Position | None:
        """The last frame that is written."""
        return self.parts[-1].position if self.parts else None

    @property
    def frames(self) -> int:
        """How many frames are written."""
        return sum(part.frames for part in self.parts)

    def begin(self, job: Mapping[str, Any], *, resume: bool) -> None:
        """Make the folder, or find the parts that are there.

        Args:
            job: all that the frames depend on.
            resume: whether to continue what is there.

        Raises:
            UsageError: what is there belongs to another job.
            OSError: the folder cannot be made.
        """
        fingerprint = hashlib.sha256(
            json.dumps(job, sort_keys=True, default=str).encode()
        ).hexdigest()
        note = self.path / "job.json"
        if resume and note.exists():
            before = json.loads(note.read_text(encoding="utf-8"))
            if before.get("fingerprint") != fingerprint:
                changed = [
                    key
                    for key, value in json.loads(json.dumps(dict(job), default=str)).items()
                    if before.get("job", {}).get(key) != value
                ]
                raise UsageError(
                    f"{self.path.parent / self.path.name[1:-6]}: expected the options of the run "
                    f"that is to be resumed, and these differ: {', '.join(changed) or 'version'}; "
                    "give the same, or leave out --resume to begin anew"
                )
            self._find()
            return
        self.remove()
        self.path.mkdir(parents=True)
        text = json.dumps({"fingerprint": fingerprint, "job": dict(job)}, default=str)
        replace_file(note, text.encode())

    def _find(self) -> None:
        while (self._file("json")).exists():
            text = json.loads(self._file("json").read_text(encoding="utf-8"))
            position = Position(**text.pop("position"))
            self.parts.append(_Part(position=position, **text))

    def _file(self, suffix: str, index: int | None = None) -> Path:
        return self.path / f"{len(self.parts) if index is None else index:05d}.{suffix}"

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the state after the last part."""
        if not self.parts:
            return {}
        with np.load(self._file("npz", len(self.parts) - 1), allow_pickle=False) as arrays:
            return dict(arrays)

    def open_part(self, encoding: Encoding) -> PartWriter:
        """Begin the next part."""
        return PartWriter(self._file("packets"), encoding)

    def store(
        self, part: PartWriter | None, frames: int, position: Position, state: Mapping[str, Any]
    ) -> None:
        """Make a part count.

        Args:
            part: its packets, or None where the frames are files of their own.
            frames: how many it has.
            position: of the last one.
            state: what the next part continues from.
        """
        delay = 0 if part is None else part.close()
        with open(self._file("npz"), "wb") as file:
            np.savez(file, **state)
        stored = _Part(frames, delay, position)
        replace_file(self._file("json"), json.dumps(asdict(stored)).encode())
        if self.parts:
            self._file("npz", len(self.parts) - 1).unlink(missing_ok=True)
        self.parts.append(stored)

    def packets(self) -> Iterator[tuple[StoredPacket, int]]:
        """Return all packets in the encoder's order, each with its decoding time."""
        delay = max((part.delay for part in self.parts), default=0)
        times = _frame_times(self)
        waiting = [next(times, None) for _ in range(delay + 1)]
        first = waiting[0] or 0
        step = max(1, (waiting[1] or first) - first) if delay else 1
        early = [first - (delay - i) * step for i in range(delay)]
        decoded = iter([*early, *[time for time in waiting if time is not None]])
        for index in range(len(self.parts)):
            for packet in read_packets(self._file("packets", index))[1]:
                time = next(decoded, None)
                if time is None:
                    time = next(times)
                yield packet, time

    def extradata(self) -> bytes:
        """Return what a decoder of the packets needs."""
        return read_packets(self._file("packets", 0))[0]

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


class PartWriter:
    """The packets of a part that is being written."""

    def __init__(self, path: Path, encoding: Encoding) -> None:
        """Open the encoder and the file."""
        self._encoder = FrameEncoder(encoding)
        self._file = open(path, "wb")  # noqa: SIM115 (closed by `close` or `abandon`)
        extradata = self._encoder.extradata
        self._file.write(_LENGTH.pack(len(extradata)) + extradata)
        self._shown: list[int] = []  # times of the packets, in the encoder's order
        self._durations: dict[int, int] = {}  # by time; many encoders do not hand them on

    def write(self, pixels: Pixels, alpha: Pixels | None, pts: int, duration: int) -> None:
        """Encode a frame."""
        self._durations[pts] = duration
        self._store(self._encoder.encode(pixels, alpha, pts, duration))

    def close(self) -> int:
        """Write what the encoder still holds; returns the delay of its order, in frames."""
        self._store(self._encoder.finish())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        rank = {pts: index for index, pts in enumerate(sorted(self._shown))}
        return max((index - rank[pts] for index, pts in enumerate(self._shown)), default=0)

    def abandon(self) -> None:
        """Close the file; the part does not count."""
        self._file.close()

    def _store(self, packets: list[Packet]) -> None:
        for packet in packets:
            assert packet.pts is not None
            data = bytes(packet)
            self._shown.append(packet.pts)
            duration = self._durations.pop(packet.pts, 0) or packet.duration or 0
            record = _RECORD.pack(packet.pts, duration, len(data), packet.is_keyframe)
            self._file.write(record + data)


def read_packets(path: Path) -> tuple[bytes, Iterator[StoredPacket]]:
    """Read a part's file: what a decoder needs, and the packets."""
    with open(path, "rb") as file:
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        extradata = file.read(length)

    def packets() -> Iterator[StoredPacket]:
        with open(path, "rb") as file:
            file.seek(_LENGTH.size + length)
            while head := file.read(_RECORD.size):
                pts, duration, size, is_key = _RECORD.unpack(head)
                yield StoredPacket(pts, duration, is_key, file.read(size))

    return extradata, packets()


def _frame_times(folder: PartsFolder) -> Iterator[int]:
    """Return the times of all frames, in order; parts follow each other."""
    for index in range(len(folder.parts)):
        path = folder._file("packets", index)
        times = []
        with open(path, "rb") as file:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            file.seek(length, os.SEEK_CUR)
            while head := file.read(_RECORD.size):
                pts, _, size, _ = _RECORD.unpack(head)
                times.append(pts)
                file.seek(size, os.SEEK_CUR)
        yield from sorted(times)
