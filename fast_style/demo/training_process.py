"""The process that trains a style for the tab Any painting: `python -m` this module.

It reads its request from the file `REQUEST` in its working folder, and writes lines of JSON to
stdout: what it has reached after some steps, and at the end the model's file or why there is none.
Anything on stdin, or its end, asks it to stop and to return what is learnt so far.
"""

import base64
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from fast_style import (
    FastStyleError,
    Photo,
    RefineStep,
    encode_image,
    model_to_bytes,
    read_image,
    refine_style,
)

REQUEST = "request.json"
"""Name of the file with the request."""

PICTURE_SECONDS = 1.0
"""Seconds from one picture to the next; each takes about as long as two steps."""

POINT_SECONDS = 0.2
"""Seconds from one point of the loss curve to the next."""


class Reporter:
    """Sends what a training has reached to the parent process."""

    def __init__(self, photo: Photo, output: IO[str]) -> None:
        """Store where to send it.

        Args:
            photo: a small photo to show in the style.
            output: the stream to write to.
        """
        self._photo, self._output = photo, output
        self._stop_requested = threading.Event()
        self._last_point = self._last_picture = 0.0

    def wait_for_stop(self) -> None:
        """Request a stop once the parent sends something or ends."""
        # Not by sys.stdin, whose lock the processes that load photos would wait for at their start.
        os.read(0, 1)
        self._stop_requested.set()

    def report(self, step: RefineStep) -> bool:
        """Send a step if it is time for one; return whether to stop."""
        now, stop = time.monotonic(), self._stop_requested.is_set()
        if now - self._last_point >= POINT_SECONDS:
            self._last_point = now
            message: dict[str, Any] = {
                "step": step.number,
                "progress": step.progress,
                "losses": step.losses,
            }
            if now - self._last_picture >= PICTURE_SECONDS:
                picture = self._photo.with_pixels(step.stylize(self._photo.pixels))
                message["picture"] = _to_text(encode_image(picture, format="JPEG", quality=88)[0])
                self._last_picture = time.monotonic()
            self.send(message)
        return stop

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        self._output.write(json.dumps(message) + "\n")
        self._output.flush()


def main() -> None:
    """Train as requested."""
    # What libraries print must not come between the messages.
    output, sys.stdout = sys.stdout, sys.stderr
    request = json.loads(Path(REQUEST).read_text(encoding="utf-8"))
    painting, photo = (base64.b64decode(request[name]) for name in ("painting", "photo"))
    reporter = Reporter(read_image(photo), output)
    threading.Thread(target=reporter.wait_for_stop, daemon=True).start()
    try:
        model = refine_style(
            painting, request["seconds"], name=request["name"], on_step=reporter.report
        )
        reporter.send({"model": _to_text(model_to_bytes(model.card, model.weights))})
    except FastStyleError as error:
        reporter.send({"problem": str(error)})


def _to_text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


if __name__ == "__main__":
    main()
