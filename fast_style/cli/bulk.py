"""The command `fast-style bulk`."""

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from fast_style.cli.exit_codes import (
    EXIT_CODES,
    FAILED,
    SOME_FAILED,
    Terminated,
    debug_option,
    debugging,
)
from fast_style.cli.image_options import engine_options, look_options, written_options

if TYPE_CHECKING:
    from fast_style.bulk.runner import BulkRun, Runner
    from fast_style.bulk.worker import Result
    from fast_style.cli.progress import Report
    from fast_style.inference.stylizer import Tile

_MOST_TOLD = 20
"""Failures that are told one by one; the table has all."""


@click.command(epilog=EXIT_CODES)
@click.argument("source", metavar="INPUT")
@click.option(
    "--output",
    "-o",
    metavar="OUTPUT",
    required=True,
    help="Where to write: a folder, or a URL such as s3://bucket/stylized. What is done and what "
    "has failed is noted there, in .fast-style-bulk.",
)
@click.option(
    "--style",
    "-s",
    metavar="NAME|FILE",
    help="The style, as for `fast-style stylize`; can be left out where a list names one for each "
    "picture (--style-column).",
)
@look_options
@written_options
@click.option(
    "--column",
    metavar="NAME",
    default="path",
    show_default=True,
    help="The column of a list with the paths or URLs.",
)
@click.option(
    "--name-column",
    metavar="NAME",
    help="The column of a list with names for the output, below its folder.  [default: the path]",
)
@click.option("--style-column", metavar="NAME", help="The column of a list with the styles.")
@click.option("--retry-failed", is_flag=True, help="Try again what has failed in earlier runs.")
@click.option(
    "--runner",
    type=click.Choice(("auto", "ray", "local")),
    default="auto",
    show_default=True,
    help="What runs it: ray (the extra bulk), or this process alone; auto takes ray for a cluster, "
    "and for many pictures where there are several GPUs or 16 cores.",
)
@click.option("--address", metavar="ADDRESS", help="A Ray cluster to work on, such as auto.")
@click.option(
    "--actors",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes that stylize, with ray.  [default: one for each GPU, or for each 4 cores]",
)
@click.option(
    "--cpus-per-actor",
    "cores",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cores for each, with ray.  [default: at most 4]",
)
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Write a summary as JSON to stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Tell of failures only.")
@debug_option
@click.pass_context
def bulk(
    context: click.Context,
    source: str,
    output: str,
    style: str | None,
    size: int | None,
    strength: float,
    preserve_color: bool,
    stroke_size: float,
    format_name: str | None,
    quality: int | None,
    column: str,
    name_column: str | None,
    style_column: str | None,
    retry_failed: bool,
    runner: "Runner",
    address: str | None,
    actors: int | None,
    cores: int | None,
    max_megapixels: float,
    engine: str,
    device: str,
    precision: str,
    tile: "Tile",
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Put a style on millions of photos.

    INPUT is a folder, searched with its subfolders; a glob in quotes; a URL such as s3://bucket/in;
    or a list, .csv or .parquet. Killed or interrupted, the same command goes on where it was.

    \b
    fast-style bulk photos -o stylized --style starry-night --size 1024
    fast-style bulk s3://bucket/in -o s3://bucket/out --style starry-night --address auto
    fast-style bulk list.parquet --style-column style -o stylized --format webp
    """  # noqa: D301 (the \b is click's)
    # Imported here, so that help and mistakes in the options come at once.
    from fast_style.bulk.runner import BulkConfig, prepare
    from fast_style.cli.output_plan import named_format
    from fast_style.cli.progress import Report
    from fast_style.inference.pipeline import Treatment

    if style is None and style_column is None:
        raise click.UsageError("name a style with --style, or a list's column with --style-column")
    config = BulkConfig(
        source,
        output,
        style,
        Treatment(size, strength, preserve_color, named_format(format_name), quality, stroke_size),
        column,
        name_column,
        style_column,
        retry_failed,
        runner,
        address,
        actors,
        cores,
        engine,
        device,
        precision,
        max_megapixels,
        tile,
        workers,
    )
    report = Report(quiet=quiet, debug=debugging())
    run = prepare(config)
    progress = _Progress(report, run)
    try:
        progress.go()
    finally:
        # Also when it is cut short: the table of failures is as true as the manifest then.
        table = run.close()
    failed = len(run.failures)
    progress.summary(table)
    if as_json:
        click.echo(json.dumps(progress.document(table), indent=2))
    if failed:
        context.exit(SOME_FAILED if run.done_before + progress.done else FAILED)


class _Progress:
    """Goes through a run, counts, and tells of it."""

    def __init__(self, report: "Report", run: "BulkRun") -> None:
        self._report, self._run = report, run
        self.done = self.failed = 0
        self.megapixels = self.seconds = 0.0

    def go(self) -> None:
        run, report = self._run, self._report
        if run.done_before and not report.quiet:
            report.note(f"{run.done_before} of {run.total} pictures were done before")
        if run.failed_before and not report.quiet:
            report.note(f"{run.failed_before} have failed before: --retry-failed tries them again")
        if not run.pending:
            return
        start = time.perf_counter()
        try:
            with (
                report.showing(len(run.pending)),
                closing(run.results()) as batches,
            ):
                for batch in batches:
                    for result in batch:
                        self._take(result)
                    report.advance(len(batch), f"{self.megapixels:,.0f} megapixels")
        except (KeyboardInterrupt, Terminated):
            self.seconds = time.perf_counter() - start
            if not report.quiet:
                report.note(f"{self.done} done in this run; the same command goes on from here")
            raise
        self.seconds = time.perf_counter() - start

    def _take(self, result: "Result") -> None:
        if not result.error:
            self.done += 1
            self.megapixels += result.megapixels
            return
        self.failed += 1
        if self.failed <= _MOST_TOLD:
            self._report.problem(result.error)
        elif self.failed == _MOST_TOLD + 1:
            self._report.problem("further failures are in the table only")

    def summary(self, table: str | None) -> None:
        """Tell how it ended."""
        run = self._run
        rate = f" ({self.done / self.seconds:.3g} photos/s)" if self.done else ""
        parts = [f"{self.done} stylized{rate}"]
        parts += [f"{run.done_before} done before"] if run.done_before else []
        parts += [f"{len(run.failures)} failed, see {table}"] if table else []
        self._report.line(", ".join(parts))

    def document(self, table: str | None) -> dict[str, Any]:
        """Give the summary for machines."""
        run = self._run
        return {
            "input": run.config.source,
            "output": run.config.output,
            "runner": run.runner,
            "pictures": run.total,
            "done": self.done,
            "done_before": run.done_before,
            "failed": len(run.failures),
            "failures": table,
            "megapixels": round(self.megapixels, 3),
            "seconds": round(self.seconds, 3),
        }
