"""The command `fast-style bulk`."""

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from fast_style.bulk.config import BulkConfig, BulkOptions
from fast_style.cli.exit_codes import (
    EXIT_CODES,
    FAILED,
    SOME_FAILED,
    Terminated,
    debug_option,
    debugging,
)
from fast_style.cli.options import (
    StyleCommand,
    colors_of_option,
    json_option,
    mask_option,
    options_from,
    quiet_option,
)
from fast_style.options import EngineOptions, OutputOptions, PipelineOptions, StyleOptions

if TYPE_CHECKING:
    from fast_style.bulk.runner import BulkRun
    from fast_style.bulk.worker import BulkResult
    from fast_style.cli.progress import ProgressReporter

_MAX_PRINTED_FAILURES = 20
"""Failures that are printed; the table contains all."""


@click.command(cls=StyleCommand, epilog=EXIT_CODES)
@click.argument("source", metavar="INPUT")
@click.option(
    "--output",
    "-o",
    metavar="OUTPUT",
    required=True,
    help="Where to write: a folder, or a URL such as s3://bucket/stylized. Its subfolder "
    ".fast-style-bulk records what is done and what has failed.",
)
@click.option(
    "--style",
    "-s",
    metavar="NAME|FILE",
    help="The style, as for `fast-style stylize`; not needed if a list gives one for each picture "
    "(--style-column).",
)
@mask_option
@colors_of_option
@options_from(StyleOptions, "style_options")
@options_from(OutputOptions, "output_options")
@options_from(BulkOptions, "bulk_options")
@options_from(PipelineOptions, "pipeline_options")
@options_from(EngineOptions, "engine_options")
@json_option
@quiet_option
@debug_option
@click.pass_context
def bulk(
    context: click.Context,
    source: str,
    output: str,
    style: str | None,
    masks: tuple[str, ...],
    colors_of: str | None,
    style_options: StyleOptions,
    output_options: OutputOptions,
    bulk_options: BulkOptions,
    pipeline_options: PipelineOptions,
    engine_options: EngineOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Apply a style to millions of photos.

    INPUT is a folder, searched with its subfolders; a glob in quotes; a URL such as s3://bucket/in;
    or a list, .csv or .parquet. After a kill or an interruption, the same command continues.

    \b
    fast-style bulk photos -o stylized --style starry-night --size 1024
    fast-style bulk s3://bucket/in -o s3://bucket/out --style starry-night --address auto
    fast-style bulk list.parquet --style-column style -o stylized --format webp
    """  # noqa: D301 (the \b is click's)
    if style is None and bulk_options.style_column is None:
        raise click.UsageError("name a style with --style, or a list's column with --style-column")
    # Imported here, so that help and errors in the options come at once.
    from fast_style.bulk.runner import prepare
    from fast_style.cli.progress import ProgressReporter

    run = prepare(
        BulkConfig(
            source=source,
            output=output,
            style=style,
            masks=masks,
            colors_of=colors_of,
            bulk=bulk_options,
            style_options=style_options,
            output_options=output_options,
            engine_options=engine_options,
            pipeline_options=pipeline_options,
        )
    )
    progress = _BulkProgress(ProgressReporter(quiet=quiet, debug=debugging()), run)
    try:
        progress.run_all()
    finally:
        # Also when it is interrupted, so that the table of failures matches the manifest.
        table = run.close()
    progress.print_summary(table)
    if as_json:
        click.echo(json.dumps(progress.to_dict(table), indent=2))
    if run.failures:
        context.exit(SOME_FAILED if run.done_before + progress.done else FAILED)


class _BulkProgress:
    """Runs a bulk run, counts its results, and prints them.

    Attributes:
        done: number of pictures stylized in this run.
        failed: number of pictures that failed in this run.
        megapixels: size of the stylized pictures.
        seconds: duration of the run.
    """

    def __init__(self, reporter: "ProgressReporter", run: "BulkRun") -> None:
        self._reporter, self._run = reporter, run
        self.done = self.failed = 0
        self.megapixels = self.seconds = 0.0

    def run_all(self) -> None:
        """Stylize all pending pictures.

        Raises:
            FastStyleError: the run cannot continue.
        """
        run, reporter = self._run, self._reporter
        if run.done_before:
            reporter.note(f"{run.done_before} of {run.total} pictures were done before")
        if run.failed_before:
            reporter.note(f"{run.failed_before} failed before: --retry-failed tries them again")
        if not run.pending:
            return
        start = time.perf_counter()
        try:
            with reporter.bar(len(run.pending)), closing(run.results()) as blocks:
                for results in blocks:
                    for result in results:
                        self._count(result)
                    reporter.advance(len(results), f"{self.megapixels:,.0f} megapixels")
        except (KeyboardInterrupt, Terminated):
            reporter.note(f"{self.done} done in this run; the same command continues from here")
            raise
        finally:
            self.seconds = time.perf_counter() - start

    def _count(self, result: "BulkResult") -> None:
        if not result.error:
            self.done += 1
            self.megapixels += result.megapixels
            return
        self.failed += 1
        if self.failed <= _MAX_PRINTED_FAILURES:
            self._reporter.error(result.error)
        elif self.failed == _MAX_PRINTED_FAILURES + 1:
            self._reporter.error("further failures are only in the table")

    def print_summary(self, table: str | None) -> None:
        """Print the numbers of pictures and the speed.

        Args:
            table: path or URL of the table of failures, if there are any.
        """
        run = self._run
        self._reporter.left_out(run.config.source, run.left_out)
        rate = f" ({self.done / self.seconds:.3g} photos/s)" if self.done else ""
        parts = [f"{self.done} stylized{rate}"]
        parts += [f"{run.done_before} done before"] if run.done_before else []
        parts += [f"{len(run.failures)} failed, see {table}"] if table else []
        self._reporter.line(", ".join(parts))

    def to_dict(self, table: str | None) -> dict[str, Any]:
        """Return the summary as JSON values; `table` as in `print_summary`."""
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
            "left_out": dict(run.left_out.counts),
            "megapixels": round(self.megapixels, 3),
            "seconds": round(self.seconds, 3),
        }
