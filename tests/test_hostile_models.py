"""Hostile model files: refused in one sentence, quickly, and in little memory."""

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fast_style.errors import ForeignCheckpointError, ModelFileError
from fast_style.models.card import METADATA_KEY
from fast_style.models.config import NetworkConfig, parameter_shapes
from fast_style.models.model_file import load_model, save_model
from fast_style.styles.importing import read_state_dict
from tests.commands import environment
from tests.conftest import SMALLEST, make_card, make_weights

MEMORY = 200 * 1000 * 1000
# Generous: what is asserted is the memory, of which reading or building too much would take more.
SECONDS = 60

# Runs a command and says how much memory it had at most. Not getrusage: Linux counts in it what
# the process had that started this one.
MEASURED = """
import sys
from fast_style.cli.main import main
try:
    main(sys.argv[1:])
finally:
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith("VmHWM:")]
    print("KILOBYTES", line.split()[1], file=sys.stderr)
"""


measured = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is measured as only Linux can"
)


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch ran",)


def header_of(config: NetworkConfig) -> dict:
    """A sound header of float16 weights, one after the other."""
    start = 0
    header: dict = {"__metadata__": {METADATA_KEY: json.dumps(make_card(config=config).to_dict())}}
    for name, shape in parameter_shapes(config).items():
        end = start + 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
        start = end
    return header


def write(path: Path, header: dict, n_bytes: int, claimed: int | None = None) -> None:
    """Write a header and zeros after it; a hole in the file where they are many."""
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", claimed or len(encoded)) + encoded)
        file.truncate(8 + len(encoded) + n_bytes)


def size_of(header: dict) -> int:
    return max(entry["data_offsets"][1] for key, entry in header.items() if key[0] != "_")


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(RunsCode()))


def pickled_in_a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(RunsCode(), 2))
        archive.writestr("archive/version", "3\n")


def pickled_behind_a_header(path: Path) -> None:
    """A pickle for those who look only at the first bytes."""
    path.write_bytes(struct.pack("<Q", 40) + b"{" + pickle.dumps(RunsCode()) + bytes(100))


def huge_header(path: Path) -> None:
    write(path, {}, 100, claimed=100 * 10**9)


def huge_header_that_is_there(path: Path) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 100 * 10**9) + b"{")
        file.truncate(100 * 10**9 + 1000)


def deep_header(path: Path) -> None:
    content = b'{"a":' * 200_000
    path.write_bytes(struct.pack("<Q", len(content)) + content + bytes(10))


def deep_card(path: Path) -> None:
    header = header_of(SMALLEST)
    header["__metadata__"][METADATA_KEY] = "[" * 1_000_000
    write(path, header, size_of(header))


def overlapping(path: Path) -> None:
    header = header_of(SMALLEST)
    total = size_of(header)
    header["output.bias"]["data_offsets"] = [0, 6]
    write(path, header, total)


def with_a_gap(path: Path) -> None:
    header = header_of(SMALLEST)
    header["output.bias"]["data_offsets"] = [
        end + 8 for end in header["output.bias"]["data_offsets"]
    ]
    write(path, header, size_of(header))


def missing_bytes(path: Path) -> None:
    header = header_of(SMALLEST)
    write(path, header, size_of(header) - 6)


def backwards(path: Path) -> None:
    header = header_of(SMALLEST)
    header["output.bias"]["data_offsets"] = header["output.bias"]["data_offsets"][::-1]
    write(path, header, size_of(header) + 6)


def beyond_64_bits(path: Path) -> None:
    header = header_of(SMALLEST)
    header["output.bias"] |= {"shape": [2**63, 2**63], "data_offsets": [2**64, 2**65]}
    write(path, header, 10_000)


def missing_weights(path: Path) -> None:
    header = header_of(SMALLEST)
    del header["output.bias"]
    write(path, header, size_of(header))


def nan_weights(path: Path) -> None:
    save_model(path, make_card(), make_weights(SMALLEST))
    metadata = {METADATA_KEY: json.dumps(make_card().to_dict())}
    save_file(load_file(path) | {"output.bias": np.full(3, np.nan, np.float16)}, path, metadata)


def infinite_float32_weights(path: Path) -> None:
    weights = make_weights(SMALLEST) | {"output.bias": np.full(3, -np.inf, np.float32)}
    save_file(weights, path, {METADATA_KEY: json.dumps(make_card().to_dict())})


def wrong_shape(path: Path) -> None:
    header = header_of(SMALLEST)
    header["output.bias"]["shape"] = [1, 3]
    write(path, header, size_of(header))


def another_network(path: Path) -> None:
    """Weights of 19 GB by its card, of a few by its header."""
    header = header_of(SMALLEST)
    huge = make_card(config=NetworkConfig(512, 64)).to_dict()
    header["__metadata__"][METADATA_KEY] = json.dumps(huge)
    write(path, header, size_of(header))


def huge_tensor(path: Path) -> None:
    """Four gigabytes that are there, as a hole, where four bytes belong."""
    header = header_of(SMALLEST)
    start = header["output.bias"]["data_offsets"][0]
    header["output.bias"] |= {"shape": [2**31], "data_offsets": [start, start + 2**32]}
    write(path, header, size_of(header))


def other_types(path: Path) -> None:
    header = header_of(SMALLEST)
    header["output.bias"]["dtype"] = "BF16"
    write(path, header, size_of(header))


HOSTILE = [
    pickled,
    pickled_in_a_zip,
    pickled_behind_a_header,
    huge_header,
    huge_header_that_is_there,
    deep_header,
    deep_card,
    overlapping,
    with_a_gap,
    missing_bytes,
    backwards,
    beyond_64_bits,
    missing_weights,
    nan_weights,
    infinite_float32_weights,
    wrong_shape,
    another_network,
    huge_tensor,
    other_types,
]


def refused(folder: Path, *args: str) -> str:
    """Run a command that must refuse a file in one line; give the line."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURED, *args],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    *lines, measured = done.stderr.splitlines()
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1, done.stderr
    assert "bug" not in lines[0]
    kilobytes = int(measured.removeprefix("KILOBYTES "))
    assert 1024 * kilobytes < MEMORY
    assert not (folder / "ran").exists()
    return lines[0]


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_load_model_refuses_it(tmp_path, make):
    path = tmp_path / "style.safetensors"
    make(path)
    with pytest.raises(ModelFileError, match=r"style\.safetensors"):
        load_model(path)


@measured
@pytest.mark.parametrize(
    "make",
    [
        pickled_in_a_zip,
        huge_header_that_is_there,
        deep_card,
        overlapping,
        nan_weights,
        another_network,
        huge_tensor,
    ],
    ids=lambda make: make.__name__,
)
def test_command_refuses_it_in_little_memory(tmp_path, make):
    make(tmp_path / "style.safetensors")
    assert "style.safetensors" in refused(tmp_path, "verify", "style.safetensors")


@measured
@pytest.mark.parametrize("make", [pickled, pickled_in_a_zip], ids=lambda make: make.__name__)
def test_importer_refuses_pickles_before_torch_is_imported(tmp_path, make):
    make(tmp_path / "evil.pth")
    message = refused(tmp_path, "import", "evil.pth", "--name", "evil")
    assert "asks for" in message or "its pickle has protocol 4" in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "style.safetensors")
    with pytest.raises(ModelFileError, match="is a pipe or a device"):
        load_model(tmp_path / "style.safetensors")
    with pytest.raises(ForeignCheckpointError, match="there is no file"):
        read_state_dict(tmp_path / "style.safetensors")
