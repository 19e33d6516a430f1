"""Hostile pickles: refused in one sentence, quickly, and before torch is imported."""

import collections
import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from fast_style.errors import ForeignCheckpointError
from fast_style.styles.importing import read_state_dict
from fast_style.styles.importing.pickles import check_pickles
from tests.commands import failure
from tests.foreign_networks import make_network

DATA = Path(__file__).parent / "data" / "models"
DICT, SET, STOP = b"\x80\x02}", b"s", b"."


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def global_(name: str) -> bytes:
    return b"c" + "\n".join(name.rsplit(".", 1)).encode() + b"\n"


def storage(name: str = "torch.FloatStorage", length: bytes = b"K\x04") -> bytes:
    return b"(" + text("storage") + global_(name) + text("0") + text("cpu") + length + b"tQ"


def tensor(shape: bytes, strides: bytes, offset: bytes = b"K\x00") -> bytes:
    call = global_("torch._utils._rebuild_tensor_v2") + b"(" + storage() + offset
    hooks = b"\x89" + global_("collections.OrderedDict") + b")R"
    return call + shape + strides + hooks + b"tR"


def write(path: Path, pickled: bytes, size: int = 16) -> Path:
    """Write an archive as torch does, with one storage of 16 bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", bytes(size))
    return path


def nested(levels: int, opcode: bytes = b"\x85") -> bytes:
    return b"\x80\x02)" + opcode * levels + STOP


def doubling(levels: int) -> bytes:
    """A list that holds the list before it twice, and so on."""
    pickled = b"\x80\x02]q\x00"
    for level in range(levels):
        pickled += (
            b"](" + b"h" + bytes([level]) + b"h" + bytes([level]) + b"eq" + bytes([level + 1])
        )
    return pickled + STOP


PAIR = b"K\x01K\x04\x86"
HOSTILE = {
    "tuple as a key": (DICT + b"K\x01K\x02\x86" + b"N" + SET + STOP, "a tuple as a key"),
    "dict in itself": (DICT + b"q\x00" + text("a") + b"h\x00" + SET + STOP, "contains itself"),
    "list in itself": (b"\x80\x02]q\x00h\x00a.", "list that contains itself"),
    "doubling": (doubling(60), "nests its parts|repeats its parts"),
    "doubling, flat": (doubling(30), "repeats its parts"),
    "deep tuples": (nested(30_000), "more than 32 deep"),
    "deep dicts": (b"\x80\x02" + (b"}" + text("a")) * 20_000 + b"N" + SET * 20_000 + STOP, "deep"),
    "many dimensions": (
        DICT
        + text("a")
        + tensor(b"(" + b"K\x01" * 65 + b"t", b"(" + b"K\x01" * 65 + b"t")
        + SET
        + STOP,
        "a tensor of 65 dimensions",
    ),
    "complex numbers": (
        DICT + text("a") + storage("torch.ComplexFloatStorage") + SET + STOP,
        "ComplexFloat",
    ),
    "quantized numbers": (DICT + text("a") + storage("torch.QInt8Storage") + SET + STOP, "QInt8"),
    "storage beyond the file": (
        DICT + text("a") + storage(length=b"J\xff\xff\xff\x7f") + SET + STOP,
        "claims 2147483647 values",
    ),
    "negative storage": (
        DICT + text("a") + storage(length=b"J\xff\xff\xff\xff") + SET + STOP,
        "claims -1 values",
    ),
    "repeated values": (
        DICT
        + text("a")
        + tensor(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", b"K\x00K\x00\x86")
        + SET
        + STOP,
        "claims .* bytes of values",
    ),
    "tensor beyond its storage": (
        DICT + text("a") + tensor(PAIR, b"K\x04K\x02\x86") + SET + STOP,
        "damaged",
    ),
    "negative strides": (
        DICT + text("a") + tensor(PAIR, b"J\xff\xff\xff\xffK\x01\x86") + SET + STOP,
        "damaged",
    ),
    "spoofed by POP": (
        b"\x80\x02" + text("os") + text("system") + text("torch") + text("Size") + b"00\x93.",
        "the pickle operation POP",
    ),
    "STACK_GLOBAL": (
        b"\x80\x02" + text("torch") + text("Size") + b"\x93.",
        "operation STACK_GLOBAL",
    ),
    "protocol 4": (pickle.dumps({"a": 1}, 4), "has protocol 4; expected 2"),
    "new object": (b"\x80\x02" + global_("torch.Size") + b")\x81.", "operation NEWOBJ"),
    "call of a call": (b"\x80\x02" + global_("collections.OrderedDict") + b")R)R.", "damaged"),
    "call of a type": (b"\x80\x02" + global_("torch.FloatStorage") + b"K\x01\x85R.", "damaged"),
    "slow codec": (
        b"\x80\x02" + global_("_codecs.encode") + text("a" * 1000) + text("punycode") + b"\x86R.",
        "damaged",
    ),
    "hidden methods": (
        b"\x80\x02" + global_("collections.OrderedDict") + b")R}" + text("items") + b"Nsb.",
        "sets attributes",
    ),
    "import": (
        b"\x80\x02" + global_("os.system") + text("touch ran") + b"\x85R.",
        "asks for 'os.system'",
    ),
    "import of a long name": (b"\x80\x02" + global_("a." + "b" * 500) + STOP, "asks for 'a.b+'"),
    "extension": (b"\x80\x02\x82\x01.", "operation EXT1"),
    "no end": (b"\x80\x02}", "damaged"),
    "nothing on the stack": (b"\x80\x02.", "damaged"),
    "marks without end": (b"\x80\x02" + b"(" * 20_000 + STOP, "damaged"),
    "unknown memo": (b"\x80\x02h\x09.", "damaged"),
    "odd number of items": (b"\x80\x02}(" + text("a") + b"u.", "damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickle_is_refused_in_one_short_sentence(tmp_path, name):
    pickled, message = HOSTILE[name]
    with pytest.raises(ForeignCheckpointError, match=message) as caught:
        check_pickles(write(tmp_path / "evil.pt", pickled))
    said = str(caught.value).removeprefix(str(tmp_path))
    assert "\n" not in said
    assert len(said) < 330
    assert "weights_only" not in said


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("hashbomb", "has a dict with a tuple as a key; expected text"),
        ("stack_global_spoof", "its pickle has protocol 4; expected 2"),
        ("selfref", "holds a dict that contains itself"),
        ("huge_ndim", "has a tensor of 2000 dimensions; expected 8 or fewer"),
        ("complex", "holds values of the kind 'ComplexFloat'; expected real numbers"),
    ],
)
def test_file_from_the_wild_is_refused(workplace, monkeypatch, file, message):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # it is not needed for that
    assert message in failure("import", DATA / f"{file}.pt", "--name", "evil")


def optimizer_state(network: torch.nn.Module) -> dict:
    optimizer = torch.optim.Adam(network.parameters(), amsgrad=True)
    sum(parameter.sum() for parameter in network.parameters()).backward()
    optimizer.step()
    return optimizer.state_dict()


@pytest.mark.parametrize("zipped", [True, False])
def test_everything_that_training_scripts_save_passes(tmp_path, zipped):
    network = make_network("pytorch-examples", 3, 1)
    state = network.state_dict()
    more = {
        "epoch": 3,
        "loss": 0.25,
        "best": None,
        "args": {
            "lr": 1e-3,
            "layers": ["relu1_2"],
            "size": (256, 256),
            "cuda": True,
            "big": 1 << 70,
        },
        "optimizer": optimizer_state(network),
        "copy": state,  # what is shared is stored once
        "halves": {key: value.half() for key, value in state.items()},
        "bfloat": torch.ones(3, dtype=torch.bfloat16),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "view": torch.arange(24.0).reshape(2, 3, 4)[:, ::2].transpose(0, 2),
        "shape": torch.ones(2, 3).shape,
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "bytes": b"\x00\xff",
        "pairs": collections.OrderedDict(a=1, b=torch.ones(1)),
    }
    path = tmp_path / "checkpoint.pth"
    torch.save({**more, "state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    found = read_state_dict(path)
    assert found.keys() == state.keys()


def test_text_of_torch_does_not_reach_the_user(tmp_path):
    """A file that only torch refuses: its storage is missing."""
    pickled = DICT + text("a") + tensor(PAIR, b"K\x04K\x01\x86") + SET + STOP
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    with pytest.raises(ForeignCheckpointError, match="cannot be loaded as tensors alone") as caught:
        read_state_dict(path)
    assert "weights_only" not in str(caught.value)


def test_machine_and_torch_agree_on_a_sound_file(tmp_path):
    pickled = DICT + text("a") + tensor(PAIR, b"K\x04K\x01\x86") + SET + STOP
    assert read_state_dict(write(tmp_path / "net.pth", pickled))["a"].shape == (1, 4)
    assert torch.load(io.BytesIO((tmp_path / "net.pth").read_bytes())).keys() == {"a"}
