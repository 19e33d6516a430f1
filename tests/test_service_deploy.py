"""The files for containers fit the service; no container engine is needed."""

import json
import re

import pytest

pytest.importorskip("fastapi", reason="the service needs the extra serve")

import yaml
from click.testing import CliRunner

from fast_style.cli.main import COMMANDS, group
from fast_style.service.app import create_app
from fast_style.service.settings import ServiceSettings
from tests.commands import CHECKOUT
from tests.service_client import AppClient

COMPOSE = yaml.safe_load((CHECKOUT / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
OURS = ("service", "worker", "demo")
DASHBOARD = CHECKOUT / "deploy" / "grafana" / "dashboards" / "fast-style.json"


def commands():
    for text in re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE):
        yield json.loads(text)
    for name in OURS:
        if "command" in COMPOSE["services"][name]:
            yield COMPOSE["services"][name]["command"]


@pytest.mark.parametrize("words", list(commands()), ids=lambda words: " ".join(words[:3]))
def test_commands_and_their_options_exist(words):
    assert words[0] == "fast-style"
    assert words[1] in COMMANDS
    # All options are known; --help at the end prevents any work.
    done = CliRunner().invoke(group, [*words[1:], "--help"])
    assert done.exit_code == 0, done.output
    known = done.output
    for word in words[2:]:
        if word.startswith("--"):
            assert re.search(rf"{re.escape(word.partition('=')[0])}\b", known), word


def test_compose_and_dockerfile_agree():
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert stages >= set(OURS)
    for name in OURS:
        service = COMPOSE["services"][name]
        assert service["build"]["target"] == name
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    assert re.search(r"^USER painter$", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"^USER root$", DOCKERFILE, re.MULTILINE)
    for name in ("service", "demo"):
        stage = DOCKERFILE.split(f" AS {name}\n")[1].split("\nFROM ")[0]
        assert "HEALTHCHECK" in stage
    named = set(COMPOSE["volumes"])
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in named or (CHECKOUT / source).exists(), volume
        for other in service.get("depends_on", ()):
            assert other in COMPOSE["services"]


def test_only_the_demo_listens_for_other_machines():
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", ()):
            assert name == "demo" or port.startswith("127.0.0.1:"), (name, port)


def test_prometheus_and_grafana_are_connected():
    prometheus = yaml.safe_load((CHECKOUT / "deploy/prometheus/prometheus.yml").read_text())
    (scrape,) = prometheus["scrape_configs"]
    host, port = scrape["static_configs"][0]["targets"][0].split(":")
    assert host in COMPOSE["services"]
    assert f"--port={port}" in COMPOSE["services"][host]["command"]
    folder = CHECKOUT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards/fast-style.yaml").read_text())["providers"]
    mounted = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["grafana"]["volumes"])
    assert provider["options"]["path"] == mounted["./deploy/grafana/dashboards"]
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert {panel["datasource"]["uid"] for panel in document["panels"]} == {source["uid"]}


def test_metrics_of_the_dashboard_exist(workplace, astronaut):
    with AppClient(create_app(ServiceSettings(warm="none", decoders=1))) as client:
        photo = {"photo": ("x", astronaut.read_bytes())}
        fields = {"style": "wheat-field", "size": "50"}
        assert client.post("/v1/stylize", files=photo, data=fields).status_code == 200
        text = client.get("/metrics").text
    labels = {}
    for name, inside in re.findall(r"^([a-z_]+)(?:\{(.*)\})? ", text, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', inside))
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) > 10
    for query in queries:
        names = re.findall(r"\b(?:fast_style|process)_[a-z_]+", query)
        assert names
        for name in names:
            assert name in labels, f"{query}: /metrics has no {name}"
        for label in re.findall(r"by \(([^)]*)\)", query):
            assert set(label.replace(" ", "").split(",")) <= labels[names[0]], query
