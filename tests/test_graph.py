"""The ONNX graph against the network written out plainly in float64, in both engines."""

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional

from fast_style.engines.onnx.graph import (
    INPUT,
    MEASURED,
    OUTPUT,
    STATISTICS,
    build_graph,
    pad_short_sides,
    statistics_shape,
)
from fast_style.engines.onnx.kernels import output_kernel, upsample_kernel
from fast_style.engines.openvino_engine import _core
from fast_style.errors import ModelError, UsageError
from fast_style.models.config import SIZES, NetworkConfig, norm_layers
from tests.conftest import SMALLEST, make_weights

CONFIGS = {
    f"{name}-{upsampling}": NetworkConfig(size.width, size.residual_blocks, upsampling)
    for name, size in SIZES.items()
    for upsampling in ("nearest", "transposed")
}
SHAPES = [(3, 200), (4, 4), (5, 5), (7, 6), (8, 12), (101, 78)]
SHAPES_OF_FULL = [(3, 40), (7, 6), (41, 38)]  # float64 is slow
# On a flat picture every variance is zero, and the norm makes waves of the last bit's rounding:
# float32 is then far from float64 in any implementation. Such shapes are compared with given
# statistics.
FLAT_SHAPES = [(1, 1), (1, 7), (2, 1)]
TOLERANCE = 1e-4 * 255


