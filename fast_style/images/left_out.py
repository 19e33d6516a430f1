"""Count the files of a folder that are not read, by kind, so that none is left out silently."""

from collections import Counter
from pathlib import PurePath

__all__ = ["LeftOut"]

_SUFFIXES = {
    "HEIC": ".heic .heif .hif .heics .heifs",
    "JPEG XL": ".jxl",
    "AVIF": ".avif .avifs",
    "WebP": ".webp",
    "RAW": ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .k25 .kdc .mef .mos .mrw .nef .nrw "
    ".orf .pef .ptx .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f",
    "TGA": ".tga .icb .vda .vst",
    "MPO": ".mpo",
    "JPEG 2000": ".j2c .j2k .jpc .jpf .jpx",
    "Photoshop": ".psd .psb",
    "SVG": ".svg .svgz",
    "PDF": ".pdf .eps .ai .ps",
    "EXR or HDR": ".exr .hdr .pfm",
    "icon": ".ico .icns .cur",
    "DDS": ".dds",
    "PCX": ".pcx",
    "video": ".3gp .avi .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .webm .wmv",
}
_KINDS = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}

_HINTS = {
    "HEIC": 'pip install "fast-style[heif]"',
    "JPEG XL": 'pip install "fast-style[jxl]"',
    "RAW": "develop them to JPEG or TIFF",
    "video": "fast-style video",
}

_OF_THE_SYSTEM = frozenset(("desktop.ini", "thumbs.db", "ehthumbs.db"))
"""What Windows puts into folders: hidden there, as a leading dot hides a file elsewhere."""

_LONGEST_SUFFIX = 12  # of a kind of its own; longer ones are parts of names
_MOST_SUFFIXES = 4  # suffixes of other files that a sentence names


class LeftOut:
    """Counts files that are no readable pictures.

    Attributes:
        counts: the number of files of each kind: a kind of picture, such as "HEIC"; "video"; "pipe
            or device"; or for all others their suffix, such as ".txt", or "no suffix".
        folders: subfolders that were not searched.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.counts: Counter[str] = Counter()
        self.folders = 0

    def add(self, name: str) -> None:
        """Count a file by its name; hidden files do not count."""
        if name.startswith(".") or name.casefold() in _OF_THE_SYSTEM:
            return
        suffix = PurePath(name).suffix.lower()
        if not 1 < len(suffix) <= _LONGEST_SUFFIX:
            suffix = "no suffix"
        self.counts[_KINDS.get(suffix, suffix)] += 1

    def add_special(self) -> None:
        """Count a pipe, a socket or a device."""
        self.counts["pipe or device"] += 1

    def describe(self) -> str:
        """Return the counts in words, such as "2 HEIC, 1 RAW, 3 others (.txt)"; "" without any."""
        named = Counter({k: n for k, n in self.counts.items() if not _is_other(k)})
        others = Counter({k: n for k, n in self.counts.items() if _is_other(k)})
        parts = []
        for kind, count in named.most_common():
            hint = f" ({_HINTS[kind]})" if kind in _HINTS else ""
            parts.append(f"{count} {kind}{hint}")
        if others:
            shown = [kind for kind, _ in others.most_common(_MOST_SUFFIXES)]
            more = ", ..." if len(others) > _MOST_SUFFIXES else ""
            parts.append(f"{others.total()} of other kinds ({', '.join(shown)}{more})")
        return ", ".join(parts)


def _is_other(kind: str) -> bool:
    return kind.startswith(".") or kind == "no suffix"
