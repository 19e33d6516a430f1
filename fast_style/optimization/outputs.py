"""Additional outputs of an optimisation: intermediate pictures, loss curve and its plot."""

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from fast_style.errors import ImageWriteError, MissingExtraError, UsageError
from fast_style.images import encode_image, suffix_for, to_pil
from fast_style.storage.atomic_write import replace_file

if TYPE_CHECKING:  # needs torch
    from fast_style.optimization.optimizer_loop import OptimizeStep

ANIMATIONS = {".gif": "GIF", ".webp": "WEBP"}
PLOTS = (".png", ".svg", ".pdf", ".jpg")

_MILLISECONDS = 120
_LAST_MILLISECONDS = 2000


class StepWriter:
    """Writes the best picture at an interval of iterations, and the last one.

    Attributes:
        path: where they are written: an archive `NAME.zip`, an animation (`NAME.gif`, `NAME.webp`),
            or a folder.
    """

    def __init__(
        self, path: str | os.PathLike[str], every: int, *, format: str, quality: int | None = None
    ) -> None:
        """Create the writer and its folder.

        Args:
            path: see the class.
            every: iterations from one picture to the next.
            format: Pillow's name of the format of single pictures.
            quality: quality of single pictures, see `encode_image`.

        Raises:
            UsageError: `every` is below 1.
            ImageWriteError: the folder cannot be made.
        """
        if every < 1:
            raise UsageError(
                f"pictures are to be kept every {every} iterations; expected 1 or more"
            )
        self.path = Path(path)
        self._every, self._format, self._quality = every, format, quality
        self._pictures: list[tuple[str, bytes]] = []
        self._frames: list[Image.Image] = []
        self._last: OptimizeStep | None = None
        self._suffix = self.path.suffix.lower()
        folder = self.path.parent if self._is_file else self.path
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageWriteError(
                f"the folder {folder} for the kept pictures could not be made: {error.strerror}"
            ) from error

    @property
    def _is_file(self) -> bool:
        return self._suffix == ".zip" or self._suffix in ANIMATIONS

    def add(self, step: "OptimizeStep") -> None:
        """Write or collect the picture of a step if it is at the interval."""
        self._last = step
        if step.iteration % self._every == 0:
            self._add_picture(step)
            self._last = None

    def finish(self) -> None:
        """Add the last picture, and write the archive or animation.

        Raises:
            ImageWriteError: it cannot be written.
        """
        if self._last is not None:
            self._add_picture(self._last)
            self._last = None
        content = io.BytesIO()
        if self._suffix == ".zip":
            with zipfile.ZipFile(content, "w") as archive:  # not compressed: pictures do not shrink
                for name, data in self._pictures:
                    archive.writestr(zipfile.ZipInfo(name), data)
        elif self._frames:
            times = [_MILLISECONDS] * (len(self._frames) - 1) + [_LAST_MILLISECONDS]
            first, *others = self._frames
            first.save(
                content,
                ANIMATIONS[self._suffix],
                save_all=True,
                append_images=others,
                duration=times,
                loop=0,
            )
        if content.tell():
            _write(self.path, content.getvalue())

    def _add_picture(self, step: "OptimizeStep") -> None:
        photo = step.photo()
        if self._suffix in ANIMATIONS:
            self._frames.append(to_pil(photo).convert("RGB"))
            return
        name = f"step-{step.iteration:05d}{suffix_for(self._format)}"
        data, _ = encode_image(photo, format=self._format, quality=self._quality)
        if self._suffix == ".zip":
            self._pictures.append((name, data))
        else:
            _write(self.path / name, data)


def write_curve(path: Path, document: Mapping[str, Any]) -> None:
    """Write the values of an optimisation, see `Optimization.to_dict`, as JSON.

    Raises:
        ImageWriteError: it cannot be written.
    """
    _write(path, (json.dumps(document, indent=1) + "\n").encode())


def check_plot(path: Path) -> None:
    """Check that a plot can be written, before the optimisation.

    Raises:
        UsageError: the suffix is not one of `PLOTS`.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in PLOTS:
        raise UsageError(
            f"{path} is no file name for a plot; expected a name ending in {', '.join(PLOTS)}"
        )
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a plot", "matplotlib", "optimize") from error


def plot_curve(path: Path, steps: Sequence[Mapping[str, Any]]) -> None:
    """Plot the losses over the iterations, on a logarithmic scale.

    Args:
        path: PNG, SVG, PDF or JPEG, by its suffix.
        steps: as in `Optimization.history`.

    Raises:
        UsageError: the suffix is not one of `PLOTS`.
        MissingExtraError: matplotlib is not installed.
        ImageWriteError: it cannot be written.
    """
    check_plot(path)
    # pyplot would look for a window system, and keep the figure in memory.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    numbers = [step["iteration"] for step in steps]
    for name in ("total", "content", "style", "tv"):
        values = [step[name] for step in steps]
        if any(values):
            axes.semilogy(numbers, [value or None for value in values], label=name)
    for before, after in pairwise(steps):
        if before["width"] != after["width"]:  # a new size
            axes.axvline(after["iteration"] - 0.5, color="0.8", linewidth=1)
    axes.set_xlabel("iteration")
    axes.set_ylabel("loss")
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.lower()[1:], dpi=120)
    _write(path, content.getvalue())


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    except OSError as error:
        raise ImageWriteError(f"{path} could not be written: {error.strerror or error}") from error
