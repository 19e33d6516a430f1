"""The cache of loaded styles: what is loaded, how often, and what is dropped."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fast_style.errors import EngineError, StyleNotFoundError
from fast_style.inference.stylizer import Stylizer
from fast_style.inference.stylizer_cache import StylizerCache
from fast_style.models.model_file import StyleModel, save_model
from fast_style.options import EngineOptions
from tests.conftest import SMALLEST, STYLE, make_card, make_weights

pytestmark = pytest.mark.usefixtures("workplace")

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)


@pytest.fixture
def counted(monkeypatch):
    """Styles that were loaded, in order."""
    loaded = []
    real = Stylizer.__init__

    def init(self, style, **options):
        if not isinstance(style, StyleModel):  # members of a mixture come as models
            loaded.append(style)
        real(self, style, **options)

    monkeypatch.setattr(Stylizer, "__init__", init)
    return loaded


@pytest.fixture
def style_files(tmp_path, model_file):
    """Three copies of a model file."""
    files = [tmp_path / f"style-{number}.safetensors" for number in range(3)]
    for file in files:
        shutil.copyfile(model_file, file)
    return files


def test_a_style_is_loaded_once_and_paints_as_without_a_cache(counted):
    cache = StylizerCache(2)
    first, second = cache.get(STYLE), cache.get(STYLE)
    assert first is second
    assert counted == [STYLE]
    assert len(cache) == 1
    same = np.asarray(Stylizer(STYLE).stylize(PICTURE))
    assert np.array_equal(np.asarray(first.stylize(PICTURE)), same)


def test_least_recently_used_style_is_dropped(counted, style_files):
    one, two, three = style_files
    cache = StylizerCache(2)
    cache.get(one)
    cache.get(two)
    cache.get(one)
    cache.get(three)  # drops the second
    assert len(cache) == 2
    cache.get(one)
    assert counted == [one, two, three]
    cache.get(two)
    assert counted == [one, two, three, two]


def test_other_options_are_other_entries(counted):
    cache = StylizerCache(4)
    plain = cache.get(STYLE)
    assert cache.get(STYLE, EngineOptions(tile="off")) is not plain
    assert cache.get(STYLE, max_megapixels=1.0).max_megapixels == 1.0
    assert cache.get(STYLE, EngineOptions()) is plain
    assert len(counted) == 3


def test_a_replaced_file_is_loaded_anew_and_the_old_one_dropped(counted, style_files):
    cache = StylizerCache(4)
    old = cache.get(style_files[0])
    save_model(style_files[0], make_card(), make_weights(SMALLEST, seed=1))
    os.utime(style_files[0], ns=(1, 1))
    new = cache.get(style_files[0])
    assert new is not old
    assert len(cache) == 1
    assert not np.array_equal(old.stylize(PICTURE), new.stylize(PICTURE))
    style_files[0].unlink()
    with pytest.raises(StyleNotFoundError):
        cache.get(style_files[0])


def test_mixtures_are_entries_of_their_own(counted, style_files):
    cache = StylizerCache(4)
    one, two, _ = style_files
    mixture = cache.get(f"{one}:0.5,{two}:0.5")
    assert cache.get(f"{one},{two}") is mixture
    assert cache.get(f"{one}:0.6,{two}:0.4") is not mixture
    assert len(counted) == 2


def test_threads_that_ask_at_once_load_once_and_others_do_not_wait():
    cache, go, began = StylizerCache(2), threading.Event(), threading.Event()
    loads = []
    stylizer = Stylizer(STYLE)

    def slow():
        loads.append(1)
        began.set()
        assert go.wait(20)
        return stylizer

    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(cache.get_or_load, "slow", slow) for _ in range(4)]
        assert began.wait(20)
        try:
            # Another style is loaded meanwhile, and counted; the slow one is not loaded yet.
            assert cache.get_or_load("quick", lambda: stylizer) is stylizer
            assert len(cache) == 1
            assert cache.find("slow") is None
            assert not any(future.done() for future in waiting)
        finally:
            go.set()
        assert all(future.result(20) is stylizer for future in waiting)
    assert loads == [1]
    assert cache.find("slow") is stylizer


def test_styles_that_are_being_loaded_are_not_dropped():
    cache, go, began = StylizerCache(1), threading.Event(), threading.Event()
    stylizer = Stylizer(STYLE)

    def slow():
        began.set()
        assert go.wait(20)
        return stylizer

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(cache.get_or_load, "slow", slow)
        assert began.wait(20)
        cache.get_or_load("quick", lambda: stylizer)
        go.set()
        waiting.result(20)
    assert cache.find("slow") is stylizer


def test_a_failed_load_is_tried_again_and_told_to_all_who_wait():
    cache, go, began = StylizerCache(2), threading.Event(), threading.Event()
    stylizer = Stylizer(STYLE)

    def fail(error):
        began.set()
        assert go.wait(20)
        raise error

    for error in (EngineError("no such device"), KeyboardInterrupt()):
        go.clear()
        began.clear()
        with ThreadPoolExecutor(2) as threads:
            owner = threads.submit(cache.get_or_load, "style", lambda error=error: fail(error))
            assert began.wait(20)
            waiter = threads.submit(cache.get_or_load, "style", lambda: stylizer)
            while not waiter.running():
                pass
            threading.Event().wait(0.05)  # it waits for the owner by now
            go.set()
            with pytest.raises(type(error)):
                owner.result(20)
            # An interrupt of another thread is not one of this thread.
            with pytest.raises(EngineError):
                waiter.result(20)
    assert len(cache) == 0
    assert cache.get_or_load("style", lambda: stylizer) is stylizer


def test_exclusive_use_is_by_one_thread_at_a_time(counted, style_files):
    cache, inside, most = StylizerCache(2), [], []

    def use(file):
        with cache.exclusive(file) as stylizer:
            inside.append(file)
            most.append(inside.count(file))
            stylizer.stylize(PICTURE)
            inside.remove(file)

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(use, style_files[number % 2]) for number in range(12)]:
            future.result(60)
    assert max(most) == 1
    assert sorted(counted) == sorted(style_files[:2])


def test_warm_up_is_called_once_for_each_style():
    warmed = []
    cache = StylizerCache(2, warm_up=warmed.append)
    stylizer = cache.get(STYLE)
    cache.get(STYLE)
    assert warmed == [stylizer]
    cache.clear()
    assert len(cache) == 0
