"""What a bulk run has still to do, in the order in which it is done."""

from array import array
from collections.abc import Sequence
from typing import overload

from fast_style.bulk.listing import Listing
from fast_style.bulk.output_names import OutputNames
from fast_style.bulk.worker import Picture


class Pending(Sequence[Picture]):
    """The pictures that are to be done, in the order of their styles; made when asked for."""

    def __init__(self, listing: Listing, styles: Sequence[str], names: OutputNames) -> None:
        """Take all pictures of the listing, none of which is pending yet."""
        self._listing, self._styles, self._names = listing, styles, names
        self._indices = array("q")

    def add(self, indices: Sequence[int]) -> None:
        """Let pictures be done."""
        # A worker keeps few styles loaded.
        ordered = sorted(indices, key=lambda index: self._styles[index])
        self._indices.extend(ordered)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> list[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | list[Picture]:
        if isinstance(index, slice):
            return [self._picture(i) for i in self._indices[index]]
        return self._picture(self._indices[index])

    def _picture(self, index: int) -> Picture:
        return Picture(self._listing.sources[index], self._names[index], self._styles[index])
