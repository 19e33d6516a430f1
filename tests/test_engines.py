"""The engines: they agree with each other; which one `create_engine` chooses; error messages."""

import importlib.util
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import fast_style.engines as engines
from fast_style.engines import (
    available_engines,
    create_engine,
)
from fast_style.engines.base import choose_precision
from fast_style.engines.onnx.graph import statistics_shape
from fast_style.errors import EngineError, MissingExtraError, UsageError
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import StyleModel
from fast_style.options import EngineOptions
from tests.conftest import SMALLEST, make_card, make_weights

NAMES = ("openvino", "onnxruntime", "torch")
CONFIG = NetworkConfig(width=8, residual_blocks=2)


def make_model(config=CONFIG, seed=0):
    return StyleModel(make_card(config=config), make_weights(config, seed))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Give each test an empty cache of compiled models."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fast-style" / "compiled"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """Hide GPUs, so that the choice of an engine does not depend on the machine."""
    monkeypatch.setattr(engines, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(engines, "has_apple_gpu", lambda: False)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """All engines in float32, where their pixels may differ by one level at most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        options = {"device": "cpu", "precision": "fp32"}
        return {
            name: create_engine(make_model(), EngineOptions(engine=name, **options))
            for name in NAMES
        }


@pytest.fixture(scope="module")
def photo(astronaut):
    with Image.open(astronaut) as image:
        return np.asarray(image.convert("RGB").resize((203, 150)))[None]


def hide(monkeypatch, *packages):
    """Make packages look uninstalled."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: (name not in packages and real(name, *more)) or None,
    )


class TestPredict:
    @pytest.mark.parametrize("name", NAMES)
    def test_name_device_and_precision(self, loaded, name):
        engine = loaded[name]
        assert (engine.name, engine.device, engine.precision) == (name, "cpu", "fp32")

    @pytest.mark.parametrize("name", ["onnxruntime", "torch"])
    def test_engines_agree_on_a_photo(self, loaded, photo, name):
        first, second = (loaded[n].predict(photo).astype(int) for n in ("openvino", name))
        assert first.std() > 5
        assert np.abs(first - second).max() <= 1
        assert (first != second).mean() < 0.01

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("sides", [(1, 1), (1, 9), (4, 3), (5, 5), (30, 41)])
    def test_output_has_the_size_of_the_input(self, loaded, name, sides):
        batch = np.random.default_rng(0).integers(0, 256, (3, *sides, 3)).astype(np.uint8)
        stylized = loaded[name].predict(batch)
        assert stylized.shape == batch.shape
        assert stylized.dtype == np.uint8
        assert stylized.flags.c_contiguous
        assert stylized.flags.writeable

    @pytest.mark.parametrize("name", NAMES)
    def test_pictures_of_a_batch_do_not_affect_each_other(self, loaded, photo, name):
        other = np.ascontiguousarray(photo[:, ::-1])
        together = loaded[name].predict(np.concatenate([photo, other])).astype(int)
        for i, alone in enumerate((photo, other)):
            assert np.abs(together[i] - loaded[name].predict(alone)[0]).max() <= 1

    @pytest.mark.parametrize("name", NAMES)
    def test_strided_and_read_only_input_is_accepted_and_unchanged(self, loaded, photo, name):
        view = photo[:, ::-1, ::2]
        view.flags.writeable = False
        before = view.copy()
        found = loaded[name].predict(view)
        np.testing.assert_array_equal(view, before)
        np.testing.assert_array_equal(found, loaded[name].predict(before))

    @pytest.mark.parametrize("name", NAMES)
    def test_result_is_not_overwritten_by_the_next_call(self, loaded, photo, name):
        first = loaded[name].predict(photo)
        kept = first.copy()
        loaded[name].predict(np.ascontiguousarray(255 - photo))
        np.testing.assert_array_equal(first, kept)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        "batch",
        [
            np.zeros((1, 8, 8, 3), np.float32),
            np.zeros((8, 8, 3), np.uint8),
            np.zeros((1, 8, 8, 4), np.uint8),
            np.zeros((1, 0, 8, 3), np.uint8),
            np.zeros((0, 8, 8, 3), np.uint8),
            [[1, 2, 3]],
        ],
        ids=["float", "no batch", "alpha", "no pixels", "no pictures", "a list"],
    )
    def test_rejects_arrays_that_are_no_batch(self, loaded, name, batch):
        with pytest.raises(UsageError, match=r"uint8 of shape \(B, H, W, 3\)"):
            loaded[name].predict(batch)
        with pytest.raises(UsageError, match=r"uint8 of shape \(B, H, W, 3\)"):
            loaded[name].measure(batch)

    @pytest.mark.parametrize("name", NAMES)
    def test_concurrent_calls_give_the_same_pictures(self, loaded, name):
        random = np.random.default_rng(0)
        batches = [random.integers(0, 256, (1, 20 + i, 30, 3)).astype(np.uint8) for i in range(4)]
        expected = [loaded[name].predict(batch) for batch in batches]
        found = {}

        def work(i):
            for _ in range(3):
                found[i] = loaded[name].predict(batches[i])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i in range(4):
            np.testing.assert_array_equal(found[i], expected[i])


