"""The command `fast-style serve`."""

import importlib.util

import click

from fast_style.cli.exit_codes import EXIT_CODES, debug_option
from fast_style.cli.options import options_from
from fast_style.errors import MissingExtraError
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.settings import ServiceSettings

_NEEDED = (
    ("fastapi", "fastapi"),
    ("uvicorn", "uvicorn"),
    ("python_multipart", "python-multipart"),
    ("prometheus_client", "prometheus-client"),
)
_NEEDED_BY_JOBS = (("dbos", "dbos"), ("fsspec", "fsspec"))


@click.command(
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@options_from(ServiceSettings, "settings")
@click.option(
    "--jobs/--no-jobs",
    "with_jobs",
    default=True,
    help="Whether to accept jobs that run for minutes (/v1/jobs).  [default: --jobs]",
)
@options_from(JobSettings, "job_settings")
@debug_option
def serve(settings: ServiceSettings, with_jobs: bool, job_settings: JobSettings) -> None:
    """Serve styles over HTTP: photos in, stylized pictures out.

    \b
    fast-style serve
    curl -F photo=@photo.jpg -F style=starry-night http://127.0.0.1:8000/v1/stylize -o out.jpg

    /openapi.json describes the API, /healthz and /readyz report the state of the service, /metrics
    is for Prometheus. On SIGTERM and Ctrl-C, requests in flight are finished first.
    """  # noqa: D301 (the \b is click's)
    for module, package in (*_NEEDED, *(_NEEDED_BY_JOBS if with_jobs else ())):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError("fast-style serve", package, "serve")
    from fast_style.service.app import create_app
    from fast_style.service.server import serve as run

    app = create_app(settings, job_settings if with_jobs else None)
    if with_jobs:
        app.state.jobs.open()  # an error in the app's own start would be a traceback
    run(app, settings)
