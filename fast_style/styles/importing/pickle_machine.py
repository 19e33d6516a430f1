"""Run a pickle on descriptions in place of objects, and refuse what no state dict needs.

No object is created, nothing is imported and nothing is hashed but text and numbers: a tensor is a
description of its shape, a dict is a list of its values. The stack and the memo are those of
Python's own unpickler, so that what is checked is what would be loaded. Only the operations are
known that torch writes with its pickle protocol, 2, and that its restricted loader runs.
"""

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

__all__ = ["RefusedPickleError", "check_pickle"]

_ITEM_BYTES = {
    "torch.FloatStorage": 4,
    "torch.DoubleStorage": 8,
    "torch.HalfStorage": 2,
    "torch.BFloat16Storage": 2,
    "torch.LongStorage": 8,
    "torch.IntStorage": 4,
    "torch.ShortStorage": 2,
    "torch.CharStorage": 1,
    "torch.ByteStorage": 1,
    "torch.BoolStorage": 1,
}
_DTYPES = (
    *("float", "float16", "float32", "float64", "bfloat16", "half", "double", "bool", "long"),
    *("int", "int8", "int16", "int32", "int64", "uint8"),
)
_TENSOR, _TENSOR_V2 = "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"
_PARAMETER, _ORDERED = "torch._utils._rebuild_parameter", "collections.OrderedDict"
_CALLED = (_TENSOR, _TENSOR_V2, _PARAMETER, _ORDERED, "torch.Size", "torch.device")

# `_codecs.encode` makes bytes of text in protocol 2.
_ALLOWED = {
    *_ITEM_BYTES,
    *(f"torch.{name}" for name in _DTYPES),
    *_CALLED,
    "_codecs.encode",
}

_MOST_DIMENSIONS = 8
_DEEPEST = 32
_MOST_PARTS = 1_000_000


class RefusedPickleError(Exception):
    """A pickle that is not loaded; the text follows the name of the file."""


@dataclass(frozen=True, slots=True)
class _Name:
    """What a pickle imports, by module and name."""

    name: str


@dataclass(slots=True, eq=False)
class _Node:
    """A container, a storage or a tensor.

    Attributes:
        kind: dict, list, tuple, storage, tensor or other.
        parts: what it holds; of a dict the values.
        keys: of a dict.
        length: items of a storage.
        item_bytes: bytes of an item of a storage or a tensor.
    """

    kind: str
    parts: list["_Value"] = field(default_factory=list)
    keys: list["_Value"] = field(default_factory=list)
    length: int = 0
    item_bytes: int = 0


_Value = _Node | _Name | str | int | float | bytes | None


def check_pickle(content: BinaryIO, size: int) -> None:
    """Run the next pickle of a stream.

    Args:
        content: the stream; it is left behind the pickle's end.
        size: bytes of the whole file, which no tensor in it can exceed.

    Raises:
        RefusedPickleError: it has something that a state dict does not need.
        ValueError: it is damaged.
    """
    machine = _Machine(size)
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                break
            machine.run(opcode.name, argument)
        _check_whole(machine.stack.pop())
    except (IndexError, KeyError, TypeError, OverflowError) as error:
        raise ValueError("damaged") from error