class TestStatistics:
    @pytest.mark.parametrize("name", ["onnxruntime", "torch"])
    def test_engines_measure_the_same_statistics(self, loaded, photo, name):
        batch = np.concatenate([photo, photo[:, ::-1]])
        first, second = (loaded[n].measure(batch) for n in ("openvino", name))
        assert first.shape == (2, *statistics_shape(CONFIG))
        assert first.dtype == np.float32
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("name", NAMES)
    def test_freezing_to_its_own_statistics_keeps_a_picture(self, loaded, photo, name):
        engine = loaded[name]
        frozen = engine.freeze(engine.measure(photo)[0])
        assert (frozen.name, frozen.device) == (engine.name, engine.device)
        assert frozen.precision == engine.precision
        difference = frozen.predict(photo).astype(int) - engine.predict(photo)
        assert np.abs(difference).max() <= 1

    @pytest.mark.parametrize("name", NAMES)
    def test_frozen_pixels_depend_only_on_their_neighbourhood(self, loaded, photo, name):
        frozen = loaded[name].freeze(loaded[name].measure(photo)[0])
        whole = frozen.predict(photo).astype(int)
        tile = frozen.predict(np.ascontiguousarray(photo[:, :, :160])).astype(int)
        assert np.abs(whole[:, :, :80] - tile[:, :, :80]).max() <= 1
        live = loaded[name].predict(np.ascontiguousarray(photo[:, :, :160])).astype(int)
        assert np.abs(whole[:, :, :80] - live[:, :, :80]).max() > 1

    @pytest.mark.parametrize("name", NAMES)
    def test_frozen_engine_measures_with_frozen_statistics(self, loaded, photo, name):
        engine, flipped = loaded[name], np.ascontiguousarray(photo[:, ::-1, :100])
        frozen = engine.freeze(engine.measure(photo)[0])
        first = CONFIG.width  # channels of the first norm, before which nothing is frozen
        live, measured = engine.measure(flipped)[0], frozen.measure(flipped)[0]
        np.testing.assert_allclose(measured[:, :first], live[:, :first], rtol=1e-3, atol=1e-3)
        assert not np.allclose(measured[:, first:], live[:, first:], rtol=1e-2)
        again = frozen.measure(photo)[0]
        np.testing.assert_allclose(again, engine.measure(photo)[0], rtol=1e-2, atol=1e-2)

    @pytest.mark.parametrize("name", NAMES)
    def test_freezing_leaves_the_original_engine_unchanged(self, loaded, photo, name):
        before = loaded[name].predict(photo)
        loaded[name].freeze(np.ones(statistics_shape(CONFIG), np.float32)).predict(photo)
        np.testing.assert_array_equal(loaded[name].predict(photo), before)

    @pytest.mark.parametrize("name", NAMES)
    def test_rejects_statistics_of_another_network(self, loaded, name):
        with pytest.raises(UsageError, match="this network needs"):
            loaded[name].freeze(np.ones((2, 3), np.float32))


