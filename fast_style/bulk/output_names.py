"""Names of the outputs of a bulk run: unique, and the same in every run.

The input's folders are kept. An output has the input's name with the suffix of its format. If two
pictures would have the same name (`a.jpg` and `a.png`, both written as WebP), both keep their
suffix within it (`a.jpg.webp`, `a.png.webp`); if that is not enough (one photo in two styles), the
names contain a hash.
"""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fast_style.bulk.listing import FOLDER, Listing, leads_out
from fast_style.errors import UsageError
from fast_style.images import WRITABLE_SUFFIXES, suffix_for
from fast_style.images.folder import fold_name, is_video_name, output_name

_LAST_STAGE = 2  # 0: plain name, 1: with the input's suffix, 2: with a hash
_HASH_DIGITS = 12


def picture_id(source: str, style: str) -> bytes:
    """Return the id of a picture: a hash of its path and its style, 16 bytes."""
    return hashlib.blake2b(
        f"{style}\0{source}".encode(errors="surrogateescape"), digest_size=16
    ).digest()


def name_key(name: str) -> int:
    """Return a 64-bit key that is equal for names that are one file on some file systems."""
    folded = fold_name(name)
    return int.from_bytes(
        hashlib.blake2b(folded.encode(errors="surrogateescape"), digest_size=8).digest(), "little"
    )


class OutputNames:
    """The names of all outputs of a listing; each is computed when it is indexed."""

    def __init__(
        self,
        listing: Listing,
        ids: Sequence[bytes],
        format: str | None,
        *,
        taken: Collection[int] = (),
    ) -> None:
        """Find the names that are not unique, and resolve them.

        Args:
            listing: the pictures.
            ids: the id of each, without duplicates.
            format: Pillow's name of the output format; that of the input if None.
            taken: keys of names of other pictures that are in the output already.

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
            # Keys that are equal by chance do no harm: a name is longer than it had to be.
            values, counts = np.unique(keys, return_counts=True)
            shared = np.union1d(values[counts > 1], others)
            again = np.isin(keys, shared) & (self._stages < _LAST_STAGE)
            if not again.any():
                break
            self._stages[again] += 1
            for i in np.flatnonzero(again).tolist():
                keys[i] = name_key(self[i])

    def __getitem__(self, index: int) -> str:
        """Return the name of a picture's output, relative to the output folder, with slashes."""
        given = self._listing.names[index] if self._listing.names is not None else ""
        if given:
            path = PurePosixPath(given)
            if leads_out(given) or not path.name:
                raise UsageError(
                    f"the list names the output of {self._listing.sources[index]} {given!r}: give "
                    f"a name relative to the output folder, without .. and not below {FOLDER}"
                )
            # A name without the suffix of a writable format does not determine the format.
            if path.suffix.lower() in WRITABLE_SUFFIXES or is_video_name(path.name):
                plain = output_name(path, self._format)
            else:
                source = PurePosixPath(self._listing.name(index))
                plain = path.name + PurePosixPath(output_name(source, self._format)).suffix
        else:
            path = PurePosixPath(self._listing.name(index))
            plain = output_name(path, self._format)
        stage = self._stages[index]
        if stage == 1:
            own = not self._format or is_video_name(plain)
            plain = path.name + (PurePosixPath(plain).suffix if own else suffix_for(self._format))
        elif stage == _LAST_STAGE:
            stem, suffix = PurePosixPath(plain).stem, PurePosixPath(plain).suffix
            plain = f"{stem}-{self._ids[index].hex()[:_HASH_DIGITS]}{suffix}"
        return str(path.with_name(plain))
