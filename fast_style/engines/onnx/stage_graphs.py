"""The network cut into stages that end at its instance norms, each an ONNX graph of its own.

A norm needs the statistics of the whole picture before anything after it can be computed. A stage
takes a strip of rows of what the stages before it left, with the norms that are known already
folded in as constants, and gives the statistics that the next norm sees in each row; `sweep` takes
the rows that belong to no halo, and puts the strips together. Between stages only the trunk's
features are kept, at a quarter of the resolution; what lies before and after them at full
resolution is computed again where needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.engines.onnx.graph import OUTPUT, GraphBuilder, check_statistics
from fast_style.engines.onnx.writer import FLOAT, FLOAT16, UINT8, Value
from fast_style.models.config import NetworkConfig

IMAGE, RAW, BASE = "image", "raw", "base"
"""Names of a stage's inputs. `IMAGE`: uint8 (1, H, W, 3). `RAW`: what the last norm sees, `BASE`:
the trunk's features before the residual that `RAW` belongs to, both float16 (1, C, H, W)."""

NEXT_RAW, NEXT_BASE, MEASURED = "next_raw", "next_base", "measured"
"""Names of its outputs: `RAW` and `BASE` for the next stage, and for each row of what the stage's
norm sees the mean and the Euclidean norm, float32 (1, C, H, 2)."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what it takes and gives.

    Attributes:
        norm: the norm that it ends at, without the suffix of `norm_layers`; "" for the last stage,
            which gives the picture.
        inputs: `IMAGE`, or `RAW` and perhaps `BASE`, or `BASE` alone.
        outputs: `MEASURED`, `NEXT_RAW`, `NEXT_BASE` in the order given, or the graph's picture.
        rows_in: input rows for each row of the trunk's features.
        halo: further rows of the trunk that it needs above and below.
        rows_out: output rows for each row of the trunk's features.
    """

    norm: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rows_in: int
    halo: int
    rows_out: int


def plan_stages(config: NetworkConfig) -> list[Stage]:
    """List the stages of a network in their order."""
    stages = [
        # A 9x9 convolution and two of stride 2 reach 7 rows of the picture: less than two strides.
        Stage("encoder.0", (IMAGE,), (MEASURED,), 4, 2, 4),
        Stage("encoder.1", (IMAGE,), (MEASURED,), 4, 2, 2),
        Stage("encoder.2", (IMAGE,), (MEASURED, NEXT_RAW), 4, 2, 1),
    ]
    for i in range(config.residual_blocks):
        before = (RAW,) if i == 0 else (RAW, BASE)
        after = (MEASURED, NEXT_RAW, NEXT_BASE)
        stages.append(Stage(f"trunk.{i}.first", before, after, 1, 1, 1))
        stages.append(Stage(f"trunk.{i}.second", (RAW,), (MEASURED, NEXT_RAW), 1, 1, 1))
    before = (RAW, BASE) if config.residual_blocks else (RAW,)
    stages.append(Stage("decoder.0", before, (MEASURED, NEXT_BASE), 1, 2, 2))
    # Two upsamplings and a 9x9 convolution: less than three of the trunk's rows.
    stages.append(Stage("decoder.1", (BASE,), (MEASURED,), 1, 4, 4))
    stages.append(Stage("", (BASE,), (OUTPUT,), 1, 4, 4))
    return stages


def build_stage(
    config: NetworkConfig,
    weights: Mapping[str, NDArray[np.float32]],
    stage: Stage,
    statistics: NDArray[np.float32],
) -> bytes:
    """Build the ONNX model of a stage.

    Args:
        config: the network.
        weights: float32 arrays by the names of `architecture.parameter_shapes`.
        stage: one of `plan_stages(config)`.
        statistics: shape `graph.statistics_shape`; those of the norms before the stage must be
            known, the others are not looked at.

    Raises:
        UsageError: the statistics have the wrong shape.
    """
    check_statistics(config, statistics)
    return _StageBuilder(config, weights, statistics, False, False).build_stage(stage)


