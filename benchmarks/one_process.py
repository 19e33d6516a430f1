"""Runs one command; writes how long it took and its peak memory to a file, as JSON.

    python -I -S one_process.py REPORT COMMAND ...

It is a process of its own, and a small one, because the system counts a process's memory from its
fork on: the child of a large process would begin with its parent's peak. A command that brings the
machine to the end of its memory is stopped, before the system stops something else.
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
"""The part of the machine's memory that must stay free."""


class Watch(threading.Thread):
    """Looks after a process now and then: what its whole tree holds, and what is left."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process, self.peak, self.stopped = process, 0, False
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(_INTERVAL):
            try:
                tree = process_tree(self.process)
                # For a single process, the system's own figure is exact.
                if len(tree) > 1:
                    self.peak = max(self.peak, sum(resident(process) for process in tree))
                free, total = (memory(name) for name in ("MemAvailable", "MemTotal"))
            except OSError:  # it has just ended, or this system has no /proc
                continue
            if free < _LEAST_FREE * total:
                self.stopped = True
                os.killpg(self.process, signal.SIGKILL)
                return


def process_tree(process: int) -> list[int]:
    found = [process]
    for process in found:  # grows on the way
        for path in Path(f"/proc/{process}/task").glob("*/children"):
            found += map(int, path.read_text().split())
    return found


def resident(process: int) -> int:
    """Bytes of a process that lie in memory; pages shared by two processes count for both."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory(name: str) -> int:
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
            os.setpgid(0, 0)  # so that it can be stopped with its children
            os.execvp(command[0], command)
        finally:
            os._exit(127)  # only where there is no such command
    watch = Watch(process)
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
