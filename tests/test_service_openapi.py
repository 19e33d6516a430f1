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
from tests.running_service import running

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


def try_everything(place, service, *options):
    """All checks, all phases; a seed, so that it is the same each time."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run"),
        *(f"{service.url}/openapi.json", "--seed", "8", "--generation-deterministic"),
        *("--max-examples", str(EXAMPLES), "--no-color"),
        *("--checks", "all", "--continue-on-failure", *options),
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
        done = try_everything(place, service)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "No issues found" in done.stdout, done.stdout[-2000:]
        # It did reach what it is about.
        assert service.metric("fast_style_megapixels_total") > 0
        assert "Traceback" not in service.log.read_text()


def test_with_keys_too(place):
    (place / "keys").write_text(KEY)
    with started(place, "--keys", "keys") as service:
        key = f"Authorization: Bearer {KEY}"
        done = try_everything(place, service, "--header", key, "--phases", "coverage")
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "ignored_auth" not in done.stdout


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
