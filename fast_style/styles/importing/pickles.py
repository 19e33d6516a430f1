"""Check the container of a pickled checkpoint, and its pickles, without unpickling them.

torch's own restricted loader would refuse most of these files, but torch, with its hundreds of
megabytes, would have to be loaded first, and some files keep that loader busy without end. A file
that passes is still loaded with `torch.load(weights_only=True)`.
"""

import zipfile
from io import BytesIO
from pathlib import Path

from fast_style.errors import ForeignCheckpointError
from fast_style.storage.git_lfs import LFS_DESCRIPTION, LFS_SIGNATURE
from fast_style.styles.importing.pickle_machine import RefusedPickleError, check_pickle

FILE_LIMIT = 1 << 30
"""The largest size of a checkpoint in bytes, ten times that of the largest published ones."""

# The pickle of a full-size network has 15 KB, as the tensors are stored separately.
_PICKLE_LIMIT = 1 << 20
_ENTRIES_LIMIT = 10_000


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
            head = file.read(len(LFS_SIGNATURE))
            if head == LFS_SIGNATURE:
                raise ForeignCheckpointError(f"{path} is {LFS_DESCRIPTION}")
            if head[:4] == b"PK\x03\x04":
                _check_archive(path, size)
            elif head[:1] == b"\x80":
                file.seek(0)
                _check_legacy(path, BytesIO(file.read(_PICKLE_LIMIT)), size)
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
    _check_one(path, content, size)


def _check_legacy(path: Path, content: BytesIO, size: int) -> None:
    """Check the old format: pickles of magic number, version, system, object and keys."""
    for _ in range(5):
        _check_one(path, content, size)


def _check_one(path: Path, content: BytesIO, size: int) -> None:
    try:
        check_pickle(content, size)
    except RefusedPickleError as error:
        raise ForeignCheckpointError(f"{path} {error}") from error
    except ValueError as error:
        raise ForeignCheckpointError(f"{path} is damaged or no checkpoint of torch") from error
