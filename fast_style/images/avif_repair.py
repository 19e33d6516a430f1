"""Repair AVIF files whose alpha picture does not say how large it is.

Some writers leave the property `ispe` out of the alpha item. libavif refuses such files as Pillow
calls it; other readers take the size of the main picture, and so does this repair. The boxes are
those of ISO/IEC 14496-12 (meta) and 23008-12 (iprp, ipco, ipma, ispe).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["restore_alpha_size"]

_HEADER, _FULL_HEADER = 8, 12  # bytes; a full box also has a version and flags


def restore_alpha_size(data: bytes) -> bytes | None:
    """Give each item of an AVIF without a size the size of the first item that has one.

    Args:
        data: The bytes of the file.

    Returns:
        The repaired file; None if there is nothing to repair or the boxes are not as expected.
    """
    try:
        meta = _find(data, 0, len(data), b"meta")
        properties = _find(data, meta[0] + _FULL_HEADER, meta[1], b"iprp")
        container = _find(data, properties[0] + _HEADER, properties[1], b"ipco")
        links = _find(data, properties[0] + _HEADER, properties[1], b"ipma")
        kinds = [kind for kind, _, _ in _walk(data, container[0] + _HEADER, container[1])]
        sizes = [number for number, kind in enumerate(kinds, 1) if kind == b"ispe"]
        changed = _link_sizes(data[links[0] : links[1]], sizes)
    except (struct.error, IndexError, LookupError):
        return None
    if changed is None:
        return None
    # The new boxes go to the end, and the old ones are marked as free space: all offsets into the
    # file stay valid.
    boxes = data[: links[0]][properties[0] + _HEADER :] + changed + data[links[1] : properties[1]]
    boxes = struct.pack(">I4s", _HEADER + len(boxes), b"iprp") + boxes
    start = meta[0] + _HEADER
    body = data[start : properties[0]] + boxes + data[properties[1] : meta[1]]
    new_meta = struct.pack(">I4s", _HEADER + len(body), b"meta") + body
    return data[: meta[0] + 4] + b"free" + data[start:] + new_meta


def _walk(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of each box in a range."""
    while start + _HEADER <= stop:
        length, kind = struct.unpack_from(">I4s", data, start)
        if length < _HEADER or start + length > stop:
            raise LookupError  # boxes of more than 4 GB, or to the end of the file, are no matter
        yield kind, start, start + length
        start += length


def _find(data: bytes, start: int, stop: int, wanted: bytes) -> tuple[int, int]:
    for kind, first, last in _walk(data, start, stop):
        if kind == wanted:
            return first, last
    raise LookupError(wanted)


def _link_sizes(links: bytes, sizes: list[int]) -> bytes | None:
    """Add a size to each item of an `ipma` box that has none; None if all have one."""
    version, wide = links[8], bool(links[11] & 1)
    (count,) = struct.unpack_from(">I", links, 12)
    item, link = ">H" if version < 1 else ">I", ">H" if wide else ">B"
    mask = 0x7FFF if wide else 0x7F  # the highest bit says that a reader must know the property
    at, entries, known, repaired = 16, [], None, False
    for _ in range(count):
        (number,) = struct.unpack_from(item, links, at)
        at += struct.calcsize(item)
        linked = [
            struct.unpack_from(link, links, at + 1 + n * struct.calcsize(link))[0]
            for n in range(links[at])
        ]
        at += 1 + len(linked) * struct.calcsize(link)
        own = [value & mask for value in linked if value & mask in sizes]
        known = known or (own[0] if own else None)
        entries.append((number, linked, bool(own)))
    if known is None:
        return None
    body = links[8:16]
    for number, linked, has_size in entries:
        if not has_size:
            linked, repaired = [known, *linked], True
        body += struct.pack(item, number) + bytes([len(linked)])
        body += b"".join(struct.pack(link, value) for value in linked)
    return struct.pack(">I4s", _HEADER + len(body), b"ipma") + body if repaired else None
