"""CUDA graphs: when a shape is captured, used and released; on a GPU, what the graphs compute."""

import threading
import weakref

import numpy as np
import pytest
import torch

from fast_style.engines.cuda_graphs import (
    IDLE_CALLS,
    MOST_PIXELS,
    CudaCapture,
    CudaGraph,
    GraphCache,
    PinnedMemory,
)
from fast_style.engines.onnx.graph import statistics_shape
from fast_style.engines.torch_engine import TorchEngine
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import StyleModel
from tests.conftest import make_card, make_weights

CONFIG = NetworkConfig(width=8, residual_blocks=2)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def make_model(seed=0):
    return StyleModel(make_card(config=CONFIG), make_weights(CONFIG, seed))


def shape(side, batch=1):
    return (batch, side, side, 3)


def pictures(side=24, batch=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape(side, batch), np.uint8)


class Recorder:
    """Stands in for `CudaCapture` on the CPU: runs the computation on memory of its own."""

    def __init__(self, compute=None):
        self.compute = compute
        self.captured, self.released, self.runs = [], [], []
        self.fails = None

    def __call__(self, wanted):
        self.captured.append(wanted)
        if self.fails is not None:
            raise self.fails
        return RecordedGraph(self, wanted)


class RecordedGraph:
    def __init__(self, recorder, wanted):
        self.recorder, self.shape = recorder, wanted
        self.given = torch.zeros(wanted, dtype=torch.uint8)

    def run(self, batch):
        assert self.shape not in self.recorder.released
        self.recorder.runs.append(self.shape)
        self.given.copy_(torch.from_numpy(batch))
        return self.recorder.compute(self.given).numpy()

    def release(self):
        self.recorder.released.append(self.shape)


