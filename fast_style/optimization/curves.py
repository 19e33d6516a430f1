"""The loss along a descent: as JSON, and as a plot."""

import io
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from fast_style.errors import ImageWriteError, MissingExtraError, UsageError
from fast_style.storage.atomic_write import replace_file

PLOTS = (".png", ".svg", ".pdf", ".jpg")


def write_curve(path: Path, document: Mapping[str, Any]) -> None:
    """Write a run's figures, see `Optimization.to_dict`, as JSON.

    Raises:
        ImageWriteError: it cannot be written.
    """
    _write(path, (json.dumps(document, indent=1) + "\n").encode())


def check_plot(path: Path) -> None:
    """See that a plot can be made, before there is anything to plot.

    Raises:
        UsageError: no format has this suffix.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in PLOTS:
        raise UsageError(f"{path} is to hold a plot; expected a name ending in {', '.join(PLOTS)}")
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
        UsageError: no format has this suffix.
        MissingExtraError: matplotlib is not installed.
        ImageWriteError: it cannot be written.
    """
    check_plot(path)
    # No pyplot: it would look for a window system, and keep the figure.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    numbers = [step["iteration"] for step in steps]
    for name in ("total", "content", "style", "tv"):
        values = [step[name] for step in steps]
        if any(values):
            axes.semilogy(numbers, [value or None for value in values], label=name)
    for before, after in pairwise(steps):
        if before["width"] != after["width"]:  # the next size
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
