"""OpenVINO with `concurrency` above 1: same pictures, by a second copy compiled on demand."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fast_style import Stylizer, UsageError
from fast_style.engines import create_engine
from fast_style.engines import openvino_engine as module
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import StyleModel
from fast_style.options import EngineOptions
from tests.conftest import make_card, make_weights

CONFIG = NetworkConfig(width=8, residual_blocks=2)
AT_ONCE = 2


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def compiled(monkeypatch):
    """List the number of streams of each graph that is compiled."""
    streams, compile_graph = [], module._compile

    def compile_noted(*arguments, **options):
        streams.append(options.get("streams", 1))
        return compile_graph(*arguments, **options)

    monkeypatch.setattr(module, "_compile", compile_noted)
    return streams


def make_engine(**options):
    model = StyleModel(make_card(config=CONFIG), make_weights(CONFIG, 0))
    return create_engine(model, EngineOptions(engine="openvino", precision="fp32", **options))


def pictures(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (1, 40 + 4 * n, 57 - 3 * n, 3), np.uint8) for n in range(count)]


def predict_overlapping(engine, batches, threads=AT_ONCE):
    """Predict all batches with `threads` calls that overlap for certain."""
    barrier = threading.Barrier(threads)
    counted = engine._count_callers

    class Overlapping:
        def __enter__(self):
            self.within = counted()
            others = self.within.__enter__()
            barrier.wait(60)
            return others

        def __exit__(self, *error):
            barrier.wait(60)
            return self.within.__exit__(*error)

    engine._count_callers = Overlapping
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(engine.predict, batches))
    engine._count_callers = counted
    return found


def test_overlapping_calls_get_their_own_pictures(compiled):
    batches = pictures(6)
    plain = make_engine()
    expected = [plain.predict(batch) for batch in batches]
    engine = make_engine(concurrency=AT_ONCE)
    compiled.clear()
    for _ in range(2):
        for found, wanted in zip(predict_overlapping(engine, batches), expected, strict=True):
            assert found.shape == wanted.shape
            assert np.abs(found.astype(int) - wanted).max() <= 1
            assert (found != wanted).mean() < 0.01
    assert compiled == [AT_ONCE]  # once, when calls first overlap


def test_single_calls_do_not_use_the_second_copy(compiled):
    batch = pictures(1)[0]
    expected = make_engine().predict(batch)
    engine = make_engine(concurrency=AT_ONCE)
    compiled.clear()
    for _ in range(3):
        assert np.array_equal(engine.predict(batch), expected)
    predict_overlapping(engine, pictures(2))
    assert compiled == [AT_ONCE]
    assert np.array_equal(engine.predict(batch), expected)


def test_concurrency_1_compiles_no_second_copy(compiled):
    batches = pictures(4)
    engine = make_engine()
    expected = [engine.predict(batch) for batch in batches]
    compiled.clear()
    assert all(map(np.array_equal, predict_overlapping(engine, batches), expected))
    assert compiled == []


def test_large_pictures_are_not_computed_concurrently(compiled, monkeypatch):
    monkeypatch.setattr(module, "_LARGE_PIXELS", 1)
    batches = [np.repeat(batch, 2, axis=0) for batch in pictures(2)]
    engine = make_engine(concurrency=AT_ONCE)
    compiled.clear()
    predict_overlapping(engine, batches)
    assert compiled == []


def test_failed_calls_are_not_counted_as_callers():
    engine = make_engine(concurrency=AT_ONCE)
    for bad in (np.zeros((1, 3, 3)), np.zeros((1, 0, 3, 3), np.uint8)):
        with pytest.raises(UsageError):
            engine.predict(bad)
    assert engine._callers == 0


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_concurrency_must_be_a_positive_integer(bad):
    with pytest.raises(UsageError, match=r"concurrency is .*; expected (1 or more|a whole number)"):
        Stylizer("any", concurrency=bad)
