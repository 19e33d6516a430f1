"""Processes that do long work beside the page, in a folder of their own that is deleted with them.

They have a lower priority than the page, and their memory is freed when they end. The folder lies
in memory where the system has such a place and there is room.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_IN_MEMORY = Path("/dev/shm")
_ROOM = 200 << 20  # bytes that must be free there


@contextmanager
def make_folder() -> Iterator[Path]:
    """Make a folder that is deleted at the end of the block."""
    place = None
    if os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free > _ROOM:
        place = _IN_MEMORY
    with tempfile.TemporaryDirectory(prefix="fast-style-", dir=place) as name:
        yield Path(name)


def run_child(
    module: str,
    folder: Path,
    request: Mapping[str, Any],
    limit: float,
    started: Callable[[subprocess.Popen[str] | None], None],
) -> Generator[dict[str, Any], None, None]:
    """Run a module in a process; yield the messages that it writes.

    Args:
        module: its name; it reads `request.json` in its working folder.
        folder: its working folder, which also gets its temporary files and caches.
        request: what to put into that file.
        limit: seconds after which it is ended.
        started: called with the process once it runs, and with None when it has ended.
    """
    Path(folder, "request.json").write_text(json.dumps(request), encoding="utf-8")
    # A checkout that is not installed is found by its path, as the page's script is.
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME"), str(folder))
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env={**os.environ, **places, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C in the terminal ends the page; its end ends the process
    )
    timer = threading.Timer(limit, process.kill)
    timer.start()
    try:
        started(process)
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    finally:
        timer.cancel()
        started(None)
        process.kill()  # it has ended, unless reading failed
        process.communicate()
