"""The OpenAPI document and the service agree: Schemathesis sends requests made of the document."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the service needs the extra serve")
pytest.importorskip("schemathesis", reason="it is in the extra dev")

from tests.commands import environment
from tests.conftest import SMALLEST, STYLE, make_card, make_weights
from tests.job_service import running
from tests.test_jobs_api import service_for, settings_for

EXAMPLES = 12
HOOKS = "tests.schemathesis_hooks"
KEY = "0123456789abcdef"
OTHER = "starry-night"  # the example of the document


@pytest.fixture
def place(tmp_path, model_file, monkeypatch):
    """A folder with two small styles, which are the only ones."""
    from fast_style.models.model_file import save_model

    shutil.copy(model_file, tmp_path)
    thumbnail = io.BytesIO()
    Image.new("RGB", (16, 12), "orange").save(thumbnail, "WEBP")
    card = make_card(OTHER, thumbnail=thumbnail.getvalue())
    save_model(tmp_path / f"{OTHER}.safetensors", card, make_weights(SMALLEST, seed=1))
    # Mixtures of the styles that ship would take long to load.
    monkeypatch.setattr("fast_style.styles.registry.style_folders", lambda: [tmp_path])
    return tmp_path


def run_schemathesis(place, url, *options):
    """Run all checks in all phases, with a seed, so that requests are the same each time."""
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


def test_schemathesis_finds_nothing_in_the_pictures(place):
    with running(service_for()) as service:
        done = run_schemathesis(place, service.address)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "No issues found" in done.stdout, done.stdout[-2000:]
        # Pictures were stylized.
        megapixels = re.search(r"^fast_style_megapixels_total (\S+)", service.metrics(), re.M)
        assert float(megapixels[1]) > 0


def test_schemathesis_finds_nothing_with_keys(place):
    (place / "keys").write_text(KEY)
    with running(service_for(keys=place / "keys")) as service:
        key = f"Authorization: Bearer {KEY}"
        done = run_schemathesis(place, service.address, "--header", key, "--phases", "coverage")
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "ignored_auth" not in done.stdout


def test_schemathesis_finds_nothing_in_the_jobs(place):
    """From a form to its job, its result, its pictures and its end."""
    statuses = ["2xx", 401, 403, 404, 409, 410, 429, "5xx"]  # 410: another test has cancelled it
    (place / "schemathesis.toml").write_text(
        f"[checks.positive_data_acceptance]\nexpected-statuses = {statuses}\n"
    )
    # After DELETE a job can still be shown as cancelled. And where the hook replaces a picture by
    # an archive, Schemathesis takes the whole form for a wrong one.
    unfit = "use_after_free,negative_data_rejection"
    options = ("--include-path-regex", "/v1/jobs", "--exclude-checks", unfit)
    with running(service_for(), settings_for(place, queue_limit=10_000)) as service:
        done = run_schemathesis(place, service.address, *options)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert re.search(r"(\d{3,}) generated, \1 passed", done.stdout), done.stdout[-2000:]
        jobs = service.app.state.jobs.client
        assert {jobs.find(name, owner="").spec.kind for name in jobs.store.names("")} == {
            *("batch", "optimize", "video"),
        }


def test_a_wrong_method_is_answered_with_the_right_ones(place):
    with running(service_for(), settings_for(place)) as service:
        for path, allowed in (
            ("/v1/jobs", "GET, POST"),
            (f"/v1/jobs/{'0' * 32}", "DELETE, GET"),
            ("/v1/styles", "GET"),
        ):
            answer = service.ask("PUT", path)
            assert answer.status == 405
            assert answer.headers["allow"] == allowed


def test_the_document_describes_all_routes(place):
    with running(service_for()) as service:
        document = service.get("/openapi.json").json
    assert set(document["paths"]) == {
        *("/v1/stylize", "/v1/styles", "/v1/styles/{name}", "/v1/styles/{name}/thumbnail"),
        *("/healthz", "/readyz", "/metrics"),
    }
    post = document["paths"]["/v1/stylize"]["post"]
    style = post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["style"]
    for text in (*style["examples"], STYLE, f"{STYLE}:0.6,{OTHER}:1.4"):
        assert re.search(style["pattern"], text)
    for text in ("monet", f"{STYLE}:0.5,{OTHER}", f"{STYLE}:0", f"x{STYLE}"):
        assert not re.search(style["pattern"], text)
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            for status, response in operation["responses"].items():
                kinds = set(response["content"])
                assert (kinds == {"application/problem+json"}) == (int(status) >= 400), status
