"""Run one command, and write its time and peak memory to a JSON file.

    python -I -S one_process.py REPORT COMMAND ...

This is a small process of its own, because peak memory is counted from the fork on: the child of a
large process would begin with its parent's peak. A command that uses up the machine's memory is
killed before the system kills another process.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

_INTERVAL = 0.1
_LEAST_FREE = 0.03
"""Share of the machine's memory that must stay free."""


class MemoryWatch(threading.Thread):
    """A thread that measures the memory of a process and its children periodically."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process, self.peak, self.stopped = process, 0, False
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(_INTERVAL):
            try:
                tree = list_process_tree(self.process)
                # For a single process, ru_maxrss is exact.
                if len(tree) > 1:
                    self.peak = max(
                        self.peak, sum(read_resident_bytes(process) for process in tree)
                    )
                free, total = (read_meminfo(name) for name in ("MemAvailable", "MemTotal"))
            except OSError:  # the process has just ended, or there is no /proc
                continue
            if free < _LEAST_FREE * total:
                self.stopped = True
                os.killpg(self.process, signal.SIGKILL)
                return


def list_process_tree(process: int) -> list[int]:
    found = [process]
    for process in found:  # the list grows in the loop
        for path in Path(f"/proc/{process}/task").glob("*/children"):
            found += map(int, path.read_text().split())
    return found


def read_resident_bytes(process: int) -> int:
    """Return the resident bytes of a process; shared pages count for every process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def read_meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise OSError(f"/proc/meminfo has no {name}")


def main() -> None:
    report, *command = sys.argv[1:]
    start = time.perf_counter()
    process = os.fork()
    if process == 0:
        try:
            os.setpgid(0, 0)  # so that its children can be killed with it
            os.execvp(command[0], command)
        finally:
            os._exit(127)  # the command does not exist
    watch = MemoryWatch(process)
    watch.start()
    try:
        _, status, usage = os.wait4(process, 0)
    except KeyboardInterrupt:
        os.killpg(process, signal.SIGKILL)
        raise
    seconds = time.perf_counter() - start
    watch.done.set()
    watch.join()
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    result = {
        "seconds": seconds,
        "peak": max(peak, watch.peak),
        "code": os.waitstatus_to_exitcode(status),
        "stopped": watch.stopped,
    }
    Path(report).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