def plain_network(config, weights, batch, statistics=None):
    """Johnson's network as in pytorch/examples, in float64, with no rewrite.

    Gives the pictures (B, H, W, 3) on 0-255, unclamped, and the statistics (B, 2, C).
    """
    weights = {name: torch.from_numpy(values).double() for name, values in weights.items()}
    seen = []
    given = iter([])
    if statistics is not None:
        sections = list(norm_layers(config).values())
        given = iter(torch.from_numpy(statistics).double().split(sections, dim=1))

    def norm(name, x):
        mean, variance = x.mean((2, 3)), x.var((2, 3), correction=0)
        seen.append(torch.stack([mean, variance], dim=1))
        if statistics is not None:
            mean, variance = next(given)[:, None]
        x = (x - mean[..., None, None]) / (variance[..., None, None] + 1e-5).sqrt()
        scale, shift = weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"]
        return x * scale[:, None, None] + shift[:, None, None]

    def convolution(name, x, stride=1):
        weight, bias = weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"]
        x = functional.pad(x, (weight.shape[-1] // 2,) * 4, mode="reflect")
        return norm(name, functional.conv2d(x, weight, bias, stride=stride))

    def upsampling(name, x):
        if config.upsampling == "nearest":
            return convolution(name, functional.interpolate(x, scale_factor=2, mode="nearest"))
        weight, bias = weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"]
        x = functional.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)
        return norm(name, x)

    height, width = batch.shape[1:3]
    x = torch.from_numpy(batch).permute(0, 3, 1, 2).double()
    more = (0, max(0, 5 - width), 0, max(0, 5 - height))
    x = functional.pad(x, more, mode="replicate")
    for i, stride in enumerate((1, 2, 2)):
        x = convolution(f"encoder.{i}", x, stride).relu()
    for i in range(config.residual_blocks):
        x = x + convolution(f"trunk.{i}.second", convolution(f"trunk.{i}.first", x).relu())
    for i in range(2):
        x = upsampling(f"decoder.{i}", x).relu()
    x = functional.pad(x, (4,) * 4, mode="reflect")
    x = functional.conv2d(x, weights["output.weight"], weights["output.bias"])
    x = x[:, :, :height, :width].permute(0, 2, 3, 1)
    return x.numpy(), torch.cat(seen, dim=2).numpy()


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@cache
def weights_of(config):
    # With biases, which the norm must cancel.
    random = np.random.default_rng(1)
    return {
        name: random.normal(0, 1, values.shape).astype(np.float32)
        if name.endswith("conv.bias")
        else values
        for name, values in make_weights(config).items()
    }


def on_onnxruntime(graph):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda inputs: dict(
        zip([out.name for out in session.get_outputs()], session.run(None, inputs), strict=True)
    )


def on_openvino(graph):
    core = _core()
    compiled = core.compile_model(
        core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return lambda inputs: {
        next(iter(port.names)): values for port, values in compiled(inputs).items()
    }


ENGINES = {"openvino": on_openvino, "onnxruntime": on_onnxruntime}


def crop(pictures, batch):
    return pictures[:, : batch.shape[1], : batch.shape[2]]


def without_biases(weights):
    """The weights without the biases that a norm follows: statistics are those without."""
    return {
        name: np.zeros_like(values) if name.endswith("conv.bias") else values
        for name, values in weights.items()
    }


@cache
def frozen_statistics(config):
    weights = without_biases(weights_of(config))
    return plain_network(config, weights, noise(1, 40, 48, 3, seed=5))[1][0].astype(np.float32)


@cache
def plain_picture(config, shape):
    return plain_network(config, weights_of(config), noise(2, *shape, 3))[0]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_graph_equals_the_plain_network(config, engine):
    run = ENGINES[engine](build_graph(config, weights_of(config), float_output=True))
    for shape in SHAPES_OF_FULL if config.width == 32 else SHAPES:
        batch = noise(2, *shape, 3)
        expected = plain_picture(config, shape)
        found = crop(run({INPUT: pad_short_sides(batch, config)})[OUTPUT], batch)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < TOLERANCE, shape


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_uint8_output_is_rounded_and_clamped(engine, upsampling):
    config = NetworkConfig(width=8, residual_blocks=2, upsampling=upsampling)
    # A wide range, so that both ends are clamped.
    weights = weights_of(config) | {"output.bias": np.array([-20, 127.5, 275], np.float32)}
    run = ENGINES[engine](build_graph(config, weights))
    for shape in [(3, 40), (7, 6), (41, 38)]:
        batch = noise(2, *shape, 3)
        expected = np.clip(plain_network(config, weights, batch)[0], 0, 255)
        found = crop(run({INPUT: pad_short_sides(batch, config)})[OUTPUT], batch)
        assert found.dtype == np.uint8
        assert found.min() == 0
        assert found.max() == 255
        assert np.abs(found - expected).max() <= 0.5 + TOLERANCE


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_constant_statistics_equal_the_plain_network(upsampling, engine):
    config = CONFIGS[f"tiny-{upsampling}"]
    statistics, weights = frozen_statistics(config), without_biases(weights_of(config))
    graph = build_graph(config, weights_of(config), statistics=statistics, float_output=True)
    run = ENGINES[engine](graph)
    for shape in [*FLAT_SHAPES, (7, 6), (41, 38)]:
        batch = noise(1, *shape, 3)
        expected, _ = plain_network(config, weights, batch, statistics)
        found = crop(run({INPUT: pad_short_sides(batch, config)})[OUTPUT], batch)
        assert np.abs(found - expected).max() < TOLERANCE, shape


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_statistics_input_and_output_equal_the_plain_network(engine, upsampling):
    config = NetworkConfig(width=8, residual_blocks=2, upsampling=upsampling)
    weights, given = weights_of(config), frozen_statistics(config)
    live = ENGINES[engine](build_graph(config, weights, measure=True, float_output=True))
    both = ENGINES[engine](
        build_graph(config, weights, statistics_input=True, measure=True, float_output=True)
    )
    batch = noise(2, 37, 52, 3)
    plain = without_biases(weights)
    for found, statistics in (
        (live({INPUT: batch}), None),
        (both({INPUT: batch, STATISTICS: given[None]}), given),
        (both({INPUT: batch, STATISTICS: np.stack([given, given])}), given),
    ):
        picture, measured = plain_network(config, plain, batch, statistics)
        assert found[MEASURED].shape == (2, *statistics_shape(config))
        np.testing.assert_allclose(found[MEASURED], measured, rtol=1e-4, atol=1e-4)
        assert np.abs(found[OUTPUT] - picture).max() < TOLERANCE


def test_measured_statistics_reproduce_the_picture():
    config, batch = SMALLEST, noise(1, 33, 21, 3)
    weights = weights_of(config)
    measured = on_openvino(build_graph(config, weights, measure=True))({INPUT: batch})
    frozen = on_openvino(build_graph(config, weights, statistics=measured[MEASURED][0]))
    difference = frozen({INPUT: batch})[OUTPUT].astype(int) - measured[OUTPUT]
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("options", [{}, {"statistics_input": True, "measure": True}])
def test_graph_passes_the_onnx_checker(options):
    for config in CONFIGS.values():
        model = onnx.load_from_string(build_graph(config, weights_of(config), **options))
        onnx.checker.check_model(model, full_check=True)
        opsets = {(entry.domain, entry.version) for entry in model.opset_import}
        assert opsets == {("", 17)}
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        port = inferred.graph.output[0].type.tensor_type
        assert port.elem_type == onnx.TensorProto.UINT8
        assert [side.dim_param or side.dim_value for side in port.shape.dim] == [
            "batch",
            "height",
            "width",
            3,
        ]


def test_same_weights_give_same_bytes():
    first, second = (build_graph(SMALLEST, make_weights(SMALLEST)) for _ in range(2))
    assert first == second


def test_upsample_kernel_equals_upsampling_and_convolution():
    random = np.random.default_rng(0)
    weight = random.normal(size=(4, 3, 3, 3)).astype(np.float32)
    features = torch.from_numpy(random.normal(size=(2, 3, 5, 7)))
    doubled = functional.interpolate(features, scale_factor=2, mode="nearest")
    expected = functional.conv2d(
        functional.pad(doubled, (1,) * 4, mode="reflect"), torch.from_numpy(weight).double()
    )
    kernel = torch.from_numpy(upsample_kernel(weight)).double()
    edged = functional.pad(features, (1,) * 4, mode="replicate")
    found = functional.conv_transpose2d(edged, kernel, stride=2, padding=3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_output_kernel_equals_the_convolution_in_cells():
    random = np.random.default_rng(0)
    weight = random.normal(size=(3, 4, 9, 9)).astype(np.float32)
    padded = torch.from_numpy(random.normal(size=(1, 4, 14, 18)))
    expected = functional.conv2d(padded, torch.from_numpy(weight).double())[0]
    kernel = torch.from_numpy(output_kernel(weight)).double()
    cells = functional.conv2d(padded, kernel, stride=2)[0]
    for y in range(2):
        for x in range(2):
            for color in range(3):
                torch.testing.assert_close(
                    cells[6 * y + 3 * x + color], expected[color, y::2, x::2]
                )


def test_short_sides_are_padded_by_replication():
    batch = noise(2, 3, 9, 3)
    padded = pad_short_sides(batch, SMALLEST)
    assert padded.shape == (2, 5, 9, 3)
    np.testing.assert_array_equal(padded[:, :3], batch)
    np.testing.assert_array_equal(padded[:, 3:], np.repeat(batch[:, 2:], 2, axis=1))
    large = noise(1, 5, 5, 3)
    assert pad_short_sides(large, SMALLEST) is large


def test_wrong_weights_and_statistics_are_refused():
    weights = weights_of(SMALLEST)
    with pytest.raises(ModelError, match=r"output\.bias of shape \(3,\); it is missing"):
        build_graph(SMALLEST, {k: v for k, v in weights.items() if k != "output.bias"})
    with pytest.raises(ModelError, match=r"output\.bias of shape \(3,\); it is \(4,\)"):
        build_graph(SMALLEST, {**weights, "output.bias": np.zeros(4, np.float32)})
    good = frozen_statistics(SMALLEST)
    with pytest.raises(UsageError, match="this network needs"):
        build_graph(SMALLEST, weights, statistics=good[:, 1:])
    with pytest.raises(UsageError, match="zero or more"):
        build_graph(SMALLEST, weights, statistics=-np.abs(good))
    with pytest.raises(UsageError, match="constant statistics"):
        build_graph(SMALLEST, weights, statistics=good, measure=True)
