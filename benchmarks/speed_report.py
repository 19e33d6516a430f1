"""Format the results of `benchmarks.inference_speed` as Markdown tables and a plot.

A ratio is our time divided by the other's, computed for each round; the median is shown.
"""

import statistics
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.gpu_speed import make_gpu_report
from benchmarks.peers import DEFAULT_STROKES, EAGER, EXAMPLES, LITE, ONNXRUNTIME, OPENVINO, OURS
from benchmarks.warm_speed import find_our_engine

Row = dict[str, Any]


def compute_median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def compute_round_times(row: Row, name: str) -> list[float]:
    """Return one time for each round: the median of its calls."""
    return [statistics.median(calls) for calls in row["seconds"][name]]


def format_seconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def make_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def make_report(results: Row) -> str:
    """Return all results as Markdown."""
    lines = [results["machine"], ""]
    if results.get("warm"):
        lines += _report_warm(results["warm"])
    if results.get("gpu"):
        lines += ["### On a GPU", "", make_gpu_report(results["gpu"]), ""]
    for section in ("cold", "large"):
        rows = [row for row in results.get("commands", ()) if row["section"] == section]
        if rows:
            lines += _report_commands(section, rows)
    if results.get("imports_torch") is not None:
        answer = "yes" if results["imports_torch"] else "no"
        lines += [f"torch imported by `{OURS} stylize`: {answer}.", ""]
    if results.get("folder"):
        lines += _report_folder(results["folder"])
    lines += [f"{problem['name']}: {problem['sentence']}." for problem in results["problems"]]
    return "\n".join(lines).rstrip()


def _report_warm(rows: Sequence[Row]) -> Iterator[str]:
    names = list(dict.fromkeys(name for row in rows for name in row["seconds"]))
    rounds = max(len(calls) for row in rows for calls in row["seconds"].values())
    yield "### Warm, network only"
    yield ""
    yield (
        "Median time of one square picture; in brackets, the time of the first column's engine "
        f"divided by it, the median of {rounds} rounds."
    )
    yield ""
    body = []
    for row in rows:
        cells, ours = [f"{row['size']}, {row['side']}"], find_our_engine(row)
        for name in names:
            if name not in row["seconds"]:
                cells.append("failed" if name in row["failed"] else "-")
                continue
            times = compute_round_times(row, name)
            text = format_seconds(statistics.median(times))
            if ours is not None and name != ours:
                text += f" ({compute_median_ratio(compute_round_times(row, ours), times):.2f})"
            cells.append(text)
        body.append(cells)
    yield from make_table(["network, side", *names], body)
    about = {name: text for row in rows for name, text in row["about"].items()}
    yield "; ".join(f"{name}: {text}" for name, text in about.items()) + "."
    yield ""
    failed = {name: text for row in rows for name, text in row["failed"].items()}
    for name, text in failed.items():
        yield f"{name} failed: {text}"
        yield ""


def _report_commands(section: str, rows: Sequence[Row]) -> Iterator[str]:
    ours = [f"{OURS}, {size}" for size in ("standard", "full", f"standard{DEFAULT_STROKES}")]
    ours = [name for name in ours if any(row["command"] == name for row in rows)]
    yield "### Whole command, JPEG to JPEG" + (", larger photos" if section == "large" else "")
    yield ""
    yield (
        "Medians. Columns of ours: our time and our peak memory divided by those of the row, the "
        f"median of {max(len(row['runs']) for row in rows)} rounds."
    )
    yield ""
    body = []
    for row in rows:
        cells = [f"{row['photo']} ({row['megapixels']:.3g} MP)", row["command"]]
        if row["failed"] is not None:
            body.append([*cells, row["failed"], "-", *("-" for _ in ours)])
            continue
        cells.append(format_seconds(statistics.median(run["seconds"] for run in row["runs"])))
        cells.append(f"{statistics.median(run['peak'] for run in row['runs']) / 1e9:.2f} GB")
        for name in ours:
            cells.append("-" if name == row["command"] else _compare(rows, row, name))
        body.append(cells)
    yield from make_table(["photo", "command", "time", "peak memory", *ours], body)
    for name in ours:
        mine = [row for row in rows if row["command"] == name and row["failed"] is None]
        if section == "large" and len(mine) > 1:
            first, last = mine[-2], mine[-1]
            ratio = compute_median_ratio(*(_values(row, "seconds") for row in (last, first)))
            yield (
                f"{name}: {last['megapixels']:.3g} MP in {ratio:.2f} times the time of "
                f"{first['megapixels']:.3g} MP."
            )
            yield ""