class _Machine:
    def __init__(self, size: int) -> None:
        self.size = size
        self.stack: list[_Value] = []
        self._marked: list[list[_Value]] = []
        self._memo: dict[int, _Value] = {}

    def run(self, opcode: str, argument: object) -> None:
        """Run one operation."""
        operation = _OPERATIONS.get(opcode)
        if operation is None:
            raise RefusedPickleError(
                f"has the pickle operation {opcode}, which no checkpoint of torch needs: it is not "
                "loaded"
            )
        operation(self, argument)

    def protocol(self, argument: object) -> None:
        if argument not in (2, 3):
            raise RefusedPickleError(
                f"is not a checkpoint that can be read: its pickle has protocol {argument}; "
                "expected 2, which torch.save writes without pickle_protocol"
            )

    def push(self, argument: object) -> None:
        assert argument is None or isinstance(argument, str | int | float)
        self.stack.append(argument)

    def load_name(self, argument: object) -> None:
        name = str(argument).replace(" ", ".", 1)
        if name.startswith("torch.") and name.endswith("Storage") and name not in _ITEM_BYTES:
            kind = name.removeprefix("torch.").removesuffix("Storage")
            raise RefusedPickleError(
                f"holds values of the kind {kind[:40]!r}; expected real numbers, such as Float"
            )
        if name not in _ALLOWED:
            raise RefusedPickleError(
                f"asks for {name[:80]!r}, and a checkpoint that asks for more than tensors could "
                "run any code: it is not loaded; save the network's state_dict alone, with "
                "torch.save(model.state_dict(), ...)"
            )
        self.stack.append(_Name(name))

    def mark(self, _: object) -> None:
        self._marked.append(self.stack)
        self.stack = []

    def pop_marked(self) -> list[_Value]:
        found, self.stack = self.stack, self._marked.pop()
        return found

    def tuple_of(self, count: int) -> None:
        parts = self.stack[len(self.stack) - count :] if count else []
        if len(parts) != count:
            raise IndexError
        del self.stack[len(self.stack) - count :]
        self.stack.append(_Node("tuple", parts))

    def marked_tuple(self, _: object) -> None:
        parts = self.pop_marked()
        self.stack.append(_Node("tuple", parts))

    def put(self, argument: object) -> None:
        assert isinstance(argument, int)
        self._memo[argument] = self.stack[-1]

    def get(self, argument: object) -> None:
        assert isinstance(argument, int)
        self.stack.append(self._memo[argument])

    def append(self, parts: list[_Value]) -> None:
        _node(self.stack[-1], "list").parts += parts

    def set_items(self, parts: list[_Value]) -> None:
        target = _node(self.stack[-1], "dict")
        for key, value in zip(parts[0::2], parts[1::2], strict=True):
            if not isinstance(key, str | int):
                kind = key.kind if isinstance(key, _Node) else type(key).__name__
                raise RefusedPickleError(f"has a dict with a {kind} as a key; expected text")
            target.keys.append(key)
            target.parts.append(value)

    def set_item(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def build(self, _: object) -> None:
        """Set attributes: torch keeps the versions of modules as `_metadata` of a state dict."""
        state = _node(self.stack.pop(), "dict")
        target = _node(self.stack[-1], "dict")
        if state.keys != ["_metadata"]:
            raise RefusedPickleError("sets attributes that no state_dict has: it is not loaded")
        target.parts += state.parts

    def load_storage(self, _: object) -> None:
        kind, name, key, place, length, *view = _node(self.stack.pop(), "tuple").parts
        texts = all(isinstance(text, str) for text in (key, place))
        if kind != "storage" or not texts or len(view) > 1 or not isinstance(name, _Name):
            raise ValueError
        item_bytes = _ITEM_BYTES[name.name]
        if not isinstance(length, int) or not 0 <= length * item_bytes <= self.size:
            raise RefusedPickleError(f"claims {length!r:.40} values in a file of {self.size} bytes")
        self.stack.append(_Node("storage", length=length, item_bytes=item_bytes))

    def call(self, _: object) -> None:
        arguments = _node(self.stack.pop(), "tuple").parts
        function = self.stack.pop()
        if not isinstance(function, _Name):
            raise TypeError
        self.stack.append(self._result(function.name, arguments))

    def _result(self, function: str, arguments: list[_Value]) -> _Node:
        if function in (_TENSOR, _TENSOR_V2):
            return self._tensor(*arguments)
        if function == _PARAMETER:
            tensor, _, _ = arguments
            return _node(tensor, "tensor")
        if function == _ORDERED:
            return _ordered_dict(*arguments)
        if function == "torch.Size":
            (sizes,) = arguments
            return _Node("tuple", [*_sizes(sizes)])
        if function == "torch.device" and all(isinstance(one, str | int) for one in arguments):
            return _Node("other")
        text, encoding = arguments
        if function != "_codecs.encode" or not isinstance(text, str) or encoding != "latin1":
            raise TypeError
        return _Node("other")

    def _tensor(self, *arguments: _Value) -> _Node:
        storage, offset, shape, strides, *_ = arguments
        of = _node(storage, "storage")
        lengths, steps = _sizes(shape), _sizes(strides)
        if not isinstance(offset, int) or offset < 0 or len(lengths) != len(steps):
            raise ValueError
        claimed = math.prod(lengths) * of.item_bytes
        if claimed > self.size:  # a view that repeats its values
            raise RefusedPickleError(f"claims {claimed} bytes of values, more than it has")
        last = offset + sum((n - 1) * step for n, step in zip(lengths, steps, strict=True))
        if claimed and last >= of.length:
            raise ValueError
        return _Node("tensor")


def _node(value: _Value, kind: str) -> _Node:
    """Return a value that must be of a kind."""
    if not isinstance(value, _Node) or value.kind != kind:
        raise TypeError
    return value


def _sizes(value: _Value) -> list[int]:
    """Return a tuple of sizes or strides."""
    parts = _node(value, "tuple").parts
    if len(parts) > _MOST_DIMENSIONS:
        raise RefusedPickleError(
            f"has a tensor of {len(parts)} dimensions; expected {_MOST_DIMENSIONS} or fewer"
        )
    found = [part for part in parts if isinstance(part, int) and part >= 0]
    if len(found) != len(parts):
        raise ValueError
    return found


def _ordered_dict(pairs: _Value = None) -> _Node:
    """Return an ordered dict; Python 2 pickled it with a list of its pairs."""
    found = _Node("dict")
    for pair in [] if pairs is None else _node(pairs, "list").parts:
        assert isinstance(pair, _Node)
        key, value = pair.parts
        if not isinstance(key, str):
            raise TypeError
        found.keys.append(key)
        found.parts.append(value)
    return found


def _check_whole(root: _Value) -> None:
    """Check that what was loaded is no endless and no enormous structure.

    The memo lets a few bytes nest containers in themselves, or repeat one in another so often that
    no walk through it would end.
    """
    sizes: dict[_Node, tuple[int, int]] = {}  # parts in all and levels, of those that are done
    waiting, open_nodes = [root], set[_Node]()
    while waiting:
        node = waiting[-1]
        if not isinstance(node, _Node) or node in sizes:
            waiting.pop()
            continue
        inner = [part for part in node.parts if isinstance(part, _Node)]
        if node not in open_nodes:
            open_nodes.add(node)
            if any(part in open_nodes for part in inner):
                raise RefusedPickleError(f"holds a {node.kind} that contains itself")
            waiting += inner
            continue
        waiting.pop()
        open_nodes.discard(node)
        parts = len(node.parts) + sum(sizes[part][0] for part in inner)
        levels = 1 + max((sizes[part][1] for part in inner), default=0)
        if levels > _DEEPEST:
            raise RefusedPickleError(f"nests its parts more than {_DEEPEST} deep")
        if parts > _MOST_PARTS:
            raise RefusedPickleError("repeats its parts more often than any walk could follow")
        sizes[node] = (parts, levels)


_OPERATIONS: Mapping[str, Callable[[_Machine, object], None]] = {
    "PROTO": _Machine.protocol,
    "GLOBAL": _Machine.load_name,
    "MARK": _Machine.mark,
    **dict.fromkeys(("BINUNICODE", "SHORT_BINSTRING", "BINFLOAT", "NONE"), _Machine.push),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1"), _Machine.push),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.tuple_of(0),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "TUPLE": _Machine.marked_tuple,
    "EMPTY_LIST": lambda machine, _: machine.stack.append(_Node("list")),
    "EMPTY_DICT": lambda machine, _: machine.stack.append(_Node("dict")),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_marked()),
    "SETITEM": _Machine.set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_marked()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.get),
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.load_storage,
}
"""The operations of torch's own restricted loader, without sets and new objects."""
