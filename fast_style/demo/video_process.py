"""The process that stylizes a clip for the tab Video: `python -m` this module.

It reads its request from the file `REQUEST` in its working folder, where the clip lies too, and
writes lines of JSON to stdout: how far it is, with a picture from time to time, and at the end
what became of it. It ends when its stdin does: with its parent.
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
    Guides,
    Painted,
    Photo,
    StyleOptions,
    Stylizer,
    VideoOptions,
    encode_image,
    stylize_video,
)

REQUEST = "request.json"
"""Name of the file with the request."""

BEFORE, AFTER = "before.mp4", "after.mp4"
"""Names of the files that are written: the clip at the working size, and the stylized one."""

PICTURE_SECONDS = 1.0
"""Seconds from one picture to the next."""


class WatchedStylizer(Stylizer):
    """A stylizer that keeps its last picture, for the preview."""

    last: Painted | None = None

    def paint(
        self, photo: Photo, options: StyleOptions | None = None, guides: Guides | None = None
    ) -> Painted:
        """Stylize a frame, and keep it."""
        self.last = super().paint(photo, options, guides)
        return self.last


class Reporter:
    """Sends how far a clip is to the parent process."""

    def __init__(self, stylizer: WatchedStylizer, output: IO[str]) -> None:
        """Store where pictures come from, and the stream to write to."""
        self._stylizer, self._output = stylizer, output
        self._last_picture = 0.0

    def report(self, done: int, total: int | None) -> None:
        """Send how many frames are done."""
        message: dict[str, Any] = {"done": done, "total": total}
        painted, now = self._stylizer.last, time.monotonic()
        if painted is not None and now - self._last_picture >= PICTURE_SECONDS:
            self._last_picture = now
            picture = encode_image(painted.finish(), format="JPEG", quality=85)[0]
            message["picture"] = base64.b64encode(picture).decode("ascii")
        self.send(message)

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        self._output.write(json.dumps(message) + "\n")
        self._output.flush()


def main() -> None:
    """Stylize the clip as requested."""
    output, sys.stdout = sys.stdout, sys.stderr  # nothing else comes between the messages
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = json.loads(Path(REQUEST).read_text(encoding="utf-8"))
    source, size, end = request["clip"], request["size"], request["seconds"]
    try:
        stylizer = WatchedStylizer(request["style"])
        reporter = Reporter(stylizer, output)
        result = stylize_video(
            source,
            AFTER,
            stylizer,
            options=StyleOptions(size=size),
            end=end,
            progress=reporter.report,
        )
        stylize_video(
            source,
            BEFORE,
            stylizer,
            options=StyleOptions(size=size, strength=0.0),
            video_options=VideoOptions(steady=0.0, audio="none"),
            end=end,
        )
        reporter.send({"width": result.width, "height": result.height, "notes": list(result.notes)})
    except FastStyleError as error:
        output.write(json.dumps({"problem": str(error)}) + "\n")


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