class TestChoice:
    def test_auto_is_openvino_without_a_gpu(self, monkeypatch):
        engine = create_engine(make_model(SMALLEST))
        assert (engine.name, engine.device) == ("openvino", "cpu")

    @pytest.mark.parametrize(
        ("missing", "expected"),
        [
            (("openvino",), "onnxruntime"),
            (("openvino", "onnxruntime"), "torch"),
            (("torch", "onnxruntime"), "openvino"),
        ],
    )
    def test_auto_skips_engines_that_are_not_installed(self, monkeypatch, missing, expected):
        hide(monkeypatch, *missing)
        assert set(available_engines()) == set(NAMES) - set(missing)
        assert create_engine(make_model(SMALLEST)).name == expected

    def test_auto_skips_engines_that_fail_to_import(self, monkeypatch):
        for package in ("openvino", "onnxruntime"):
            monkeypatch.delitem(sys.modules, f"fast_style.engines.{package}_engine", False)
            monkeypatch.delattr(engines, f"{package}_engine", raising=False)
            monkeypatch.setattr(f"fast_style.engines.{package}_engine", None, raising=False)
            monkeypatch.setitem(sys.modules, f"fast_style.engines.{package}_engine", None)
        assert create_engine(make_model(SMALLEST)).name == "torch"
        with pytest.raises(EngineError, match="engine openvino does not work here"):
            create_engine(make_model(SMALLEST), EngineOptions(engine="openvino"))

    def test_auto_skips_engines_that_fail_to_compile(self, monkeypatch):
        from fast_style.engines import openvino_engine

        def fail(*_, **__):
            raise RuntimeError("Exception from src/core.cpp:84:\nno such instruction\n")

        monkeypatch.setattr(openvino_engine, "_compile", fail)
        assert create_engine(make_model(SMALLEST)).name == "onnxruntime"
        with pytest.raises(EngineError, match="no such instruction") as caught:
            create_engine(make_model(SMALLEST), EngineOptions(engine="openvino"))
        assert "\n" not in str(caught.value)

    def test_no_engine_installed(self, monkeypatch):
        hide(monkeypatch, *NAMES)
        assert available_engines() == ()
        with pytest.raises(EngineError, match="pip install openvino"):
            create_engine(make_model(SMALLEST))

    @pytest.mark.parametrize("name", ["torch", "onnxruntime"])
    def test_missing_extra_is_named(self, monkeypatch, name):
        hide(monkeypatch, name)
        with pytest.raises(MissingExtraError) as caught:
            create_engine(make_model(SMALLEST), EngineOptions(engine=name))
        assert str(caught.value) == (
            f'engine {name} needs {name}, which is not installed: pip install "fast-style[{name}]"'
        )

    def test_cuda_without_torch_names_the_extra(self, monkeypatch):
        hide(monkeypatch, "torch")
        with pytest.raises(
            MissingExtraError, match=r"device cuda needs torch.*fast-style\[torch\]"
        ):
            create_engine(make_model(SMALLEST), EngineOptions(device="cuda"))

    @pytest.mark.parametrize("device", ["cuda", "mps"])
    def test_missing_gpu_is_an_error(self, monkeypatch, device):
        import torch

        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        for engine in ("auto", "torch"):
            with pytest.raises(EngineError, match="choose device auto or cpu"):
                create_engine(make_model(SMALLEST), EngineOptions(engine=engine, device=device))

    def test_auto_skips_a_gpu_that_torch_cannot_use(self, monkeypatch):
        import torch

        monkeypatch.setattr(engines, "has_nvidia_gpu", lambda: True)
        monkeypatch.setattr(engines, "torch_lacks_cuda", lambda: False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert create_engine(make_model(SMALLEST)).name == "openvino"

    def test_auto_tries_a_gpu_first(self, monkeypatch):
        tried = []

        def note(model, options):
            tried.append((options.engine, options.device))
            raise EngineError("no")

        monkeypatch.setattr(engines, "has_nvidia_gpu", lambda: True)
        monkeypatch.setattr(engines, "torch_lacks_cuda", lambda: False)
        monkeypatch.setattr(engines, "_create", note)
        with pytest.raises(EngineError):
            create_engine(make_model(SMALLEST))
        cpu = [("openvino", "cpu"), ("onnxruntime", "cpu"), ("torch", "cpu")]
        assert tried == [("torch", "cuda"), *cpu]
        tried.clear()
        with pytest.raises(EngineError):
            create_engine(make_model(SMALLEST), EngineOptions(device="cpu"))
        assert tried == cpu

    @pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
    def test_cpu_engines_reject_a_gpu(self, engine):
        with pytest.raises(UsageError, match="choose engine torch"):
            create_engine(make_model(SMALLEST), EngineOptions(engine=engine, device="cuda"))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"engine": "steam"},
                "engine is 'steam'; expected one of auto, openvino, torch, onnxr",
            ),
            ({"device": "tpu"}, "device is 'tpu'; expected one of auto, cpu, cuda, mps"),
            ({"precision": "int4"}, "precision is 'int4'; expected one of auto, fp32, bf16, fp16"),
        ],
    )
    def test_unknown_names(self, options, message):
        with pytest.raises(UsageError, match=message):
            create_engine(make_model(SMALLEST), EngineOptions(**options))


