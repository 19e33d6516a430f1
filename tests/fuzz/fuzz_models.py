"""Damaged model files against the reader: `python -m tests.fuzz.fuzz_models --seconds 300`."""

import json
import struct
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from fast_style.errors import FastStyleError
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import load_model, read_card, save_model
from fast_style.styles.fingerprint import _read_fingerprint
from tests.conftest import make_card, make_weights
from tests.fuzz.mutations import NUMBERS, fuzz, mutated

VALUES: list[Any] = [None, True, -1, 0.5, 1e300, "", "x", "\ud800", [], {}, [1], {"a": 1}, *NUMBERS]


def sound_files() -> list[bytes]:
    files = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        for config in (NetworkConfig(1, 0), NetworkConfig(2, 1, "transposed", 150.0)):
            fingerprint = {"version": 1, "sha256": "0" * 64, "picture": [127.0] * 192}
            card = make_card(
                config=config,
                grain=3,
                thumbnail=b"1234",
                training={"a": {"b": [1, 2.5, None]}},
                fingerprint=fingerprint,
            )
            for float32 in (False, True):
                save_model(path, card, make_weights(config), float32=float32)
                files.append(path.read_bytes())
    return files


FILES = sound_files()


def changed(random: Random, value: Any, depth: int = 0) -> Any:
    """Change something in a JSON value."""
    if depth > 4 or random.random() < 0.25 or not isinstance(value, dict | list) or not value:
        return random.choice(VALUES)
    if isinstance(value, list):
        place = random.randrange(len(value))
        return [*value[:place], changed(random, value[place], depth + 1), *value[place + 1 :]]
    key = random.choice(list(value))
    others = {name: inner for name, inner in value.items() if name != key}
    kind = random.random()
    if kind < 0.15:
        return others
    if kind < 0.3:
        return {**others, random.choice(["more", *value]): random.choice(VALUES)}
    return {**others, key: changed(random, value[key], depth + 1)}


def make(random: Random) -> bytes:
    """Damage bytes, or the header's JSON, or the card's JSON within it."""
    content = random.choice(FILES)
    kind = random.randrange(3)
    if kind == 0:
        return mutated(random, content, FILES, near=6000)
    n_header = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + n_header])
    if kind == 1:
        header = changed(random, header)
    else:
        card = json.loads(header["__metadata__"]["fast_style"])
        for _ in range(random.choice([1, 1, 2, 4])):
            card = changed(random, card)
        header["__metadata__"]["fast_style"] = json.dumps(card)
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + content[8 + n_header :]


def read(path: Path) -> None:
    """All that is done with a file before its network runs."""
    try:
        read_card(path)
    except FastStyleError:
        load_model(path)  # must refuse it too
        raise AssertionError("a file whose card is refused was loaded") from None
    model = load_model(path)
    json.dumps(model.card.to_dict())
    if model.card.fingerprint:
        _read_fingerprint(model.card.fingerprint)


if __name__ == "__main__":
    sys.exit(fuzz(__doc__ or "", make, read, ".safetensors"))