class TestCache:
    def test_shape_is_captured_at_its_second_request(self):
        capture = Recorder()
        cache = GraphCache(capture)
        assert cache.find(shape(8)) is None
        assert capture.captured == []
        graph = cache.find(shape(8))
        assert graph.shape == shape(8)
        assert [cache.find(shape(8)) for _ in range(3)] == [graph] * 3
        assert capture.captured == [shape(8)]

    @pytest.mark.parametrize("other", [(2, 8, 8, 3), (1, 9, 8, 3), (1, 8, 9, 3)])
    def test_shapes_differ_in_batch_height_or_width(self, other):
        cache = GraphCache(Recorder())
        cache.find(shape(8))
        assert cache.find(other) is None
        assert cache.find(shape(8)).shape == shape(8)
        assert cache.find(other).shape == other

    def test_large_shapes_are_never_captured(self):
        capture = Recorder()
        cache = GraphCache(capture)
        side = int(MOST_PIXELS**0.5)
        for _ in range(3):
            assert cache.find((1, side + 1, side + 1, 3)) is None
            assert cache.find((3, side, side // 2, 3)) is None
        assert capture.captured == []
        cache.find(shape(side))
        assert cache.find(shape(side)) is not None

    def test_idle_graph_is_replaced(self):
        capture = Recorder()
        cache = GraphCache(capture, most_graphs=2)
        for side in (8, 8, 9, 9):
            cache.find(shape(side))
        for _ in range(IDLE_CALLS):
            assert cache.find(shape(8)) is not None  # 9 is idle meanwhile
        assert cache.find(shape(7)) is None
        assert cache.find(shape(7)) is not None
        assert capture.released == [shape(9)]
        assert len(cache) == 2
        # 9 counts as a new shape again.
        assert cache.find(shape(9)) is None
        assert cache.find(shape(8)) is not None

    def test_alternating_shapes_do_not_evict_each_other(self):
        capture = Recorder()
        cache = GraphCache(capture, most_graphs=2)
        for _ in range(100):
            found = [cache.find(shape(side)) is not None for side in (7, 8, 9)]
        assert found == [True, True, False]
        assert capture.captured == [shape(7), shape(8)]
        assert capture.released == []

    @pytest.mark.parametrize(
        "error", [RuntimeError("not permitted"), torch.OutOfMemoryError("out of memory")]
    )
    def test_failed_capture_is_not_retried(self, error):
        capture = Recorder()
        cache = GraphCache(capture)
        for _ in range(2):
            cache.find(shape(8))
        capture.fails = error
        for _ in range(3):
            assert cache.find(shape(9)) is None
        assert capture.captured == [shape(8), shape(9)]
        # The other graphs are released too.
        assert capture.released == [shape(8)]
        capture.fails = None
        for _ in range(3):
            assert cache.find(shape(8)) is None
        assert len(cache) == 0

    def test_other_errors_propagate(self):
        capture = Recorder()
        capture.fails = TypeError("a mistake")
        cache = GraphCache(capture)
        cache.find(shape(8))
        with pytest.raises(TypeError, match="a mistake"):
            cache.find(shape(8))

    def test_number_of_remembered_shapes_is_bounded(self):
        cache = GraphCache(Recorder())
        cache.find(shape(8))
        for side in range(9, 600):
            assert cache.find(shape(side)) is None
        assert cache.find(shape(8)) is None
        assert len(cache._seen) < 300


class TestEngine:
    @pytest.fixture
    def recorder(self):
        return Recorder()

    @pytest.fixture
    def engine(self, recorder):
        def captures(compute):
            recorder.compute = compute
            return recorder

        return TorchEngine(make_model(), "cpu", "fp32", captures=captures)

    def test_graphs_compute_the_whole_prediction(self, engine, recorder):
        plain = TorchEngine(make_model(), "cpu", "fp32")
        for seed in range(4):
            batch = pictures(25, 2, seed)
            assert np.array_equal(engine.predict(batch), plain.predict(batch))
        assert recorder.captured == [shape(25, 2)]
        assert recorder.runs == [shape(25, 2)] * 3

    def test_no_graphs_without_cuda(self):
        engine = TorchEngine(make_model(), "cpu", "fp32")
        assert engine._graphs is None
        found = engine.computation(torch.from_numpy(pictures()))
        assert np.array_equal(found.numpy(), engine.predict(pictures()))

    def test_failed_capture_falls_back_to_eager(self, engine, recorder):
        recorder.fails = RuntimeError("operation not permitted when stream is capturing")
        found = [engine.predict(pictures()) for _ in range(3)]
        assert all(np.array_equal(found[0], other) for other in found)
        assert recorder.captured == [shape(24)]
        assert recorder.runs == []

    def test_graphs_are_released_when_memory_runs_out(self, engine, recorder, monkeypatch):
        expected = engine.predict(pictures(30))
        for _ in range(2):
            engine.predict(pictures())
        real, failures = engine._upload, [torch.OutOfMemoryError("CUDA out of memory")]

        def upload(batch):
            if failures:
                raise failures.pop()
            return real(batch)

        monkeypatch.setattr(engine, "_upload", upload)
        assert engine.predict(pictures(31)).shape == shape(31)
        assert recorder.released == [shape(24)]
        # With no graph left to release, the error propagates.
        failures.append(torch.OutOfMemoryError("CUDA out of memory"))
        with pytest.raises(torch.OutOfMemoryError):
            engine.predict(pictures(32))
        assert np.array_equal(engine.predict(pictures(30)), expected)

    def test_frozen_engine_has_its_own_graphs(self, engine, recorder):
        statistics = np.ones(statistics_shape(CONFIG), np.float32)
        batch = pictures()
        for _ in range(2):
            live = engine.predict(batch)
        frozen = engine.freeze(statistics)
        fixed = [frozen.predict(batch) for _ in range(3)]
        assert recorder.captured == [shape(24)] * 2
        assert not np.array_equal(live, fixed[0])
        assert np.array_equal(fixed[0], fixed[2])

    def test_unreferenced_engine_is_freed_at_once(self):
        """Graphs hold GPU memory, which must not wait for a garbage collection."""
        engine = TorchEngine(make_model(), "cpu", "fp32", captures=Recorder)
        for _ in range(3):
            engine.predict(pictures())
        gone = weakref.ref(engine.computation)
        del engine
        assert gone() is None


@pytest.mark.gpu
@GPU
class TestGpu:
    @pytest.fixture(params=["fp32", "bf16"])
    def engine(self, request):
        return TorchEngine(make_model(), "cuda", request.param)

    @pytest.mark.parametrize(("side", "batch"), [(64, 1), (61, 3), (5, 1), (1, 1), (512, 2)])
    def test_graph_computes_the_same_bits(self, engine, side, batch):
        eager = [engine._eager(pictures(side, batch, seed)) for seed in range(4)]
        graphed = [engine.predict(pictures(side, batch, seed)) for seed in range(4)]
        assert len(engine._graphs) == 1
        for first, second in zip(eager, graphed, strict=True):
            assert np.array_equal(first, second)

    def test_frozen_engine_computes_the_same_bits(self, engine):
        frozen = engine.freeze(engine.measure(pictures(64))[0])
        eager = frozen._eager(pictures(64, seed=1))
        for _ in range(3):
            assert np.array_equal(frozen.predict(pictures(64, seed=1)), eager)
        assert len(frozen._graphs) == 1

    def test_fp32_matches_the_cpu(self, engine):
        if engine.precision != "fp32":
            pytest.skip("bf16 differs from it")
        expected = TorchEngine(make_model(), "cpu", "fp32").predict(pictures(64)).astype(int)
        for _ in range(3):
            # Convolutions may take TF32.
            assert np.abs(engine.predict(pictures(64)) - expected).max() <= 2

    def test_released_graph_frees_its_memory(self, engine):
        capture = CudaCapture(engine.computation)
        capture(shape(256)).release()  # workspaces stay
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
        graph = capture(shape(256))
        assert isinstance(graph, CudaGraph)
        assert torch.cuda.memory_reserved() > before[1]
        graph.release()
        del graph
        torch.cuda.empty_cache()
        assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == before

    def test_failed_capture_leaves_the_gpu_usable(self, engine):
        def synchronize(pixels):
            return pixels + int(pixels.max())  # not allowed in a graph

        stream = torch.cuda.current_stream()
        with pytest.raises(RuntimeError):
            CudaCapture(synchronize)(shape(16))
        assert torch.cuda.current_stream() == stream
        found = engine.predict(pictures(64))
        assert np.array_equal(engine.predict(pictures(64)), found)

    def test_engines_in_several_threads(self):
        engines = [TorchEngine(make_model(seed), "cuda", "fp32") for seed in range(3)]
        expected = [e._eager(pictures(64)) for e in engines]
        wrong = []

        def work(number):
            for _ in range(20):
                if not np.array_equal(engines[number].predict(pictures(64)), expected[number]):
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_pinned_memory_copies_both_ways(self):
        batch = pictures(33)[:, ::-1]
        place = torch.zeros(shape(33), dtype=torch.uint8, device="cuda")
        memory = PinnedMemory(shape(33))
        assert np.array_equal(memory.download(memory.upload(batch, place)), batch)
