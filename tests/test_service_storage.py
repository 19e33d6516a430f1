"""A service whose jobs cannot be kept: one sentence at the start, and readiness that tells it."""

import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("dbos", reason="the service needs the extra serve")

from fast_style.errors import JobError
from fast_style.service.app import create_app
from fast_style.service.jobs.client import JobClient
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.settings import ServiceSettings
from tests.commands import failure
from tests.service_client import AppClient

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can reach, which pytest's own ones are not."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Be a user who needs permissions, if this is the one who does not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def settings(folder: Path) -> JobSettings:
    return JobSettings(database=f"sqlite:///{folder}/jobs.sqlite", results=str(folder / "jobs"))


def refusal(folder: Path, **changes: str) -> str:
    made = settings(folder)
    options = {"database": made.database, "results": made.results} | changes
    pairs = [word for name, value in options.items() for word in (f"--{name}", value)]
    message = failure("serve", "--port", "0", "--warm", "none", *pairs)
    for option in ("--database", "--results", "--no-jobs"):
        assert option in message
    return message


def test_places_that_cannot_be_made_are_one_sentence(folder):
    (folder / "file").write_text("no database")
    assert "cannot be created: Not a directory" in refusal(folder, results=f"{folder}/file/jobs")
    message = refusal(folder, database=f"sqlite:///{folder}/file/jobs.sqlite")
    assert "cannot be opened" in message
    message = refusal(folder, database=f"sqlite:///{folder}/file")
    assert "file is not a database" in message


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are those of POSIX")
@pytest.mark.parametrize("what", ["database", "folder of results", "folder of the database"])
def test_places_that_cannot_be_written_are_one_sentence(folder, what):
    """Everything is there, and was used before."""
    base = folder / "data"
    JobClient(settings(base)).close()
    for path in (base, *base.rglob("*")):
        path.chmod(0o777)
    locked = {"database": "jobs.sqlite", "folder of results": "jobs"}.get(what, ".")
    path = base / locked
    path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH | (0o111 if path.is_dir() else 0))
    with without_privileges(), pytest.raises(JobError, match=r"\(--no-jobs\)") as caught:
        create_app(ServiceSettings(), settings(base)).state.jobs.open()
    expected = {
        "database": "readonly database",
        "folder of results": "cannot be written: Permission denied",
        "folder of the database": "unable to open database file|readonly database",
    }[what]
    caught.match(expected)
    path.chmod(0o777)


def test_readiness_tells_of_a_worker_that_does_not_stay_up(folder):
    app = create_app(ServiceSettings(warm="none"), settings(folder))
    supervisor = app.state.jobs.supervisor
    supervisor._command = [sys.executable, "-S", "-c", "raise SystemExit(1)"]
    with AppClient(app) as client:
        deadline = time.monotonic() + 60
        while not supervisor.failing or not app.state.service.ready:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "the worker of the background jobs ends as soon as" in response.json()["detail"]


def test_readiness_tells_of_a_database_that_cannot_be_reached(folder, monkeypatch):
    jobs = settings(folder)
    other = JobSettings(database=jobs.database, results=jobs.results, worker="elsewhere")
    app = create_app(ServiceSettings(warm="none"), other)
    with AppClient(app) as client:
        deadline = time.monotonic() + 60
        while (response := client.get("/readyz")).status_code != 200:
            assert time.monotonic() < deadline, response.text
            time.sleep(0.05)

        def fail() -> int:
            raise OSError("connection refused")

        monkeypatch.setattr(app.state.jobs.client, "count_waiting", fail)
        app.state.jobs._checked = float("-inf")
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "the database of the background jobs cannot be reached" in response.json()["detail"]