class TestPrecision:
    @pytest.mark.parametrize("native", [True, False])
    def test_auto_is_bf16_where_it_is_native(self, native):
        found = ["fp32", "bf16"] if native else ["fp32"]
        automatic = found[-1]
        assert choose_precision("auto", found, automatic, "x") == automatic
        assert choose_precision("fp32", found, automatic, "x") == "fp32"

    def test_rejects_a_precision_that_is_not_native(self):
        with pytest.raises(EngineError) as caught:
            choose_precision("fp16", ["fp32", "bf16"], "bf16", "this GPU")
        assert str(caught.value) == (
            "this GPU has no native fp16; choose precision auto or fp32 or bf16"
        )

    def test_native_precisions_come_from_openvinos_capabilities(self, monkeypatch):
        from fast_style.engines import openvino_engine

        class Core:
            def get_property(self, *_):
                return ["FP32", "BF16", "INT8"]

        monkeypatch.setattr(openvino_engine, "_core", Core)
        assert openvino_engine._native_precisions() == ["fp32", "bf16"]

    @pytest.mark.parametrize("name", NAMES)
    def test_every_engine_computes_fp32_exactly(self, name, photo):
        engine = create_engine(
            make_model(), EngineOptions(engine=name, device="cpu", precision="fp32")
        )
        assert engine.precision == "fp32"
        other = create_engine(make_model(), EngineOptions(engine="onnxruntime")).predict(photo)
        assert np.abs(engine.predict(photo).astype(int) - other).max() <= 1

    def test_onnxruntime_has_fp32_only(self):
        with pytest.raises(EngineError, match="no native bf16"):
            create_engine(
                make_model(SMALLEST), EngineOptions(engine="onnxruntime", precision="bf16")
            )

    @pytest.mark.parametrize("name", NAMES)
    def test_automatic_precision_is_close_to_fp32(self, loaded, photo, name):
        engine = create_engine(make_model(), EngineOptions(engine=name, device="cpu"))
        assert engine.precision in ("fp32", "bf16")
        error = engine.predict(photo).astype(float) - loaded[name].predict(photo)
        assert (error**2).mean() ** 0.5 < 255 / 10 ** (45 / 20)  # 45 dB
        own = engine.freeze(engine.measure(photo)[0]).predict(photo).astype(float)
        assert ((own - engine.predict(photo)) ** 2).mean() ** 0.5 < 255 / 10 ** (45 / 20)

    def test_error_names_the_first_engine_without_native_precision(self, monkeypatch):
        from fast_style.engines import openvino_engine, torch_device, torch_engine

        monkeypatch.setattr(openvino_engine, "_native_precisions", lambda: ["fp32"])
        for module in (torch_device, torch_engine):
            monkeypatch.setattr(module, "native_precisions", lambda _: ["fp32"])
        with pytest.raises(EngineError, match="openvino on this processor has no native bf16"):
            create_engine(make_model(SMALLEST), EngineOptions(precision="bf16"))

    def test_torch_in_bf16_is_close_to_fp32(self, monkeypatch, photo):
        from fast_style.engines import torch_device, torch_engine

        for module in (torch_device, torch_engine):
            monkeypatch.setattr(module, "native_precisions", lambda _: ["fp32", "bf16"])
        half = create_engine(make_model(), EngineOptions(engine="torch", device="cpu"))
        full = create_engine(
            make_model(), EngineOptions(engine="torch", device="cpu", precision="fp32")
        )
        assert half.precision == "bf16"
        small = np.ascontiguousarray(photo[:, :60, :60])
        error = half.predict(small).astype(float) - full.predict(small)
        assert 0 < (error**2).mean() ** 0.5 < 3
