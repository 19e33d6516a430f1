"""Cores of one's own: as many processes on a machine as fit, none on another's cores.

Engines take all the cores that they see, and OpenVINO even binds its threads to the first of them:
ten processes of two threads each would share two cores of twenty. A process that may run on some
cores only sees no others, whichever engine it is.
"""

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

_held: list[int] = []  # files that are locked as long as this process lives


def claim_cores(count: int) -> tuple[int, ...]:
    """Bind this process to cores that no other process has claimed; Linux only.

    Args:
        count: how many.

    Returns:
        The cores; empty where nothing was bound, for want of free ones or of the means.
    """
    if sys.platform != "linux" or count < 1:
        return ()
    import fcntl

    visible = sorted(os.sched_getaffinity(0))
    if count >= len(visible):
        return ()
    folder = Path(tempfile.gettempdir(), f"fast-style-cores-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    for first in range(0, len(visible) - count + 1, count):
        cores = tuple(visible[first : first + count])
        # The lock goes with the process, however that ends.
        file = os.open(folder / f"{cores[0]}-{count}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        _held.append(file)
        # All threads that are there; those to come are like the ones that make them.
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError):  # it has just ended
                os.sched_setaffinity(int(thread), cores)
        return cores
    return ()
