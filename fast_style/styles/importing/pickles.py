"""Check what a pickled checkpoint would import, without unpickling it.

torch's own restricted loader would refuse the same files, but torch, with its hundreds of
megabytes, would have to be loaded first. Here the opcodes are read one by one and no object is
created; a file that passes is still loaded with `torch.load(weights_only=True)`.
"""

import pickletools
import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from fast_style.errors import ForeignCheckpointError

FILE_LIMIT = 1 << 30
"""The largest size of a checkpoint in bytes, ten times that of the largest published ones."""

# The pickle of a full-size network has 15 KB, as the tensors are stored separately.
_PICKLE_LIMIT = 1 << 20
_ENTRIES_LIMIT = 10_000

# Names that state dicts need; a subset of what torch's restricted loader allows.
_ALLOWED = re.compile(
    r"collections\.OrderedDict|_codecs\.encode|torch\.(\w+Storage|Size|device|"
    r"b?float(16|32|64)?|half|double|u?int(8|16|32|64)|long|bool|"
    r"_utils\._rebuild_(tensor(_v2)?|parameter)|storage\.(Untyped|Typed)Storage)"
)


def check_pickles(path: Path) -> None:
    """Check that a file is a checkpoint of torch that contains only tensors.

    Raises:
        ForeignCheckpointError: it is not; the message has the reason.
    """
    try:
        if not path.is_file():
            raise ForeignCheckpointError(f"there is no file {path}; expected a checkpoint")
        size = path.stat().st_size
        if size > FILE_LIMIT:
            raise ForeignCheckpointError(
                f"{path} has {size} bytes; a checkpoint has at most {FILE_LIMIT}"
            )
        with path.open("rb") as file:
            head = file.read(4)
            if head == b"PK\x03\x04":
                _check_archive(path, size)
            elif head[:1] == b"\x80":
                file.seek(0)
                _check_legacy(path, BytesIO(file.read(_PICKLE_LIMIT)))
            else:
                raise ForeignCheckpointError(
                    f"{path} is not a checkpoint written by torch.save (.pth, .pt, .model)"
                )
    except OSError as error:
        raise ForeignCheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _check_archive(path: Path, size: int) -> None:
    """Check the zip format of torch 1.6 and newer: the pickle and each tensor are its entries."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > _ENTRIES_LIMIT:
                raise ForeignCheckpointError(f"{path} has {len(entries)} entries: no checkpoint")
            if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                raise ForeignCheckpointError(
                    f"{path} is a TorchScript program; expected a state_dict, as "
                    "torch.save(model.state_dict(), ...) writes it"
                )
            # torch never compresses; a compressed file could expand to any size.
            unfolded = sum(entry.file_size for entry in entries)
            if unfolded > size or any(entry.compress_type for entry in entries):
                raise ForeignCheckpointError(
                    f"{path} is compressed or claims {unfolded} bytes; torch writes its "
                    "checkpoints uncompressed"
                )
            pickles = [entry for entry in entries if entry.filename.split("/")[1:] == ["data.pkl"]]
            if len(pickles) != 1:
                raise ForeignCheckpointError(f"{path} is a zip archive but no checkpoint of torch")
            if pickles[0].file_size > _PICKLE_LIMIT:
                raise ForeignCheckpointError(
                    f"{path}: its pickle is far larger than a checkpoint's"
                )
            content = BytesIO(archive.read(pickles[0]))
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise ForeignCheckpointError(f"{path} is a damaged zip archive ({error})") from error
    _check_one(path, content)


def _check_legacy(path: Path, content: BytesIO) -> None:
    """Check the old format: pickles of magic number, version, system, object and keys."""
    for _ in range(5):
        _check_one(path, content)


def _check_one(path: Path, content: BytesIO) -> None:
    for name in _globals(path, content):
        if not _ALLOWED.fullmatch(name):
            raise ForeignCheckpointError(
                f"{path} asks for {name[:100]!r}, and a checkpoint that asks for more than tensors "
                "could run any code: it is not loaded; save the network's state_dict alone, with "
                "torch.save(model.state_dict(), ...)"
            )


def _globals(path: Path, content: BytesIO) -> Iterator[str]:
    """Yield the name of everything that a pickle would import."""
    texts = ["?", "?"]
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in ("GLOBAL", "INST"):
                yield str(argument).replace(" ", ".")
            elif opcode.name == "STACK_GLOBAL":
                yield ".".join(texts)
            elif opcode.name.startswith("EXT"):
                yield f"extension {argument}"
            elif isinstance(argument, str):
                texts = [texts[1], argument]
            elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                texts = [texts[1], "?"]  # a memoized value, which may be any text
    except (ValueError, OverflowError, IndexError) as error:
        raise ForeignCheckpointError(f"{path} is damaged or no checkpoint of torch") from error
