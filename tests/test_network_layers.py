"""A network of another shape than today's runs everywhere, from its list of layers alone."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fast_style.engines import GraphEngine, create_engine
from fast_style.engines.onnx import banded_graph
from fast_style.engines.onnx.banded_graph import build_banded_graph
from fast_style.engines.onnx.graph import INPUT, OUTPUT, build_graph
from fast_style.engines.onnx.stage_graphs import plan_graph_stages
from fast_style.inference.strips import sweep
from fast_style.models.config import (
    SIZES,
    ConvolutionLayer,
    Layer,
    NetworkConfig,
    NormLayer,
    OutputLayer,
    ReluLayer,
    ResidualEnd,
    ResidualStart,
    TanhLayer,
    UpsampleLayer,
    minimum_side,
    norm_slices,
    parameter_shapes,
    total_stride,
)
from fast_style.models.model_file import StyleModel
from fast_style.options import EngineOptions
from fast_style.styles.exporting import ExportOptions, build_onnx
from tests.conftest import make_card, make_weights


@dataclass(frozen=True, slots=True)
class OtherConfig(NetworkConfig):
    """Small outer kernels, a trunk at an eighth with separable and bottleneck blocks, a tanh."""

    def layers(self) -> tuple[Layer, ...]:
        return (
            ConvolutionLayer("first", 3, 4, 5),
            NormLayer("first_norm", 4),
            ReluLayer(),
            *self._down("down.0", 4, 6),
            *self._down("down.1", 6, 8),
            *self._down("down.2", 8, 8),
            ResidualStart(),
            ConvolutionLayer("block.0.depth", 8, 8, 3, groups=8, uses_bias=True),
            ConvolutionLayer("block.0.point", 8, 12, 1),
            NormLayer("block.0.norm", 12),
            ReluLayer(),
            ConvolutionLayer("block.0.last", 12, 8, 5, uses_bias=True),
            NormLayer("block.0.last_norm", 8),
            ResidualEnd(),
            ReluLayer(),
            ResidualStart(),
            ConvolutionLayer("block.1.conv", 8, 8, 3),
            NormLayer("block.1.norm", 8),
            ResidualEnd(),
            *self._up("up.0", 8, 6),
            ResidualStart(),
            ReluLayer(),
            ConvolutionLayer("between.conv", 6, 6, 3),
            NormLayer("between.norm", 6),
            ResidualEnd(),
            *self._up("up.1", 6, 4),
            *self._up("up.2", 4, 3),
            OutputLayer("last", 3, 5),
            TanhLayer(200.0),
        )

    def _down(self, name: str, n_in: int, n_out: int) -> tuple[Layer, ...]:
        convolution = ConvolutionLayer(f"{name}.conv", n_in, n_out, 3, stride=2)
        return convolution, NormLayer(f"{name}.norm", n_out), ReluLayer()

    def _up(self, name: str, n_in: int, n_out: int) -> tuple[Layer, ...]:
        upsampling = UpsampleLayer(f"{name}.conv", n_in, n_out, self.upsampling)
        return upsampling, NormLayer(f"{name}.norm", n_out), ReluLayer()


CONFIGS = [OtherConfig(), OtherConfig(upsampling="transposed")]


def make_model(config: NetworkConfig) -> StyleModel:
    weights = {
        # Biases that are not zero, also those that must not be used.
        name: values + 0.1 if name.endswith(".bias") else values
        for name, values in make_weights(config).items()
    }
    return StyleModel(make_card(config=config), weights)


def make_picture(height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(0)
    slope = np.linspace(20, 220, height)[:, None, None] * np.linspace(1, 0.4, width)[:, None]
    return (slope + random.normal(0, 20, (height, width, 3))).clip(0, 255).astype(np.uint8)


def on_engine(name: str, model: StyleModel) -> GraphEngine:
    engine = create_engine(model, EngineOptions(engine=name, device="cpu", precision="fp32"))
    assert isinstance(engine, GraphEngine)
    return engine


def test_sides_and_strides_come_from_the_layers() -> None:
    assert (total_stride(CONFIGS[0]), minimum_side(CONFIGS[0])) == (8, 17)
    assert all((total_stride(c), minimum_side(c)) == (4, 5) for c in SIZES.values())


@pytest.mark.parametrize("config", CONFIGS, ids=["nearest", "transposed"])
@pytest.mark.parametrize("sides", [(101, 78), (40, 64), (9, 41)])
def test_all_engines_give_the_same_picture(config: NetworkConfig, sides: tuple[int, int]) -> None:
    model, batch = make_model(config), make_picture(*sides)[None]
    expected = create_engine(
        model, EngineOptions(engine="torch", device="cpu", precision="fp32")
    ).predict(batch)
    assert expected.std() > 5
    for name in ("openvino", "onnxruntime"):
        found = on_engine(name, model).predict(batch)
        assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("config", CONFIGS, ids=["nearest", "transposed"])
@pytest.mark.parametrize("engine_name", ["openvino", "onnxruntime"])
def test_strips_bands_and_exports_give_the_whole_picture(
    monkeypatch: pytest.MonkeyPatch, config: NetworkConfig, engine_name: str
) -> None:
    model, picture = make_model(config), make_picture(333, 90)
    engine = on_engine(engine_name, model)
    whole = engine.predict(picture[None])[0].astype(int)

    strips = sweep(model, engine, picture, strip_pixels=90 * 64).astype(int)
    assert np.abs(strips - whole).max() <= 1
    assert (strips != whole).mean() < 0.05

    monkeypatch.setattr(banded_graph, "BAND_PIXELS", 5000)
    run = engine.load_graph(build_banded_graph(config, model.weights, 333, 90))
    banded = run({INPUT: picture[None]}, [OUTPUT])[OUTPUT][0].astype(int)
    assert np.abs(banded - whole).max() <= 1

    run = engine.load_graph(build_onnx(model, ExportOptions(uint8=True)))
    exported = run({INPUT: picture[None]}, [OUTPUT])[OUTPUT][0].astype(int)
    assert np.abs(exported - whole).max() <= 1


@pytest.mark.parametrize("config", CONFIGS, ids=["nearest", "transposed"])
def test_statistics_in_the_graph_match_the_picture_s_own(config: NetworkConfig) -> None:
    model, batch = make_model(config), make_picture(101, 78)[None]
    engine = on_engine("onnxruntime", model)
    statistics = engine.measure(batch)[0]
    assert statistics.shape[1] == max(part.stop for part in norm_slices(config).values())
    graph = build_graph(config, model.weights, statistics=statistics, float_output=True)
    live = build_graph(config, model.weights, float_output=True)
    fixed, own = (engine.load_graph(g)({INPUT: batch}, [OUTPUT])[OUTPUT] for g in (graph, live))
    assert np.abs(fixed - own).max() < 0.05


def test_strips_need_no_more_rows_than_the_kernels_reach() -> None:
    halos = [stage.halo for stage in plan_graph_stages(SIZES["standard"])]
    # 9x9 at full resolution: 4 rows of 4 to a row of the trunk; the two 3x3 after it: 5 and 7.
    assert halos[:3] == [1, 2, 2]
    assert halos[3:-3] == [1] * 10
    assert halos[-3:] == [1, 1, 2]


def test_residuals_across_resolutions_are_refused() -> None:
    class Across(OtherConfig):
        def layers(self) -> tuple[Layer, ...]:
            first, *others = OtherConfig.layers(self)
            return (first, ResidualStart(), *others[:-2], ResidualEnd(), *others[-2:])

    with pytest.raises(ValueError, match="cannot keep the residuals from layers"):
        plan_graph_stages(Across())


def test_torch_has_the_parameters_of_the_layers() -> None:
    from fast_style.models.network import StyleNetwork

    network = StyleNetwork(CONFIGS[0])
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == parameter_shapes(CONFIGS[0])
    network(torch.rand(1, 3, 24, 32), wrap=True).sum().backward()
    used = {name for name, p in network.named_parameters() if p.grad is not None}
    assert {name for name in used if name.endswith("bias") and "norm" not in name} == {
        "block.0.depth.bias",
        "block.0.last.bias",
        "last.bias",
    }
