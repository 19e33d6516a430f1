"""Damaged checkpoints against the importer: `python -m tests.fuzz.fuzz_foreign --seconds 300`."""

import io
import pickle
import sys
import zipfile
from pathlib import Path
from random import Random

import torch

from fast_style.styles.importing import convert_checkpoint, read_state_dict
from tests.foreign_networks import PROJECTS, make_network
from tests.fuzz.mutations import fuzz, mutated


def sound_files() -> list[bytes]:
    """Small checkpoints of each project, in both formats."""
    files = []
    for layout in PROJECTS:
        state = make_network(layout, 1, 1).state_dict()
        for content in (state, {"epoch": 1, "loss": 0.5, "state_dict": state}):
            for is_zip in (True, False):
                buffer = io.BytesIO()
                torch.save(content, buffer, _use_new_zipfile_serialization=is_zip)
                files.append(buffer.getvalue())
    return files


FILES = sound_files()
PICKLES = [
    archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))
    for content in FILES
    if content[:2] == b"PK"
    for archive in [zipfile.ZipFile(io.BytesIO(content))]
]


def make(random: Random) -> bytes:
    """Damage a file's bytes, its pickle within a sound archive, or its state dict."""
    content = random.choice(FILES)
    kind = random.randrange(4)
    if kind == 0 and content[:2] == b"PK":
        return with_pickle(content, mutated(random, random.choice(PICKLES), PICKLES, near=10**9))
    if kind == 1:
        state = make_network(random.choice(list(PROJECTS)), 1, 1).state_dict()
        return saved(random, state)
    # A zip's directory is at its end, the old format's pickle at its start.
    near = 10**9 if content[:2] == b"PK" else 9000
    return mutated(random, content, FILES, near)


def with_pickle(content: bytes, pickled: bytes) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as before,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as after,
    ):
        for entry in before.infolist():
            is_pickle = entry.filename.endswith("/data.pkl")
            after.writestr(entry.filename, pickled if is_pickle else before.read(entry))
    return buffer.getvalue()


def saved(random: Random, state: dict) -> bytes:
    """A state dict with odd entries, soundly saved."""
    odd = [
        torch.zeros(0),
        torch.zeros(2, 0, 3, 3),
        torch.zeros(1).expand(9, 9, 9, 9),
        torch.ones(3, dtype=torch.int64),
        torch.ones(3, dtype=torch.bool),
        torch.ones(3, dtype=torch.bfloat16),
        torch.ones(3, dtype=torch.complex64),
        torch.ones(3, 3).to_sparse(),
        torch.ones(4, 3, 9, 9)[:1, :, ::2],
        torch.full((3,), torch.inf),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
        torch.empty(3, device="meta"),
        3,
        None,
        "text",
        [torch.ones(1)],
        {"a": torch.ones(1)},
    ]
    for _ in range(random.choice([1, 2, 5])):
        key = random.choice(list(state))
        change = random.randrange(3)
        if change == 0:
            state = {name: value for name, value in state.items() if name != key}
        elif change == 1:
            state = {**state, key: random.choice(odd)}
        else:
            state = {**state, random.choice([f"{key}.more", "", "x", 5]): random.choice(odd)}
    buffer = io.BytesIO()
    try:
        torch.save(state, buffer, _use_new_zipfile_serialization=random.random() < 0.7)
    except (RuntimeError, pickle.PicklingError, NotImplementedError, AttributeError):
        return b""
    return buffer.getvalue()


def read(path: Path) -> None:
    """All that an import does before the model is written."""
    convert_checkpoint(read_state_dict(path))


if __name__ == "__main__":
    sys.exit(fuzz(__doc__ or "", make, read, ".pth"))