class _StageBuilder(GraphBuilder):
    """Builds the layers between two norms."""

    def build_stage(self, stage: Stage) -> bytes:
        base = ""
        channels = 4 * self.config.width
        if stage.inputs == (IMAGE,):
            result = self.encode(stage.norm)
        elif stage.norm.endswith("second"):
            inner = self.writer.op("Relu", self.known_norm(self.before(stage.norm), RAW))
            result = self.convolution_only(stage.norm, inner)
        else:
            base = self.merge(stage)
            result = (
                self.convolution_only(stage.norm, base)
                if stage.norm.startswith("trunk")
                else self.decode(base, stage.norm)
            )
        trunk_sides = ("batch", channels, "height", "width")
        inputs: list[Value] = []
        for name in stage.inputs:
            is_image = name == IMAGE
            sides = ("batch", "height", "width", 3) if is_image else trunk_sides
            inputs.append((name, UINT8 if is_image else FLOAT16, sides))
        outputs: list[Value] = []
        if MEASURED in stage.outputs:
            n_measured = len(self.weights[f"{stage.norm}.norm.weight"])
            self.measure_rows(result, n_measured, is_deconvolved=stage.norm.startswith("decoder"))
            outputs.append((MEASURED, FLOAT, ("batch", n_measured, "rows", 2)))
        if NEXT_RAW in stage.outputs:
            self.writer.op("Cast", result, to=FLOAT16, output=NEXT_RAW)
            outputs.append((NEXT_RAW, FLOAT16, trunk_sides))
        if NEXT_BASE in stage.outputs:
            self.writer.op("Cast", base, to=FLOAT16, output=NEXT_BASE)
            outputs.append((NEXT_BASE, FLOAT16, trunk_sides))
        if not stage.norm:
            self.writer.op("Identity", self.draw(result), output=OUTPUT)
            outputs.append((OUTPUT, UINT8, ("batch", "height", "width", 3)))
        return self.writer.finish(inputs, outputs)

    def encode(self, target: str) -> str:
        """From the picture to what the encoder's norm `target` sees."""
        picture = self.writer.op("Cast", IMAGE, to=FLOAT)
        features = self.writer.op("Transpose", picture, perm=(0, 3, 1, 2))
        for i, stride in enumerate((1, 2, 2)):
            name = f"encoder.{i}"
            if name == target:
                return self.convolution_only(name, features, stride)
            features = self.writer.op("Relu", self.convolve(name, features, stride))
        raise AssertionError(target)

    def merge(self, stage: Stage) -> str:
        """The trunk's features where the stage begins: the base with its residual added."""
        if RAW not in stage.inputs:
            return self.loaded(BASE)
        known = self.known_norm(self.before(stage.norm), RAW)
        if BASE in stage.inputs:
            return self.writer.op("Add", self.loaded(BASE), known)
        return self.writer.op("Relu", known)

    def decode(self, features: str, target: str) -> str:
        """From the trunk's features to what the decoder's norm `target` sees, or to its end."""
        for i in range(2):
            name = f"decoder.{i}"
            if name == target:
                self.raw_target = name
                return self.upsample(name, features)
            features = self.writer.op("Relu", self.upsample(name, features))
        return features

    raw_target = ""
    """The convolution whose norm is not known yet."""

    def convolution_only(self, name: str, features: str, stride: int = 1) -> str:
        self.raw_target = name
        return self.convolve(name, features, stride)

    def normalized(
        self, name: str, kind: str, features: str, weight: NDArray[np.float32], **options: Any
    ) -> str:
        """A convolution with its norm folded in, or without it where its statistics are wanted."""
        if name != self.raw_target:
            return super().normalized(name, kind, features, weight, **options)
        kernel = self.writer.constant(weight, f"{name}.conv.weight")
        return self.writer.op(kind, features, kernel, kernel_shape=weight.shape[2:], **options)

    def before(self, norm: str) -> str:
        """The norm before another one."""
        names = list(self.starts)
        return names[names.index(norm) - 1]

    def loaded(self, stored: str) -> str:
        """Stored features as float32."""
        return self.writer.op("Cast", stored, to=FLOAT)

    def measure_rows(self, features: str, channels: int, is_deconvolved: bool) -> None:
        """Give the mean and the Euclidean norm of each row.

        From them follow mean and variance over any rows, and no row of a halo need be cut off
        before, which would copy the features.
        """
        op = self.writer.op
        if is_deconvolved:
            # OpenVINO keeps what comes after the last convolution in float32, and counts the
            # transposed ones in: half as fast. So here is a convolution that changes nothing.
            one = np.ones((channels, 1, 1, 1), np.float32)
            features = op(
                "Conv", features, self.writer.constant(one), group=channels, kernel_shape=(1, 1)
            )
        mean = op("ReduceMean", features, axes=(3,), keepdims=1)
        norm = op("ReduceL2", features, axes=(3,), keepdims=1)
        op("Concat", mean, norm, axis=3, output=MEASURED)

    def known_norm(self, name: str, stored: str) -> str:
        """Stored features, normalized with known statistics."""
        column = (1, -1, 1, 1)
        factor, offset = (part.astype(np.float32) for part in self.constant_norm(name))
        scaled = self.writer.op(
            "Mul", self.loaded(stored), self.writer.constant(factor.reshape(column))
        )
        return self.writer.op("Add", scaled, self.writer.constant(offset.reshape(column)))
