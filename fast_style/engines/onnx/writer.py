"""Write ONNX files without the package `onnx`.

A graph needs only a few fields of the protobuf format. The package would add its import to every
cold start and its size to every installation.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The newest operator set whose norms and reductions all releases of both engines read alike, and
# its file version.
OPSET, _IR_VERSION = 17, 8

FLOAT, UINT8, INT64, FLOAT16 = 1, 2, 7, 10  # TensorProto.DataType
_TYPES = {
    np.dtype(np.float32): FLOAT,
    np.dtype(np.float16): FLOAT16,
    np.dtype(np.int64): INT64,
    np.dtype(np.uint8): UINT8,
}

Value = tuple[str, int, tuple[int | str, ...]]
"""An input or output: name, type (`FLOAT`, ...) and shape; text stands for a free size."""


class Writer:
    """Nodes and constants of a graph, in the protobuf encoding of ONNX.

    Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
    """

    def __init__(self) -> None:
        """Start an empty graph."""
        self.nodes: list[bytes] = []
        self.constants: dict[str, tuple[bytes, memoryview]] = {}  # all but the values; the values

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        name = output or f"{kind}_{len(self.nodes)}"
        fields = [_bytes(1, value) for value in inputs]
        fields += [_bytes(2, name), _bytes(3, f"node_{name}"), _bytes(4, kind)]
        fields += [_bytes(5, _attribute(key, value)) for key, value in attributes.items()]
        self.nodes.append(b"".join(fields))
        return name

    def constant(self, value: Any, name: str = "") -> str:
        """Add a constant and return its name: floats, uint8, or integers (stored as int64)."""
        array: NDArray[Any] = np.asarray(value)
        if array.dtype.kind == "i":
            array = array.astype(np.int64)
        name = name or f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        shape: tuple[int, ...] = array.shape
        fields = [_number(1, side) for side in shape]
        fields += [_number(2, _TYPES[array.dtype.newbyteorder("=")]), _bytes(8, name)]
        fields.append(_prefix(9, array.nbytes))
        self.constants[name] = b"".join(fields), array.reshape(-1).data.cast("B")
        return name

    def finish(
        self,
        inputs: Iterable[Value],
        outputs: Iterable[Value],
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the ModelProto. The weights, nearly all of it, are copied only once."""
        graph: list[bytes | memoryview] = [_bytes(1, node) for node in self.nodes]
        graph.append(_bytes(2, "fast_style"))
        for head, values in self.constants.values():
            graph += [_prefix(5, len(head) + len(values)), head, values]
        graph += [_bytes(11, _value(*value)) for value in inputs]
        graph += [_bytes(12, _value(*value)) for value in outputs]
        opset = _bytes(1, "") + _number(2, OPSET)
        model = [_number(1, _IR_VERSION), _bytes(2, "fast-style"), _bytes(8, opset)]
        for key, value in (metadata or {}).items():
            model.append(_bytes(14, _bytes(1, key) + _bytes(2, value)))
        return b"".join([*model, _prefix(7, sum(map(len, graph))), *graph])


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _prefix(field: int, length: int) -> bytes:
    return _varint(field << 3 | 2) + _varint(length)


def _bytes(field: int, value: bytes | str) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return _prefix(field, len(content)) + content


def _attribute(name: str, value: float | int | str | tuple[int, ...]) -> bytes:
    """Encode an AttributeProto: the field of the value, and field 20 with its type."""
    if isinstance(value, float):
        content, kind = _varint(2 << 3 | 5) + struct.pack("<f", value), 1
    elif isinstance(value, int):
        content, kind = _number(3, value), 2
    elif isinstance(value, str):
        content, kind = _bytes(4, value), 3
    else:
        content, kind = b"".join(_number(8, entry) for entry in value), 7
    return _bytes(1, name) + content + _number(20, kind)


def _value(name: str, element: int, shape: tuple[int | str, ...]) -> bytes:
    """Encode a ValueInfoProto; text stands for a free size."""
    sides = [_bytes(1, _number(1, n) if isinstance(n, int) else _bytes(2, n)) for n in shape]
    tensor = _number(1, element) + _bytes(2, b"".join(sides))
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))
