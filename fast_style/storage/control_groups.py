"""Limits that control groups of Linux set on this process: memory and processor time.

Containers, systemd's slices and batch schedulers use them. A process is in one group of each
hierarchy (`/proc/self/cgroup`), every group above it can set limits too, and the mounts
(`/proc/self/mountinfo`) say in which folders these groups are found. Version 1 has a hierarchy for
each resource, version 2 has one for all; a machine may have both.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_SUPER_V1, _SUPER_V2 = "cgroup", "cgroup2"


def memory_left(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process may still take until a limit is reached; None without one.

    Cached files count as free, as the kernel drops them before it kills a process.

    Args:
        root: the folder that holds `proc` and `sys`.
    """
    found = []
    for folder, version in _group_folders(root, "memory"):
        names = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
        limits = [limit for name in names if (limit := _read_number(folder / name)) is not None]
        used = _read_number(
            folder / ("memory.current" if version == 2 else "memory.usage_in_bytes")
        )
        # A limit of version 1 without effect is a huge number, as are all that mean nothing.
        if used is None or not limits or min(limits) >= 1 << 60:
            continue
        cached = _read_statistic(
            folder / "memory.stat", "inactive_file" if version == 2 else "total_inactive_file"
        )
        found.append(max(0, min(limits) - max(0, used - cached)))
    return min(found, default=None)


def core_quota(root: Path = Path("/")) -> float | None:
    """Return how many cores' worth of processor time this process may use; None without a limit.

    Args:
        root: the folder that holds `proc` and `sys`.
    """
    found = []
    for folder, version in _group_folders(root, "cpu"):
        if version == 2:
            with suppress(OSError, ValueError):  # "max": no limit
                quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
                found.append(int(quota) / int(period))
        else:
            limit = _read_number(folder / "cpu.cfs_quota_us")  # -1: no limit
            length = _read_number(folder / "cpu.cfs_period_us")
            if limit is not None and limit > 0 and length:
                found.append(limit / length)
    return min(found, default=None)


def _group_folders(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Yield the folders of this process's groups, from its own one up, and their version.

    Args:
        root: the folder that holds `proc` and `sys`.
        controller: the controller that version 1 must have in the hierarchy.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape")
        mounts = (root / "proc/self/mountinfo").read_text(
            encoding="utf-8", errors="surrogateescape"
        )
    except OSError:  # another system, or a kernel without control groups
        return
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version = 2 if number == "0" and not controllers else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        for mounted, at in _mount_points(mounts, version, controller):
            # In a container, the mount may show a part of the hierarchy only; without a namespace
            # of its own, the process's path still counts from the top of the whole hierarchy.
            try:
                inside = PurePosixPath(path).relative_to(mounted)
            except ValueError:
                inside = PurePosixPath()
            top = root / at.lstrip("/")
            folder = top / inside if ".." not in inside.parts else top
            yield folder, version
            while folder != top:
                folder = folder.parent
                yield folder, version


def _mount_points(mounts: str, version: int, controller: str) -> Iterator[tuple[str, str]]:
    """Yield what is mounted of a hierarchy, and where, from lines of `mountinfo`."""
    for line in mounts.splitlines():
        fields, _, system = line.partition(" - ")
        kind, *more = system.split()
        if kind != (_SUPER_V2 if version == 2 else _SUPER_V1):
            continue
        if version == 1 and controller not in more[-1].split(","):
            continue
        mounted, at = (_unescape(text) for text in fields.split()[3:5])
        yield mounted, at


def _unescape(text: str) -> str:
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(code, character)
    return text


def _read_number(path: Path) -> int | None:
    """Return the number in a file; None if there is none ("max")."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _read_statistic(path: Path, name: str) -> int:
    """Return a value of a file of lines with a name and a number; 0 if it has none."""
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
