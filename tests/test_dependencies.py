"""Which engine a machine gets with the base install, by the markers in pyproject.toml."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
ENGINES = {"openvino", "onnxruntime"}


@pytest.mark.parametrize(
    ("system", "machine", "engines"),
    [
        ("linux", "x86_64", {"openvino"}),
        ("linux", "aarch64", {"openvino"}),
        ("darwin", "arm64", {"openvino"}),
        ("darwin", "x86_64", {"openvino"}),
        ("win32", "AMD64", {"openvino"}),
        ("win32", "ARM64", {"onnxruntime"}),
        ("win32", "x86", set()),
        ("linux", "armv7l", set()),
        ("linux", "i686", set()),
    ],
)
def test_engines_are_required_where_they_have_wheels(system, machine, engines):
    environment = {"sys_platform": system, "platform_machine": machine, "extra": ""}
    required = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    names = {one.name for one in required if one.marker is None or one.marker.evaluate(environment)}
    assert names & ENGINES == engines
    assert {"numpy", "pillow", "click"} <= names
