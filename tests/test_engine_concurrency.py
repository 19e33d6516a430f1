"""OpenVINO with several pictures in work at once: the same pictures, by a copy made when wanted."""

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
    """Among how many requests each copy that is compiled shares the cores."""
    streams, compile_graph = [], module._compile

    def noted(*arguments, **options):
        streams.append(options.get("streams", 1))
        return compile_graph(*arguments, **options)

    monkeypatch.setattr(module, "_compile", noted)
    return streams


def make_engine(**options):
    model = StyleModel(make_card(config=CONFIG), make_weights(CONFIG, 0))
    return create_engine(model, EngineOptions(engine="openvino", precision="fp32", **options))


def pictures(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (1, 40 + 4 * n, 57 - 3 * n, 3), np.uint8) for n in range(count)]


def meeting(engine, batches, threads=AT_ONCE):
    """Predict all batches, with callers that have all begun before one of them goes on."""
    barrier = threading.Barrier(threads)
    counted = engine._counted

    class Meeting:
        def __enter__(self):
            self.within = counted()
            others = self.within.__enter__()
            barrier.wait(60)
            return others

        def __exit__(self, *error):
            barrier.wait(60)
            return self.within.__exit__(*error)

    engine._counted = Meeting
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(engine.predict, batches))
    engine._counted = counted
    return found


def test_those_who_meet_get_their_own_pictures(compiled):
    batches = pictures(6)
    plain = make_engine()
    expected = [plain.predict(batch) for batch in batches]
    engine = make_engine(concurrency=AT_ONCE)
    compiled.clear()
    for _ in range(2):
        for found, wanted in zip(meeting(engine, batches), expected, strict=True):
            assert found.shape == wanted.shape
            assert np.abs(found.astype(int) - wanted).max() <= 1
            assert (found != wanted).mean() < 0.01
    assert compiled == [AT_ONCE]  # once, when they first met


def test_who_comes_alone_gets_what_he_always_got(compiled):
    batch = pictures(1)[0]
    expected = make_engine().predict(batch)
    engine = make_engine(concurrency=AT_ONCE)
    compiled.clear()
    for _ in range(3):
        assert np.array_equal(engine.predict(batch), expected)
    meeting(engine, pictures(2))
    assert compiled == [AT_ONCE]
    assert np.array_equal(engine.predict(batch), expected)


def test_without_it_one_comes_after_the_other(compiled):
    batches = pictures(4)
    engine = make_engine()
    expected = [engine.predict(batch) for batch in batches]
    compiled.clear()
    assert all(map(np.array_equal, meeting(engine, batches), expected))
    assert compiled == []


def test_large_pictures_come_one_after_the_other(compiled, monkeypatch):
    monkeypatch.setattr(module, "_LARGE_PIXELS", 1)
    batches = [np.repeat(batch, 2, axis=0) for batch in pictures(2)]
    engine = make_engine(concurrency=AT_ONCE)
    compiled.clear()
    meeting(engine, batches)
    assert compiled == []


def test_a_caller_who_failed_does_not_count():
    engine = make_engine(concurrency=AT_ONCE)
    for bad in (np.zeros((1, 3, 3)), np.zeros((1, 0, 3, 3), np.uint8)):
        with pytest.raises(UsageError):
            engine.predict(bad)
    assert engine._callers == 0


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_how_many_must_be_a_whole_number(bad):
    with pytest.raises(UsageError, match="concurrency must be a whole number of 1 or more"):
        Stylizer("any", concurrency=bad)
