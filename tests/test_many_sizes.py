"""OpenVINO's memory does not grow with every new size of picture."""

import sys
from pathlib import Path

import numpy as np
import pytest

from fast_style.engines.openvino_engine import OpenVINOEngine
from fast_style.models.model_file import StyleModel
from tests.conftest import SMALLEST, make_card, make_weights


def make_engine(**options):
    return OpenVINOEngine(StyleModel(make_card(), make_weights(SMALLEST)), **options)


def resident_megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("compiled_before", [False, True])
def test_memory_stays_flat_over_new_sizes(tmp_path, monkeypatch, compiled_before):
    """With OpenVINO's own limit of 5000 the second half of these sizes takes 50 MB."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if compiled_before:
        make_engine()
        assert list(tmp_path.rglob("*")) != []
    engine = make_engine(cache=compiled_before)
    sizes = [(height, width) for height in range(20, 40) for width in range(20, 40)]
    for number, (height, width) in enumerate(sizes):
        if number == len(sizes) // 2:
            before = resident_megabytes()
        engine.predict(np.zeros((1, height, width, 3), np.uint8))
    assert resident_megabytes() - before < 25
