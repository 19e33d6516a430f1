"""Large pictures in strips: the same picture as the whole, whatever its size."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fast_style.engines import GraphEngine, create_engine
from fast_style.engines.onnx.stage_graphs import IMAGE, plan_graph_stages
from fast_style.errors import UsageError
from fast_style.inference.strips import plan_strips, sweep
from fast_style.inference.stylizer import Stylizer
from fast_style.models.config import SIZES, NetworkConfig, norm_layers
from fast_style.models.model_file import StyleModel, save_model
from fast_style.options import EngineOptions
from tests.commands import environment
from tests.conftest import make_card, make_weights


def make_model(config: NetworkConfig) -> StyleModel:
    return StyleModel(make_card(config=config), make_weights(config))


def make_picture(height: int, width: int) -> np.ndarray:
    """Light falling off from a corner, with noise: statistics differ from strip to strip."""
    rng = np.random.default_rng(height * 1000 + width)
    slope = np.linspace(20, 220, height)[:, None, None] * np.linspace(1, 0.4, width)[:, None]
    return (slope + rng.normal(0, 20, (height, width, 3))).clip(0, 255).astype(np.uint8)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 4))
def test_strips_cover_every_row_once_in_windows_of_equal_height(
    rows: int, each: int, halo: int
) -> None:
    strips = plan_strips(rows, each, halo)
    covered = [row for strip in strips for row in range(strip.first, strip.last)]
    assert covered == list(range(rows))
    assert len({strip.stop - strip.start for strip in strips}) == 1
    assert [strip.is_end for strip in strips] == [False] * (len(strips) - 1) + [True]
    for strip in strips:
        assert 0 <= strip.start <= max(0, strip.first - halo)
        assert min(rows, strip.last + halo) <= strip.stop <= rows
    assert all(a.start <= b.start for a, b in itertools.pairwise(strips))


def test_stages_end_at_the_norms_in_their_order() -> None:
    for config in (NetworkConfig(2, 0), NetworkConfig(2, 3)):
        stages = plan_graph_stages(config)
        assert [s.norm for s in stages[:-1]] == list(norm_layers(config))
        assert [IMAGE in s.inputs for s in stages][:4] == [True, True, True, False]


@pytest.mark.parametrize("engine_name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(
    "config",
    [NetworkConfig(2, 1), NetworkConfig(3, 3, "transposed"), NetworkConfig(3, 0)],
    ids=str,
)
def test_strips_equal_the_whole_picture(engine_name: str, config: NetworkConfig) -> None:
    model = make_model(config)
    engine = create_engine(model, EngineOptions(engine=engine_name, precision="fp32"))
    assert isinstance(engine, GraphEngine)
    for height, width in ((101, 78), (203, 131), (18, 60)):
        picture = make_picture(height, width)
        whole = engine.predict(picture[None])[0].astype(int)
        strips = sweep(model, engine, picture, strip_pixels=width * 32).astype(int)
        # float16 between the stages moves a value by 0.05 %, so that some round the other way.
        assert np.abs(strips - whole).max() <= 1
        assert (strips != whole).mean() < 0.03


@settings(max_examples=6, deadline=None)
@given(st.integers(16, 150), st.integers(16, 60), st.integers(64, 4000))
def test_strips_equal_the_whole_picture_for_any_size(
    height: int, width: int, strip_pixels: int
) -> None:
    model = make_model(NetworkConfig(2, 1))
    engine = create_engine(model, EngineOptions(engine="openvino", precision="fp32"))
    assert isinstance(engine, GraphEngine)
    picture = make_picture(height, width)
    whole = engine.predict(picture[None])[0].astype(int)
    strips = sweep(model, engine, picture, strip_pixels).astype(int)
    assert np.abs(strips - whole).max() <= 1


def test_stylizer_uses_strips_for_large_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def watched(model: object, engine: object, pixels: np.ndarray, area: int) -> np.ndarray:
        calls.append(area)
        return pixels

    monkeypatch.setattr("fast_style.inference.renderer.sweep", watched)
    model = make_model(NetworkConfig(2, 0))
    picture = make_picture(80, 70)
    Stylizer(model).stylize(picture)
    assert calls == []
    Stylizer(model, tile=64).stylize(picture)
    assert calls == [64 * 64]
    monkeypatch.setattr("fast_style.inference.renderer.available_memory", lambda: 20_000)
    monkeypatch.setattr("fast_style.inference.renderer._ALWAYS_WHOLE_BYTES", 0)
    Stylizer(model, tile="off").stylize(picture)
    assert len(calls) == 1
    Stylizer(model).stylize(picture)
    assert len(calls) == 2
    Stylizer(model, tile=64).stylize(picture[:10])  # too low for strips
    assert len(calls) == 2


@pytest.mark.parametrize("tile", [0, 63, "on", 1.5, True, -1])
def test_bad_tiles_are_refused(tile: object) -> None:
    with pytest.raises(
        UsageError, match=r"tile is .*; expected auto, off or a whole number of 64 or more"
    ):
        Stylizer(make_model(NetworkConfig(2, 0)), tile=tile)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_is_bounded_for_a_large_picture(tmp_path: Path) -> None:
    model = make_model(SIZES["tiny"])
    save_model(tmp_path / "model.safetensors", model.card, model.weights)
    small = Image.fromarray(make_picture(200, 160))
    small.resize((1600, 2000)).save(tmp_path / "photo.png", compress_level=1)
    script = (
        "import sys; from fast_style import Stylizer; "
        "tile = 'off' if sys.argv[1] == 'off' else 512; "
        "Stylizer('model.safetensors', precision='fp32', tile=tile)"
        ".stylize('photo.png', stroke_size=1).save(sys.argv[1] + '.png', compress_level=1); "
        # Not getrusage: a child's figure there begins with its parent's.
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = {}
    for tile in ("off", "512"):
        done = subprocess.run(
            [sys.executable, "-c", script, tile],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        peaks[tile] = int(done.stdout.split()[1])
    with Image.open(tmp_path / "off.png") as off, Image.open(tmp_path / "512.png") as strips:
        difference = np.asarray(off).astype(int) - np.asarray(strips)
    assert np.abs(difference).max() <= 1
    assert peaks["512"] < 0.6 * peaks["off"], peaks