def _compare(rows: Sequence[Row], row: Row, name: str) -> str:
    for mine in rows:
        if mine["command"] == name and mine["photo"] == row["photo"] and mine["failed"] is None:
            parts = ("seconds", "peak")
            ratios = (
                compute_median_ratio(_values(mine, part), _values(row, part)) for part in parts
            )
            return ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return "-"


def _values(row: Row, what: str) -> list[float]:
    return [run[what] for run in row["runs"]]


def _report_folder(result: Row) -> Iterator[str]:
    rounds, photos = result["rounds"], result["photos"]
    seconds = [run["seconds"] for run in rounds]
    warm = {
        what: [statistics.median(chain.from_iterable(run[what])) for run in rounds]
        for what in ("network", "photo")
    }
    yield "### Folder"
    yield ""
    yield (
        f"{photos} photos of {result['width']}x{result['height']} in one command "
        f"({result['command']}), medians of {len(rounds)} rounds."
    )
    yield ""
    rows = [
        ["time", format_seconds(statistics.median(seconds))],
        ["photos a second", f"{photos / statistics.median(seconds):.2f}"],
        ["peak memory", f"{statistics.median(run['peak'] for run in rounds) / 1e9:.2f} GB"],
    ]
    for what, title in (("network", "in the network alone"), ("photo", "from file to file")):
        one = format_seconds(statistics.median(warm[what]))
        ratio = compute_median_ratio(seconds, [photos * value for value in warm[what]])
        rows.append([f"against {photos} times one warm photo {title} ({one})", f"{ratio:.2f}"])
    yield from make_table(["what", "figure"], rows)


def draw_plot(results: Row, path: Path) -> None:
    """Plot time against megapixels, both logarithmic, for the warm network and whole commands."""
    try:
        from matplotlib import pyplot, ticker
    except ImportError:
        raise SystemExit("--plot needs matplotlib: pip install matplotlib") from None
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    panels = (("Network only, warm", _warm_lines), ("Whole command, JPEG to JPEG", _command_lines))
    for panel, (title, lines) in zip(axes, panels, strict=True):
        for name, points in lines(results).items():
            ours = name.startswith(OURS)
            panel.plot(
                *zip(*sorted(points), strict=True),
                label=name,
                color=_color(name),
                linestyle="--" if "standard" in name else "-",
                linewidth=2.5 if ours else 1.5,
                marker="o",
                markersize=4,
            )
        panel.set(xscale="log", yscale="log", title=title, xlabel="megapixels", ylabel="seconds")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(ticker.NullFormatter())
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _color(name: str) -> str:
    colors = {
        OURS: "tab:red",
        EAGER: "tab:gray",
        EXAMPLES: "tab:gray",
        OPENVINO: "tab:blue",
        ONNXRUNTIME: "tab:green",
        LITE: "tab:orange",
    }
    return next((color for start, color in colors.items() if name.startswith(start)), "black")


def _warm_lines(results: Row) -> dict[str, list[tuple[float, float]]]:
    """Return the points of our default engine at two sizes, and of the others at size full."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in results.get("warm", ()):
        ours = find_our_engine(row)
        for name in row["seconds"]:
            of_peer = row["size"] == "full" and not name.startswith(OURS)
            of_ours = row["size"] in ("full", "standard") and name == ours
            if of_peer or of_ours:
                title = f"{OURS}, {row['size']}" if of_ours else name
                if of_peer and name != LITE:
                    title += " (full)"
                point = (row["side"] ** 2 / 1e6, statistics.median(compute_round_times(row, name)))
                lines.setdefault(title, []).append(point)
    return lines


def _command_lines(results: Row) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in results.get("commands", ()):
        if row["failed"] is None and "nothing cached" not in row["command"]:
            point = (row["megapixels"], statistics.median(_values(row, "seconds")))
            lines.setdefault(row["command"], []).append(point)
    return lines
