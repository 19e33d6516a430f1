"""What each picture is called in the output: always the same, and never two alike.

The input's folders are kept. A name is the input's own, with the suffix of the format that is
written. Where that would be one name for two pictures (`a.jpg` and `a.png`, both written as WebP),
each keeps its suffix within its name (`a.jpg.webp`, `a.png.webp`); and where that is not enough
(one photo in two styles), a hash is put into it.
"""

import hashlib
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fast_style.bulk.listing import Listing
from fast_style.errors import UsageError
from fast_style.images import WRITABLE_SUFFIXES, suffix_for
from fast_style.images.folder import output_name

_LAST_STAGE = 2
_HASH_DIGITS = 12


def picture_id(source: str, style: str) -> bytes:
    """Give what a picture is known by: 16 bytes of its path and its style."""
    return hashlib.blake2b(
        f"{style}\0{source}".encode(errors="surrogateescape"), digest_size=16
    ).digest()


def name_key(name: str) -> int:
    """Give 64 bits that are the same for names that some file systems hold to be one."""
    folded = unicodedata.normalize("NFC", name).casefold()
    return int.from_bytes(
        hashlib.blake2b(folded.encode(errors="surrogateescape"), digest_size=8).digest(), "little"
    )


class OutputNames:
    """The names of all pictures of a listing; each is made when it is asked for."""

    def __init__(
        self,
        listing: Listing,
        ids: Sequence[bytes],
        format: str | None,
        *,
        taken: Collection[int] = (),
    ) -> None:
        """Settle the names.

        Args:
            listing: the pictures.
            ids: what each is known by; a picture that is there twice is one.
            format: Pillow's name of the output format; that of the input where None.
            taken: keys of names that other pictures have in the output already.

        Raises:
            UsageError: the list gives a name that leads out of the output.
        """
        self._listing, self._ids, self._format = listing, ids, format
        self._stages: NDArray[np.uint8] = np.zeros(len(listing), np.uint8)
        keys = np.fromiter(
            (name_key(self[i]) for i in range(len(listing))), np.uint64, len(listing)
        )
        others = np.fromiter(taken, np.uint64, len(taken))
        while True:
            # That two keys agree by chance does no harm: one name is longer than it had to be.
            values, counts = np.unique(keys, return_counts=True)
            shared = np.union1d(values[counts > 1], others)
            again = np.isin(keys, shared) & (self._stages < _LAST_STAGE)
            if not again.any():
                break
            self._stages[again] += 1
            for i in np.flatnonzero(again).tolist():
                keys[i] = name_key(self[i])

    def __getitem__(self, index: int) -> str:
        """Give a picture's name below the output, with slashes."""
        given = self._listing.names[index] if self._listing.names is not None else ""
        if given:
            path = PurePosixPath(given)
            if path.is_absolute() or ".." in path.parts or not path.name:
                raise UsageError(
                    f"the list calls {self._listing.sources[index]} {given!r} in the output: give "
                    "a name below the output's folder, without .."
                )
            # A name without a suffix that is written says nothing of the format.
            if path.suffix.lower() in WRITABLE_SUFFIXES:
                plain = output_name(path, self._format)
            else:
                source = PurePosixPath(self._listing.name(index))
                plain = path.name + PurePosixPath(output_name(source, self._format)).suffix
        else:
            path = PurePosixPath(self._listing.name(index))
            plain = output_name(path, self._format)
        stage = self._stages[index]
        if stage == 1:
            plain = path.name + (
                suffix_for(self._format) if self._format else PurePosixPath(plain).suffix
            )
        elif stage == _LAST_STAGE:
            stem, suffix = PurePosixPath(plain).stem, PurePosixPath(plain).suffix
            plain = f"{stem}-{self._ids[index].hex()[:_HASH_DIGITS]}{suffix}"
        return str(path.with_name(plain))
