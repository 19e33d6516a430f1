"""The OpenAPI document and the service keep what they promise each other: Schemathesis tries it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the service needs the extra serve")
pytest.importorskip("schemathesis", reason="it is in the extra dev")

import httpx

from tests.commands import environment
from tests.conftest import STYLE
from tests.job_service import running as job_service
from tests.running_service import running
from tests.test_jobs_api import service_for, settings_for

EXAMPLES = 12
HOOKS = "tests.schemathesis_hooks"
KEY = "0123456789abcdef"


@pytest.fixture
def place(tmp_path, model_file):
    shutil.copy(model_file, tmp_path)
    return tmp_path


def started(place, *options):
    options = ("--warm", STYLE, "--decoders", 1, *options)
    return running(place, *options, FAST_STYLE_MODELS=str(place))


def try_everything(place, url, *options):
    """All checks, all phases; a seed, so that it is the same each time."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run"),
        *(f"{url}/openapi.json", "--seed", "8", "--generation-deterministic"),
        *("--max-examples", str(EXAMPLES), "--no-color"),
        *("--checks", "all", "--continue-on-failure", "--request-timeout", "60", *options),
    ]
    return subprocess.run(
        command,
        cwd=place,
        env=environment() | {"SCHEMATHESIS_HOOKS": HOOKS},
        capture_output=True,
        text=True,
        timeout=250,
    )


def test_schemathesis_finds_nothing(place):
    with started(place) as service:
        done = try_everything(place, service.url)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "No issues found" in done.stdout, done.stdout[-2000:]
        # It did reach what it is about.
        assert service.metric("fast_style_megapixels_total") > 0
        assert "Traceback" not in service.log.read_text()


def test_with_keys_too(place):
    (place / "keys").write_text(KEY)
    with started(place, "--keys", "keys") as service:
        key = f"Authorization: Bearer {KEY}"
        done = try_everything(place, service.url, "--header", key, "--phases", "coverage")
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "ignored_auth" not in done.stdout


def test_jobs_too(place, monkeypatch):
    """The way from a form to its job, its result, its pictures and its end."""
    monkeypatch.setenv("FAST_STYLE_MODELS", str(place))
    statuses = ["2xx", 401, 403, 404, 409, 410, 429, "5xx"]  # 410: another test has cancelled it
    (place / "schemathesis.toml").write_text(
        f"[checks.positive_data_acceptance]\nexpected-statuses = {statuses}\n"
    )
    # After DELETE a job is there to say that it was cancelled. And where the hook puts an archive
    # in the place of a picture, the whole form is taken for a wrong one.
    unfit = "use_after_free,negative_data_rejection"
    options = ("--include-path-regex", "/v1/jobs", "--exclude-checks", unfit)
    with job_service(service_for(), settings_for(place, queue_limit=10_000)) as service:
        done = try_everything(place, service.address, *options)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert re.search(r"(\d{3,}) generated, \1 passed", done.stdout), done.stdout[-2000:]
        jobs = service.app.state.jobs.client
        assert {jobs.find(name, owner="").spec.kind for name in jobs.store.names("")} == {
            *("batch", "optimize"),
        }


@pytest.mark.parametrize("path", ["/v1/jobs", f"/v1/jobs/{'0' * 32}", "/v1/styles"])
def test_a_wrong_method_is_told_the_right_ones(place, path, monkeypatch):
    monkeypatch.setenv("FAST_STYLE_MODELS", str(place))
    known = {"/v1/jobs": "GET, POST", "/v1/styles": "GET"}
    with job_service(service_for(), settings_for(place)) as service:
        answer = service.ask("PUT", path)
    assert answer.status == 405
    assert answer.headers["allow"] == known.get(path, "DELETE, GET")


def test_the_document_says_what_there_is(place):
    with started(place) as service:
        document = httpx.get(f"{service.url}/openapi.json").json()
    assert set(document["paths"]) == {
        *("/v1/stylize", "/v1/styles", "/v1/styles/{name}", "/v1/styles/{name}/thumbnail"),
        *("/healthz", "/readyz", "/metrics"),
    }
    post = document["paths"]["/v1/stylize"]["post"]
    style = post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["style"]
    for text in (*style["examples"], STYLE, f"{STYLE}:0.6,starry-night:1.4"):
        assert re.search(style["pattern"], text)
    for text in ("monet", f"{STYLE}:0.5,starry-night", f"{STYLE}:0", f"x{STYLE}"):
        assert not re.search(style["pattern"], text)
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            for status, response in operation["responses"].items():
                kinds = set(response["content"])
                assert (kinds == {"application/problem+json"}) == (int(status) >= 400), status
